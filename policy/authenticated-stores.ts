import type { PolicyResource, StackValidationPolicy } from "@pulumi/policy";
import { type Address, addressesOf, isLoopback, namespaceOf } from "./stack/hosts.ts";
import { stackOf } from "./stack/objects.ts";
import { mayLieIn, type Place, placeOf } from "./stack/places.ts";
import { type Container, podsOf } from "./stack/pods.ts";
import { PLATFORM } from "./stack/ringfence.ts";
import { schemaOf, settings } from "./stack/settings.ts";
import { at, items, propsOf, text } from "./stack/value.ts";
import { shown, tell } from "./stack/verdict.ts";

const parameters = {
  plainStacks: {
    type: "array",
    items: { type: "string" },
    description: "Names of the stacks whose stores may do without authentication and TLS.",
    default: ["dev"],
  },
} as const;

/**
 * Without authentication, a prefix and an account are suggestions; without TLS, everybody on the way reads the passwords.
 * Inside the pipeline's own namespace (a proxy) the way is short enough for plain text, not for no log-in.
 */
export const authenticatedStores: StackValidationPolicy = {
  name: "authenticated-stores",
  displayName: "Authenticated stores",
  description: "etcd and NATS are reached with authentication, and over TLS, in every stack but those for development.",
  enforcementLevel: "mandatory",
  severity: "critical",
  remediationSteps:
    "Use https:// and tls:// addresses, give pods ETCD_AUTH_USERNAME and ETCD_AUTH_PASSWORD and one NATS_AUTH_* from " +
    "Secrets, and turn authentication on in the servers.",
  configSchema: schemaOf(parameters),
  validateStack: (args, report) => {
    const { resources } = args;
    const { plainStacks } = settings(parameters, args);
    const stack = stackOf(resources[0]?.urn ?? "");
    if (stack !== undefined && (plainStacks as readonly string[]).includes(stack)) return;
    for (const { container, place, resource } of containers(resources)) {
      for (const { path, problem, fix } of [...clientProblems(container, place), ...serverProblems(container)])
        tell(report, { resource, path, problem, fix });
    }
    for (const platform of resources.filter(({ type }) => type === PLATFORM)) {
      for (const [store, list] of [
        ["etcd", "endpoints"],
        ["etcd", "clusterEndpoints"],
        ["nats", "servers"],
        ["nats", "clusterServers"],
      ] as const) {
        items(at(propsOf(platform), store, list)).forEach((address, index) => {
          const plain = addressesOf(text(address) ?? "").find((one) => isPlain(one, store === "nats"));
          if (!plain) return;
          tell(report, {
            resource: platform,
            path: [store, list, index],
            problem: `${shown(text(address))} is reached without TLS`,
            fix: `use ${store === "etcd" ? "https" : "tls"}://`,
          });
        });
      }
    }
  },
};

const containers = (resources: readonly PolicyResource[]) =>
  podsOf(resources).flatMap((pod) =>
    pod.containers.map((container) => ({ container, place: placeOf(pod.object), resource: pod.object })),
  );

type Problem = Pick<Parameters<typeof tell>[1], "path" | "problem" | "fix">;

const ETCD_LOGINS = ["ETCD_AUTH_USERNAME", "ETCD_AUTH_CLIENT_CERT"];
const NATS_LOGINS = ["NATS_AUTH_USERNAME", "NATS_AUTH_TOKEN", "NATS_AUTH_NKEY", "NATS_AUTH_CREDENTIALS_FILE"];

/** Of a container that uses the stores, under the names that Dynamo reads. */
function clientProblems({ env, init }: Container, place: Place): Problem[] {
  if (init) return [];
  const found: Problem[] = [];
  for (const [variable, logins, store, scheme] of [
    ["ETCD_ENDPOINTS", ETCD_LOGINS, "etcd", "https"],
    ["NATS_SERVER", NATS_LOGINS, "NATS", "tls"],
  ] as const) {
    const written = env.get(variable);
    if (!written) continue;
    const addresses = addressesOf(written.value ?? "");
    const plain = addresses.find((address) => isPlain(address, store === "NATS") && !inOwnNamespace(address, place));
    const upgraded = store === "NATS" ? !env.lacks("NATS_TLS_CA_CERT_PATH") : env.get("ETCD_AUTH_CA") !== undefined;
    if (plain && !upgraded) {
      found.push({
        path: written.path,
        problem: `${shown(written.value)} is ${store} without TLS`,
        fix: `use ${scheme}://`,
      });
    }
    if (env.lacks(...logins) && !addresses.some(({ userinfo }) => userinfo)) {
      found.push({
        path: written.path,
        problem: `names ${store}, and nothing to log in with`,
        fix: `set ${logins[0]} and what belongs to it from a Secret`,
      });
    }
  }
  return found;
}

/** Whether an address is certainly spoken to in plain text, over a network. */
const isPlain = ({ scheme, host }: Address, nats: boolean): boolean =>
  !isLoopback(host) && (nats ? scheme === undefined || scheme === "nats" || scheme === "ws" : scheme === "http");

function inOwnNamespace({ host }: Address, place: Place): boolean {
  const lies = namespaceOf(host);
  return lies.own || (lies.namespace !== undefined && mayLieIn(place, lies.namespace));
}

/** Of a container that is an etcd or a NATS server itself. */
function serverProblems({ env, words, path }: Container): Problem[] {
  const found: Problem[] = [];
  const open = env.get("ALLOW_NONE_AUTHENTICATION");
  if (/^(yes|true|1)$/i.test(open?.value ?? "")) {
    found.push({
      path: open?.path ?? path,
      problem: "starts etcd without authentication",
      fix: "leave ALLOW_NONE_AUTHENTICATION out and set ETCD_ROOT_PASSWORD from a Secret",
    });
  }
  const program = words[0]?.text.split("/").at(-1);
  if (program === "etcd" && !words.some(({ text }) => text === "grpc-proxy")) {
    const listens = words.find(({ text }) =>
      /^--(listen|advertise)-client-urls=.*http:\/\/(?!127\.|localhost)/.test(text),
    );
    if (listens) {
      found.push({
        path: listens.path,
        problem: "etcd serves its clients without TLS",
        fix: "use https:// and --cert-file",
      });
    }
  }
  if (program === "nats-server") {
    const secured = /^-{1,2}(c|config|user|pass|auth|tls\w*)(=|$)/;
    if (!words.some(({ text }) => secured.test(text)) && words.length > 0) {
      found.push({
        path: words[0]?.path ?? path,
        problem: "nats-server starts without a configuration, so anybody may connect",
        fix: "give it a --config with authentication and TLS",
      });
    }
  }
  return found;
}
