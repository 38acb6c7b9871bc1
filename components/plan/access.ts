/** How the admin reaches a platform's stores. Its values are secrets, so nothing here prints one. */
import { z } from "zod";

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

export const accessSpec = z.strictObject({
  etcd: z.strictObject({
    /** As the admin's machine reaches them. */
    endpoints: urls(["http", "https"]),
    /** As pods reach them; the same ones when left out. */
    clusterEndpoints: urls(["http", "https"]).optional(),
    username: filled,
    password: filled,
  }),
  nats: z.strictObject({
    servers: urls(["nats", "tls"]),
    clusterServers: urls(["nats", "tls"]).optional(),
    /** The operator's seed or one of its signing keys': signs the accounts. */
    operatorSeed: z.string().startsWith("SO", "expected the seed of an operator (SO…)"),
    /** The text of a credentials file of a user of the system account: pushes and deletes accounts. */
    systemCreds: z.string().includes("NATS USER JWT", { message: "expected the text of a NATS credentials file" }),
  }),
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
