/** What Pulumi's state has of our tenants, read from what `pulumi stack export` printed; secrets are not needed. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { parse } from "../components/plan/problem.ts";
import { dynamicType } from "../components/plan/type-tokens.ts";
import { VisibleError } from "../components/plan/visible-error.ts";
import type { KnownTenant } from "../components/tenancy/restored.ts";

/** The versions of an exported state that are understood here. */
export const STATE_VERSIONS = [3, 4];

const exported = z.object({
  version: z.literal(STATE_VERSIONS, `expected a state of version ${STATE_VERSIONS.join(" or ")}`),
  deployment: z.object({
    resources: z
      .array(z.object({ type: z.string(), outputs: z.record(z.string(), z.unknown()).default({}) }))
      .default([]),
  }),
});

/** As the provider's modules keep them, from version 0.1.0 on. */
const part = { logicalName: z.string(), generation: z.string() };
const claim = z.object({
  ...part,
  platform: z.string(),
  owner: z.string(),
  attempt: z.number(),
  prefix: z.string(),
  username: z.string(),
  namespace: z.string(),
  organization: z.string().optional(),
  project: z.string(),
  stack: z.string(),
  resource: z.string(),
});
const prefix = z.object({ ...part, username: z.string() });
const account = z.object({ ...part, account: z.string() });

export interface StateTenant extends KnownTenant {
  /** The platform's name. */
  platform: string;
}

/**
 * @param file a path; `-` is the standard input
 * @throws VisibleError when that is no exported state
 */
export function tenantsInState(file: string): StateTenant[] {
  const { deployment } = parse(exported, read(file), file);
  const all = <T extends z.ZodType>(kind: string, schema: T) =>
    deployment.resources
      .filter(({ type }) => type === dynamicType(kind))
      .map(({ outputs }) => parse(schema, outputs, `${file}: ${kind}`));
  const [prefixes, accounts] = [all("EtcdPrefix", prefix), all("NatsAccount", account)];
  return all("TenantClaim", claim).map(({ organization, project, stack, resource, ...tenant }) => {
    const ofTenant = (each: { logicalName: string; generation: string }) =>
      each.logicalName === tenant.logicalName && each.generation === tenant.generation;
    const handedOut = { username: prefixes.find(ofTenant)?.username, account: accounts.find(ofTenant)?.account };
    // The next `up` notes in which backend.
    return { ...tenant, handedOut, recorded: { organization, project, stack, resource } };
  });
}

function read(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file === "-" ? 0 : file, "utf8"));
  } catch (cause) {
    const way = "give it what 'pulumi stack export' prints";
    throw new VisibleError(`--from-state ${file}: ${(cause as Error).message}; ${way}`, { cause });
  }
}
