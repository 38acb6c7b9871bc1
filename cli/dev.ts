/** `ringfence dev …`: the embedded platform. */
import { down, type PlatformStatus, reset, status } from "../dev/platform/index.ts";
import { ensureTools } from "../dev/tools/index.ts";
import { bringPlatform, type PlatformOptions, platformHome, progress, shellEnvironment } from "./home.ts";
import { rememberOutside } from "./outside.ts";
import { withStores } from "./stores.ts";
import { table } from "./table.ts";

/** @param options.tls turns TLS on; once on it stays until `reset` */
export async function devUp(options: PlatformOptions): Promise<void> {
  await bringPlatform(options);
  await withStores(rememberOutside);
  console.log(statusText(await status({ home: platformHome() })));
}

export const devDown = (): Promise<void> => down({ home: platformHome(), progress });

export const devReset = (): Promise<void> => reset({ home: platformHome(), progress });

/** @returns the exit code: 1 when a server does not run */
export async function devStatus({ json }: { json?: boolean }): Promise<number> {
  const now = await status({ home: platformHome() });
  console.log(json ? JSON.stringify(now, null, 2) : statusText(now));
  return now.running ? 0 : 1;
}

/** Prints what a POSIX shell has to evaluate. */
export async function devEnv(): Promise<void> {
  const tools = await ensureTools({ log: progress });
  for (const [name, value] of Object.entries(shellEnvironment(tools)))
    console.log(`export ${name}='${value.replaceAll("'", `'\\''`)}'`);
}

function statusText({ home, servers, credentials }: PlatformStatus): string {
  const rows = servers.map(({ name, running, pid, endpoint, log }) => [
    name,
    running ? "running" : "down",
    String(pid ?? ""),
    endpoint ?? "",
    log,
  ]);
  return `${table(["SERVER", "STATE", "PID", "ENDPOINT", "LOG"], rows)}\n\nhome ${home}\nkubeconfig ${credentials.kubeconfig}`;
}
