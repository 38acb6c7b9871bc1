/** A site that publishes a tool, well or badly, a group that is brought from it, and a Go module to fall back on. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ToolGroup } from "../../dev/tools/index.ts";

export const execute = promisify(execFile);
export const VERSION = "1.2.3";

export interface Scene {
  directory: string;
  archive: Buffer;
  sum: string;
  /** Paths that were asked for. */
  asked: string[];
  /** Lines that were logged. */
  lines: string[];
  /** Starts to publish. @returns the site's base URL */
  publish(listener: RequestListener): Promise<string>;
  /** Puts an executable shell script on PATH. */
  onPath(name: string, script: string): Promise<void>;
  group(site: string, name?: string): ToolGroup;
  end(): Promise<void>;
}

export async function scene(): Promise<Scene> {
  const directory = await mkdtemp(join(tmpdir(), "ringfence-tools-"));
  const path = process.env.PATH;
  const servers: Server[] = [];
  await mkdir(join(directory, "hello-1.2.3"));
  await script(join(directory, "hello-1.2.3", "hello"), `echo "hello ${VERSION} downloaded"`);
  await execute("tar", ["-czf", join(directory, "hello.tar.gz"), "-C", directory, "hello-1.2.3"]);
  const archive = await readFile(join(directory, "hello.tar.gz"));
  await mkdir(join(directory, "go"));
  await writeFile(join(directory, "go", "go.mod"), "module example.com/hello\n\ngo 1.26\n");
  await writeFile(
    join(directory, "go", "main.go"),
    'package main\n\nimport "fmt"\n\nvar version = "?"\n\nfunc main() { fmt.Println("hello " + version + " built") }\n',
  );
  const asked: string[] = [];
  return {
    directory,
    archive,
    sum: createHash("sha256").update(archive).digest("hex"),
    asked,
    lines: [],
    async publish(listener) {
      const server = createServer((request, response) => {
        asked.push(request.url ?? "");
        listener(request, response);
      });
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    async onPath(name, text) {
      const bin = join(directory, "path");
      await mkdir(bin, { recursive: true });
      await script(join(bin, name), text);
      if (!process.env.PATH?.startsWith(bin)) process.env.PATH = `${bin}:${process.env.PATH}`;
    },
    group: (site, name = "hello") => ({
      name,
      version: VERSION,
      directory: join(directory, "cache", `${name}-${VERSION}`),
      bin: "bin",
      binaries: [{ name: "hello", version: ["--version"] }],
      assets: [{ url: `${site}/hello.tar.gz`, sums: `${site}/SHA256SUMS`, holds: { directory: "hello-1.2.3" } }],
      recipe: {
        directory: join(directory, "go"),
        source: `example.com/hello@v${VERSION}`,
        packages: { hello: "." },
        variables: { "main.version": VERSION },
      },
    }),
    async end() {
      process.env.PATH = path;
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function script(path: string, text: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
}

/** What the tool prints: it says whether it was downloaded or built. */
export async function says(path: string): Promise<string> {
  return (await execute(path)).stdout.trim();
}
