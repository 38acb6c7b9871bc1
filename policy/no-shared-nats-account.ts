import type { StackValidationPolicy } from "@pulumi/policy";
import { NATS_ACCOUNT, ofType, placed } from "./resources.ts";

/**
 * A NATS account is the boundary of one tenant: subjects and streams inside it are open to all of its users. Its key is
 * an output, so a preview judges how many accounts a tenant has, and `up` whose they are.
 */
export const noSharedNatsAccount: StackValidationPolicy = {
  name: "no-shared-nats-account",
  description: "No two tenants share a NATS account, and each tenant has one.",
  enforcementLevel: "mandatory",
  severity: "critical",
  remediationSteps: "Declare one NatsAccount per tenant and platform, and let Ringfence generate its key.",
  validateStack: ({ resources }, report) => {
    const accounts = placed(ofType(resources, NATS_ACCOUNT, ["platform", "logicalName", "account"]));
    for (const [tenant, [first, ...others]] of Map.groupBy(accounts, (account) => account.tenant)) {
      for (const { name, urn } of others) {
        report(`${name}.logicalName: ${tenant} has the account '${first?.name}' already; keep one of the two.`, urn);
      }
    }
    for (const [key, [first, ...others]] of Map.groupBy(accounts, ({ account }) => account)) {
      if (!key || !first) continue;
      for (const { name, urn, tenant } of others) {
        if (tenant === first.tenant) continue;
        report(
          `${name}.account: ${shown(key)} of ${tenant} is also the account of '${first.name}', ${first.tenant}; ` +
            "give each tenant an account of its own.",
          urn,
        );
      }
    }
  },
};

/** An account's public key as nkeys writes it. Anything else in its place might be a seed, and is not printed. */
const PUBLIC_KEY = /^A[A-Z2-7]{55}$/;
const shown = (key: string): string => (PUBLIC_KEY.test(key) ? `'${key}'` : "the value (no public key, so not shown)");
