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
