/** The admin's connections for commands, by RINGFENCE_PLATFORM or the embedded platform's access file. */
import { existsSync } from "node:fs";
import { openStores, type Stores } from "../components/tenancy/access.ts";
import { resolveAccess } from "../components/tenancy/resolve-access.ts";
import { layout } from "../dev/platform/layout.ts";
import { platformHome } from "./home.ts";

/** @param platform @default "platform", as Platform.fromConfig() has it */
export async function withStores<T>(work: (stores: Stores) => Promise<T>, platform = "platform"): Promise<T> {
  const embedded = layout(platformHome()).access;
  if (!process.env.RINGFENCE_PLATFORM && existsSync(embedded)) process.env.RINGFENCE_PLATFORM = embedded;
  const stores = openStores(resolveAccess(platform, () => undefined));
  try {
    return await work(stores);
  } finally {
    await stores.close();
  }
}
