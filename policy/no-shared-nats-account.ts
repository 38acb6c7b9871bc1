import type { ReportViolation, StackValidationPolicy } from "@pulumi/policy";
import { addressesOf } from "./stack/hosts.ts";
import { logicalNameParts } from "./stack/logical-name.ts";
import { credsIn } from "./stack/nats-creds.ts";
import { type KubernetesObject, objectsOf } from "./stack/objects.ts";
import { apart, bestKnown, type Held, placeOf, placeText } from "./stack/places.ts";
import { podsIn } from "./stack/pods.ts";
import { type Known, NATS_ACCOUNT, ofType, type Placed, placed } from "./stack/ringfence.ts";
import { schemaOf, settings } from "./stack/settings.ts";
import { at, items, type Path, text } from "./stack/value.ts";
import { shown, tell } from "./stack/verdict.ts";

const parameters = {
  systemAccounts: {
    type: "array",
    items: { type: "string", pattern: "^A[A-Z2-7]{55}$" },
    description: "Public keys of the system account and of others that are the admin's alone.",
    default: [] as string[],
  },
  systemUsers: {
    type: "array",
    items: { type: "string" },
    description: "Names of NATS users that are the admin's alone.",
    default: ["sys", "SYS", "$SYS", "system", "admin"] as string[],
  },
} as const;

/**
 * A NATS account is the boundary of one tenant: subjects and streams inside it are open to all of its users. Its key is
 * an output, so a preview judges how many accounts a tenant has, and `up` whose they are.
 */
export const noSharedNatsAccount: StackValidationPolicy = {
  name: "no-shared-nats-account",
  displayName: "No shared NATS account",
  description: "No two pipelines share a NATS account, user or creds Secret, and none uses the system account.",
  enforcementLevel: "mandatory",
  severity: "critical",
  remediationSteps:
    "Declare one NatsAccount per tenant and platform, let Ringfence generate its key, and give each pipeline's pods a " +
    "Secret of their own with credentials of that account.",
  configSchema: schemaOf(parameters),
  validateStack: (args, report) => {
    const { systemAccounts, systemUsers } = settings(parameters, args);
    const accounts = placed(ofType(args.resources, NATS_ACCOUNT, ["platform", "logicalName", "account", "generation"]));
    const owners = refuseSharedKeys(accounts, report);
    const uses = objectsOf(args.resources).flatMap((object) => [...secretUses(object), ...podUses(object)]);
    for (const { resource, path, what, user, account } of uses) {
      const ofSystem = account !== undefined && systemAccounts.includes(account);
      if (!ofSystem && !(user !== undefined && systemUsers.includes(user))) continue;
      tell(report, {
        resource,
        path,
        problem: `holds ${what}, which is ${ofSystem ? "of the system account" : "the admin's"}`,
        fix: "give the pipeline a user of its own account",
      });
    }
    for (const [id, holders] of Map.groupBy(uses, (use) => use.id)) {
      const other = owners.get(id) ?? bestKnown(holders);
      for (const { resource, path, what, place } of holders) {
        if (!other || !apart(place, other.place)) continue;
        tell(report, {
          resource,
          path,
          problem: `holds ${what}, for ${placeText(place)}, and '${other.resource.name}' uses it for ${placeText(other.place)}`,
          fix: "give each pipeline an account of its own",
        });
      }
    }
  },
};

/** @returns whose each account is, by its public key */
function refuseSharedKeys(
  accounts: Placed<Known<"platform" | "logicalName" | "account" | "generation">>[],
  report: ReportViolation,
): ReadonlyMap<string, Held> {
  for (const [tenant, [first, ...others]] of Map.groupBy(accounts, (account) => account.tenant)) {
    for (const resource of others) {
      const problem = `${tenant} has the account '${first?.name}' already`;
      tell(report, { resource, path: ["logicalName"], problem, fix: "keep one of the two" });
    }
  }
  const owners = new Map<string, Held>();
  for (const [key, [first, ...others]] of Map.groupBy(accounts, ({ account }) => account)) {
    if (!key || !first) continue;
    const place = { pipeline: logicalNameParts(first.logicalName).pipeline, generation: first.generation };
    owners.set(key, { resource: first, place });
    for (const other of others) {
      if (other.tenant === first.tenant) continue;
      tell(report, {
        resource: other,
        path: ["account"],
        problem: `${publicKey(key)} of ${other.tenant} is also the account of '${first.name}', ${first.tenant}`,
        fix: "give each tenant an account of its own",
      });
    }
  }
  return owners;
}

/** An account's public key as nkeys writes it. Anything else in its place might be a seed, and is not printed. */
const PUBLIC_KEY = /^A[A-Z2-7]{55}$/;
const publicKey = (key: string): string =>
  PUBLIC_KEY.test(key) ? `'${key}'` : "the value (no public key, so not shown)";

/** Somebody's way into NATS. */
interface Use extends Held {
  /** What must not be shared. */
  id: string;
  /** The same for a message, without anything secret. */
  what: string;
  path: Path;
  account?: string;
  user?: string | undefined;
}

/** The credentials that an object holds. */
function secretUses(object: KubernetesObject): Use[] {
  if (object.kind !== "Secret" && object.kind !== "ConfigMap") return [];
  return credsIn(object).map(({ path, account, user }) => ({
    id: account,
    what: `credentials of the NATS account ${publicKey(account)}`,
    resource: object,
    place: placeOf(object),
    path,
    account,
    user,
  }));
}

/** The users that pods log in as, and the Secrets that they take them from. */
function podUses(object: KubernetesObject): Use[] {
  const held = { resource: object, place: placeOf(object) };
  const ofSecret = (name: string | undefined, path: Path): Use[] => {
    if (name === undefined || object.namespace === undefined) return [];
    const what = `the NATS credentials of Secret ${shown(name)}`;
    return [{ ...held, id: `secret ${object.namespace}/${name}`, what, path }];
  };
  return podsIn(object).flatMap(({ containers, spec, path }) => [
    ...containers.flatMap(({ env }): Use[] => {
      const user = env.get("NATS_AUTH_USERNAME");
      const [server] = addressesOf(env.value("NATS_SERVER") ?? "");
      const own = env.variables.flatMap(({ name, from, path }) =>
        name.startsWith("NATS_AUTH_") ? ofSecret(text(at(from, "secretKeyRef", "name")), path) : [],
      );
      if (user?.value === undefined || !server) return own;
      const id = `user ${user.value} at ${server.host}:${server.port}`;
      return [...own, { ...held, id, what: `the NATS user ${shown(user.value)}`, path: user.path, user: user.value }];
    }),
    ...items(at(spec, "volumes")).flatMap((volume, index) => {
      const name = text(at(volume, "secret", "secretName"));
      return /nats/i.test(name ?? "") ? ofSecret(name, [...path, "volumes", index, "secret", "secretName"]) : [];
    }),
  ]);
}
