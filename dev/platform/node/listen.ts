/** `node listen.ts '[{"host":…,"port":…}]'`: listens in the network namespace that it was started in, and hands the sockets over. */
import { once } from "node:events";
import { createServer } from "node:net";

const addresses = JSON.parse(process.argv[2] ?? "") as { host: string; port: number }[];
for (const [index, address] of addresses.entries()) {
  const server = createServer().listen(address);
  await once(server, "listening");
  process.send?.(index, server);
}
// Until the other side has them all.
await once(process, "message");
process.disconnect();
process.exit();
