/** A server of a proxy's on a free port. */
import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";

export interface Listener {
  /** `127.0.0.1:<port>` */
  address: string;
  close(): void;
}

/** @param disconnect ends what the server has accepted */
export async function listening(
  server: Pick<Server, "listen" | "address" | "close"> & NodeJS.EventEmitter,
  disconnect: () => void,
): Promise<Listener> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    address: `127.0.0.1:${port}`,
    close: () => {
      server.close();
      disconnect();
    },
  };
}
