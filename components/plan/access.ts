/** How the admin reaches a platform's stores. Its values are secrets, so nothing here prints one. */
import { z } from "zod";
import { judgeSchemes, tlsSpec } from "./tls.ts";

const filled = z.string().min(1, "expected a string that is not empty");

const urls = (schemes: string[]) =>
  z
    .array(
      z
        .string()
        .refine(
          (url) => schemes.some((scheme) => url.startsWith(`${scheme}://`)),
          `expected an address that begins with ${schemes.map((scheme) => `${scheme}://`).join(" or ")}`,
        ),
    )
    .min(1, "expected at least one address");

const SERVICE = /^([a-z0-9-]+)\/([a-z0-9-]+):(\d{1,5})$/;

/** A Service that this machine reaches by a port-forward only: `namespace/name:port`. */
const service = z
  .string()
  .regex(SERVICE, "expected 'namespace/name:port' of a Service, for example 'ringfence-system/etcd:2379'")
  .transform((text) => {
    const [, namespace = "", name = "", port] = SERVICE.exec(text) ?? [];
    return { namespace, name, port: Number(port) };
  });
type Service = z.output<typeof service>;

/**
 * The addresses as written, or those of the Service in its cluster: what pods dial, and what its certificates name.
 * @param key the property of the addresses
 */
function addresses(
  { service, written }: { service?: Service | undefined; written?: string[] | undefined },
  key: string,
  scheme: string,
  context: z.RefinementCtx,
): string[] {
  if (Boolean(service) === Boolean(written)) {
    const message = `expected either addresses here or a 'service' to be reached by a port-forward${service ? ", not both" : ""}`;
    context.addIssue({ code: "custom", path: [key], message });
  }
  return written ?? (service ? [`${scheme}://${service.name}.${service.namespace}.svc:${service.port}`] : []);
}

export const accessSpec = z.strictObject({
  etcd: z
    .strictObject({
      /** As the admin's machine reaches them; left out where a `service` is given. */
      endpoints: urls(["http", "https"]).optional(),
      /** etcd's Service, when only the cluster reaches it. */
      service: service.optional(),
      /** As pods reach them; the same ones when left out. */
      clusterEndpoints: urls(["http", "https"]).optional(),
      username: filled,
      password: filled,
      /** Of https addresses; left out, they are held against the authorities that Node.js trusts. */
      tls: tlsSpec.optional(),
    })
    .superRefine(({ tls, endpoints, clusterEndpoints }, context) =>
      judgeSchemes({ tls, lists: { endpoints, clusterEndpoints }, scheme: "https" }, context),
    )
    .transform((etcd, context) => ({
      ...etcd,
      endpoints: addresses({ ...etcd, written: etcd.endpoints }, "endpoints", etcd.tls ? "https" : "http", context),
    })),
  nats: z
    .strictObject({
      servers: urls(["nats", "tls"]).optional(),
      /** NATS' Service, when only the cluster reaches it. */
      service: service.optional(),
      clusterServers: urls(["nats", "tls"]).optional(),
      /** The operator's seed or one of its signing keys': signs the accounts. */
      operatorSeed: z.string().startsWith("SO", "expected the seed of an operator (SO…)"),
      /** The text of a credentials file of a user of the system account: pushes and deletes accounts. */
      systemCreds: z.string().includes("NATS USER JWT", { message: "expected the text of a NATS credentials file" }),
      /** Of tls addresses; left out, they are held against the authorities that Node.js trusts. */
      tls: tlsSpec.optional(),
    })
    .superRefine(({ tls, servers, clusterServers }, context) =>
      judgeSchemes({ tls, lists: { servers, clusterServers }, scheme: "tls" }, context),
    )
    .transform((nats, context) => ({
      ...nats,
      servers: addresses({ ...nats, written: nats.servers }, "servers", nats.tls ? "tls" : "nats", context),
    })),
  kubernetes: z
    .strictObject({
      /** A path or the text of a kubeconfig; KUBECONFIG or ~/.kube/config when left out. */
      kubeconfig: z.string().optional(),
      context: z.string().optional(),
    })
    .prefault({}),
});

/** Access to one platform. */
export type Access = z.output<typeof accessSpec>;
