/** `ringfence doctor`: each tool, its version and where it came from. */
import { inspectTools } from "../dev/tools/index.ts";
import { table } from "./table.ts";

/** @returns the exit code: 1 when a tool is missing or of another version */
export async function doctor(): Promise<number> {
  const tools = await inspectTools();
  const rows = tools.map(({ name, wanted, found, path, origin, note }) => [
    name,
    found ?? `missing (${wanted} wanted)`,
    origin ?? "",
    path ?? "",
    note,
  ]);
  console.log(table(["TOOL", "VERSION", "FOUND IN", "PATH", "NOTE"], rows));
  return tools.every(({ path }) => path !== undefined) ? 0 : 1;
}
