/** The platform's NATS: operator mode, so accounts are JWTs in the server's own full resolver; JetStream on disk. */
import { Nats, type NatsAccess } from "../../components/stores/nats.ts";
import {
  encodeAccount,
  encodeOperator,
  generateNkey,
  publicKeyOf,
  userCreds,
} from "../../components/stores/nats-jwt.ts";
import { keep, read, write } from "./files.ts";
import { layout } from "./layout.ts";
import type { Ports } from "./ports.ts";
import type { Server } from "./server.ts";
import { clientTls, tlsOf } from "./tls.ts";

/** How clients reach it. */
export const natsEndpoint = (home: string, ports: Ports): string =>
  `${tlsOf(home) ? "tls" : "nats"}://127.0.0.1:${ports.nats}`;

export function natsServer(home: string, ports: Ports): Server {
  const { natsConfig, systemCreds } = layout(home);
  const endpoint = natsEndpoint(home, ports);
  const tls = tlsOf(home);
  return {
    name: "nats",
    tool: "nats-server",
    ports: ["nats"],
    endpoint,
    args: [
      `--config=${natsConfig}`,
      "--addr=127.0.0.1",
      `--port=${ports.nats}`,
      // Not in the file: a server is started again when its command line changes.
      ...(tls ? ["--tlsverify", `--tlscert=${tls.server.cert}`, `--tlskey=${tls.server.key}`] : []),
      ...(tls ? [`--tlscacert=${tls.ca}`] : []),
    ],
    prepare: () => writeConfig(home),
    ready: () => assertResolver({ servers: [endpoint], creds: read(systemCreds) ?? "", tls: clientTls(home) }),
  };
}

/** The identities are made once, seeds first: whatever a kill leaves out is derived from them by the next `up`. */
async function writeConfig(home: string): Promise<void> {
  const { operatorSeed: operatorFile, systemSeed: systemFile, systemCreds, natsConfig, dataOf } = layout(home);
  const operatorSeed = keep(operatorFile, () => generateNkey("operator").seed);
  const accountSeed = keep(systemFile, () => generateNkey("account").seed);
  const systemAccount = publicKeyOf(accountSeed);
  if (read(systemCreds) === undefined) write(systemCreds, await userCreds({ name: "admin", accountSeed }));

  const operator = await encodeOperator({ name: "ringfence-dev", seed: operatorSeed, systemAccount });
  const account = await encodeAccount({ name: "SYS", publicKey: systemAccount, operatorSeed, jetStream: false });
  const store = JSON.stringify(dataOf("nats"));
  const resolver = JSON.stringify(`${dataOf("nats")}/accounts`);
  write(
    natsConfig,
    `server_name: ringfence-dev
operator: ${operator}
system_account: ${systemAccount}
resolver {
  type: full
  dir: ${resolver}
  # A released tenant's account must be gone, not kept aside as <key>.jwt.deleted.
  allow_delete: true
  hard_delete: true
}
resolver_preload { ${systemAccount}: ${account} }
# A client that waits for a processor may be slower than the 2 s that it has to log in.
authorization { timeout: 60 }
# Accounts reserve their share, so the caps bound how many tenants there can be; nothing is allocated.
jetstream { store_dir: ${store}, max_memory_store: 1GB, max_file_store: 200GB }
`,
  );
}

/** Logs in as the system user and has the resolver list its accounts. */
async function assertResolver(access: NatsAccess): Promise<void> {
  const nats = await Nats.connect(access);
  try {
    await nats.accounts();
  } finally {
    await nats.close();
  }
}
