/** The admin's connections for commands, by RINGFENCE_PLATFORM or the embedded platform's access file. */
import { existsSync } from "node:fs";
import { VisibleError } from "../components/plan/visible-error.ts";
import { openStores, type Stores } from "../components/tenancy/access.ts";
import { resolveAccess } from "../components/tenancy/resolve-access.ts";
import { layout } from "../dev/platform/layout.ts";
import { platformHome } from "./home.ts";

/** Commands belong to no stack. @throws VisibleError */
function notConfigured(key: string): never {
  const { RINGFENCE_PLATFORM: file } = process.env;
  const expected = `'${key.replace(/.*:/, "")}' in it, with the access that a stack's config has as ${key}`;
  throw new VisibleError(
    `RINGFENCE_PLATFORM: found ${file ? `'${file}' without it` : "nothing"}; expected a JSON file with ${expected}: name one, or run 'ringfence dev up'`,
  );
}

/** @param platform @default "platform", as Platform.fromConfig() has it */
export async function withStores<T>(work: (stores: Stores) => Promise<T>, platform = "platform"): Promise<T> {
  const embedded = layout(platformHome()).access;
  if (!process.env.RINGFENCE_PLATFORM && existsSync(embedded)) process.env.RINGFENCE_PLATFORM = embedded;
  const stores = openStores(resolveAccess(platform, notConfigured));
  try {
    return await work(stores);
  } finally {
    await stores.close();
  }
}
