import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { until } from "./wait.ts";

/**
 * Runs one command at a time on a home. The lock is a socket name in Linux' abstract name space: the kernel frees it
 * with the process, so a killed command leaves no stale lock.
 * @throws when another command is still at work after two minutes, longer than any of them may take
 */
export async function exclusively<T>(home: string, work: () => Promise<T>): Promise<T> {
  const name = `\0ringfence-${createHash("sha256").update(home).digest("hex")}`;
  const server = await until({
    what: `${home}: another ringfence command is at work here`,
    within: 120,
    attempt: () =>
      new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
        const socket = createServer().once("error", reject);
        socket.listen({ path: name }, () => resolve(socket.unref()));
      }),
  });
  try {
    return await work();
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}
