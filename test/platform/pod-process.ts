// What the containers of process-pods.test.ts run: notes what happens to it in the file RECORD, and answers over HTTP.
import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const { NAME = "", RECORD = "", RINGFENCE_BIND_ADDRESS, PORT = "8080", END_MS } = process.env;
const note = (what: string) => appendFileSync(RECORD, `${NAME} ${what} ${Date.now()}\n`);

let healthy = true;
const server = createServer(async (request, response) => {
  const url = new URL(request.url ?? "/", "http://pod");
  switch (url.pathname) {
    case "/env":
      return response.end(JSON.stringify({ env: process.env, argv: process.argv.slice(2), pid: process.pid }));
    case "/file":
      return response.end(readFileSync(url.searchParams.get("path") ?? ""));
    case "/healthy":
      return response.writeHead(healthy ? 200 : 503).end();
    case "/sicken":
      healthy = false;
      return response.end();
    default:
      response.end();
      return process.exit(Number(url.pathname.slice("/exit/".length)));
  }
});
server.listen(Number(PORT), RINGFENCE_BIND_ADDRESS, () => note("began"));
process.on("SIGTERM", async () => {
  note("asked");
  // Without the setting it does not listen to anybody.
  if (END_MS === undefined) return;
  await sleep(Number(END_MS));
  note("ended");
  process.exit(0);
});
