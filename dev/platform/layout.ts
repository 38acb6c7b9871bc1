import { join } from "node:path";

/** Where everything of a home lies. */
export function layout(home: string) {
  const credentials = join(home, "credentials");
  const data = join(home, "data");
  return {
    /** The access file that RINGFENCE_PLATFORM names. */
    access: join(home, "platform.json"),
    kubeconfig: join(home, "kubeconfig"),
    /** Pulumi's file backend. */
    state: join(home, "state"),
    /** The snapshot of everything outside from before the first `up`. */
    outside: join(home, "outside.json"),
    receipts: join(home, "receipts"),
    /** The output of process pods, a directory each. */
    podLogs: join(home, "logs", "pods"),
    log: (server: string) => join(home, "logs", `${server}.log`),
    data,
    dataOf: (server: string) => join(data, server),
    credentials,
    etcdPassword: join(credentials, "etcd-password"),
    /** The password that a rotation is about to set: written first, so that a kill in between loses neither. */
    nextEtcdPassword: join(credentials, "etcd-password.next"),
    operatorSeed: join(credentials, "nats-operator.seed"),
    systemSeed: join(credentials, "nats-system-account.seed"),
    systemCreds: join(credentials, "nats-system.creds"),
    natsConfig: join(credentials, "nats.conf"),
    /** The certificates, where the platform is one with TLS. */
    tls: join(credentials, "tls"),
    tokens: join(credentials, "kubernetes-tokens.csv"),
    serviceAccountKey: join(credentials, "kubernetes-service-accounts.key"),
    kubeconfigOf: (component: string) => join(credentials, `${component}.kubeconfig`),
  };
}
