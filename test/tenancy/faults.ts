/** Stores that fail at one chosen write, the way that real ones do. */
import { StoreError } from "../../components/stores/errors.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { bound } from "./scene.ts";

/**
 * - killed before: the process ends right before the write
 * - killed after: the write happens, the process ends before it learns of it
 * - in doubt: the write happens, no answer comes, the process goes on
 * - refused: the server cannot be reached, so the write does not happen, and the process goes on
 */
export const faults = ["killed before", "killed after", "in doubt", "refused"] as const;
export type Fault = (typeof faults)[number];

/** Writes that no transaction guards. */
const calls = new Set([
  "addRole",
  "grantPrefix",
  "addUser",
  "changePassword",
  "grantRole",
  "deleteUser",
  "deleteRole",
  "push",
  "purge",
  "deleteAccounts",
  ...["createBuffer", "updateBuffer", "deleteBuffer", "createConsumer", "updateConsumer"],
  ...["createBucket", "updateBucket", "deleteBucket"],
]);

export interface FaultyStores {
  stores: Stores;
  /** The writes that were made or tried, in order. */
  writes: string[];
}

/** @param at the write that fails: its number from 0, or its name for the first such one; none when left out */
export function faulty(stores: Stores, fault: Fault = "refused", at: number | string = -1): FaultyStores {
  const writes: string[] = [];
  let failed = false;
  let dead = false;

  const watched = <T extends object>(server: T): T =>
    new Proxy(server, {
      get(target, name) {
        const member = bound(target, name);
        // No writes, and neither gives a promise.
        if (typeof member !== "function" || name === "keepAlive" || name === "pages") return member;
        // What a process has open its end closes.
        if (name === "close") return member;
        return async (...args: unknown[]) => {
          if (dead) throw new Error("killed");
          if (!isWrite(String(name), args)) return member(...args);
          writes.push(String(name));
          if (failed || (at !== name && at !== writes.length - 1)) return member(...args);
          failed = true;
          dead = fault === "killed before" || fault === "killed after";
          if (fault === "killed after" || fault === "in doubt") await member(...args);
          throw dead
            ? new Error("killed")
            : new StoreError(`${String(name)}: ${fault}`, { inDoubt: fault === "in doubt" });
        };
      },
    });
  return {
    writes,
    stores: {
      ...stores,
      etcd: watched(stores.etcd),
      nats: async () => watched(await stores.nats()),
      jetStream: async (access) => watched(await stores.jetStream(access)),
    },
  };
}

export const isCall = (name: string): boolean => calls.has(name);

const isWrite = (name: string, args: unknown[]) =>
  isCall(name) ||
  name === "grantLease" ||
  name === "revokeLease" ||
  (name === "txn" && (args[1] as unknown[]).length > 0);
