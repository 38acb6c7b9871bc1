import { Etcd3 } from "etcd3";
import { CALLS } from "../../components/stores/etcd-connection.ts";

/** A plain client, which like ours rides out that other suites change users all the while. */
export const etcdClient = (hosts: string[], { username, password }: { username: string; password: string }): Etcd3 =>
  new Etcd3({ hosts, auth: { username, password }, ...CALLS });
