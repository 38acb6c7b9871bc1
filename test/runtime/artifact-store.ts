import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A store of artifacts: answers as the Hugging Face Hub does, or as S3. */
export class ArtifactStore {
  readonly requests: IncomingMessage[] = [];
  readonly #server: Server;

  private constructor(answer: (request: IncomingMessage, response: ServerResponse) => void) {
    this.#server = createServer((request, response) => {
      this.requests.push(request);
      answer(request, response);
    });
  }

  static async open(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<ArtifactStore> {
    const store = new ArtifactStore(answer);
    store.#server.listen(0, "127.0.0.1");
    await once(store.#server, "listening");
    return store;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/**
 * Whether a request without a body has AWS' signature, version 4, of what arrived, computed here from its documentation
 * ("Create a signed AWS API request").
 */
export function isSigned(
  { method, url = "", headers }: IncomingMessage,
  { id, secret, region }: { id: string; secret: string; region: string },
): boolean {
  const given = /^AWS4-HMAC-SHA256 Credential=([^,]+), SignedHeaders=([^,]+), Signature=(\w+)$/.exec(
    headers.authorization ?? "",
  );
  const [, credential, signedHeaders = "", signature] = given ?? [];
  const time = String(headers["x-amz-date"]);
  const scope = `${time.slice(0, 8)}/${region}/s3/aws4_request`;
  const needed = ["host", ...Object.keys(headers).filter((name) => name.startsWith("x-amz-"))];
  if (credential !== `${id}/${scope}` || !needed.every((name) => signedHeaders.split(";").includes(name))) return false;
  const [path = "", query = ""] = url.split("?");
  const encoded = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  const canonical = [
    method,
    path.split("/").map(decodeURIComponent).map(encoded).join("/"),
    [...new URLSearchParams(query)]
      .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
      .sort()
      .join("&"),
    ...signedHeaders.split(";").map((name) => `${name}:${headers[name]}`),
    "",
    signedHeaders,
    headers["x-amz-content-sha256"],
  ].join("\n");
  const hash = createHash("sha256").update(canonical).digest("hex");
  const mac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
  const key = scope.split("/").reduce<string | Buffer>(mac, `AWS4${secret}`);
  return mac(key, ["AWS4-HMAC-SHA256", time, scope, hash].join("\n")).toString("hex") === signature;
}
