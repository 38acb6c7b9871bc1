import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/**
 * Runs a program to its end.
 * @param options.deadline milliseconds after which it is killed; @default none
 * @param options.onLine told of each line that it writes to stderr
 * @returns what it wrote to stdout
 * @throws when it cannot be started or ends with anything but 0; the message ends with what it said last
 */
export function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; deadline?: number; onLine?: (line: string) => void } = {},
): Promise<string> {
  const { cwd, env, deadline, onLine } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, timeout: deadline, stdio: ["ignore", "pipe", "pipe"] });
    const said: string[] = [];
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    createInterface({ input: child.stderr }).on("line", (line) => {
      onLine?.(line);
      said.push(line);
      if (said.length > 5) said.shift();
    });
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${command} ${args[0] ?? ""}: ${signal ?? `exit status ${code}`}: ${said.join(" | ")}`));
    });
  });
}
