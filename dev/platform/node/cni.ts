/**
 * The CNI plugin `ringfence-ports`, after `bridge` in the chain: before a pod's first container starts, its localhost leads to etcd,
 * NATS and the API server of the platform. The node's own process does the work; this one asks it to.
 */
import { request } from "node:http";
import { text } from "node:stream/consumers";

/** Where the node's process is asked, inside the machine. */
export const SOCKET = "/run/ringfence.sock";

const VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

function ask(method: string, netns: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const path = `/?netns=${encodeURIComponent(netns)}`;
    const sent = request({ socketPath: SOCKET, method, path }, async (response) => {
      const said = await text(response);
      if (response.statusCode === 200) resolve();
      else reject(new Error(said));
    });
    sent.on("error", reject).end();
  });
}

async function main(): Promise<unknown> {
  const { CNI_COMMAND: command, CNI_NETNS: netns = "" } = process.env;
  const given = JSON.parse((await text(process.stdin)) || "{}");
  if (command === "VERSION") return { cniVersion: "1.0.0", supportedVersions: VERSIONS };
  if (command === "ADD") await ask("PUT", netns);
  // Of a namespace that is gone nothing is told.
  if (command === "DEL" && netns) await ask("DELETE", netns);
  return command === "ADD" ? given.prevResult : undefined;
}

if (process.env.CNI_COMMAND)
  main().then(
    (answer) => {
      if (answer) process.stdout.write(JSON.stringify(answer));
    },
    (error: Error) => {
      process.stdout.write(JSON.stringify({ cniVersion: "1.0.0", code: 100, msg: error.message }));
      process.exitCode = 1;
    },
  );
