/** The world that a release's checkpoint is of, rebuilt on a platform where nothing of it is: what the stores had, and Pulumi's state. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect, credsAuthenticator, type JetStreamManager } from "nats";
import { op } from "../../components/stores/etcd-txn.ts";
import { encodeAccount, type JetStreamShare } from "../../components/stores/nats-jwt.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { type OwnPlatform, Project, type Resource, withStores } from "../e2e/scene.ts";
import { readAsTenant, type TenantEtcd, type TenantNats, writeAsTenant } from "../e2e/tenant.ts";

/** Releases that have a checkpoint, oldest first. */
export const releases: string[] = readdirSync(import.meta.dirname, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));

/** One of the files of a release, see README.md. */
export const readRelease = (release: string, file: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, release, file), "utf8"));

interface Exported {
  deployment: { resources: Resource[] };
}

export class World {
  readonly project: Project;
  readonly #platform: OwnPlatform;
  readonly #etcd: TenantEtcd;
  readonly #nats: TenantNats;

  private constructor(platform: OwnPlatform, project: Project, tenant: { etcd: TenantEtcd; nats: TenantNats }) {
    this.#platform = platform;
    this.project = project;
    this.#etcd = tenant.etcd;
    this.#nats = tenant.nats;
  }

  static async rebuild(platform: OwnPlatform, release: string): Promise<World> {
    const project = new Project(platform.env, readRelease(release, "config.json"));
    try {
      const resources = await importState(project, release, platform.env.KUBECONFIG);
      const outputsOf = <T>(kind: string) =>
        (resources.find(({ type }) => type === `pulumi-nodejs:dynamic/ringfence:${kind}`)?.outputs ??
          assert.fail(`${release} has no ${kind}`)) as T;
      const [etcd, nats] = [outputsOf<EtcdPrefix>("EtcdPrefix"), outputsOf<NatsAccount>("NatsAccount")];
      const access = await withStores(platform.env, async (stores) => {
        await putRegistry(stores, readRelease(release, "registry.json"));
        await makeUser(stores, etcd);
        await pushAccount(stores, nats);
        return stores.access;
      });
      for (const resource of resources) if (resource.type.startsWith("kubernetes:")) await apply(project, resource);
      const world = new World(platform, project, {
        etcd: { ...etcd, endpoints: access.etcd.endpoints },
        nats: { servers: access.nats.servers, account: nats.account, creds: nats.creds.worker ?? assert.fail() },
      });
      await world.#writeData();
      return world;
    } catch (error) {
      project.close();
      throw error;
    }
  }

  async #writeData(): Promise<void> {
    await writeAsTenant(this.#etcd, `${this.#etcd.prefix}models/chat`);
    await this.#asStreamUser(async (streams) => {
      await streams.streams.add({ name: "work", subjects: ["work.>"] });
      await streams.jetstream().publish("work.first", "hello");
    });
  }

  /** Fails unless the tenant reaches what it has written, with the credentials that it had. */
  async assertDataIsThere(): Promise<void> {
    assert.equal((await readAsTenant(this.#etcd, `${this.#etcd.prefix}models/chat`)).trim(), "hello");
    await this.#asStreamUser(async ({ streams }) => assert.equal((await streams.info("work")).state.messages, 1));
  }

  async #asStreamUser(work: (manager: JetStreamManager) => Promise<unknown>): Promise<void> {
    const { servers, creds } = this.#nats;
    const connection = await connect({
      servers,
      authenticator: credsAuthenticator(Buffer.from(creds)),
      timeout: 60_000,
    });
    try {
      await work(await connection.jetstreamManager());
    } finally {
      await connection.close();
    }
  }

  /** What a shell of the platform's admin has. */
  get env(): NodeJS.ProcessEnv {
    return this.#platform.env;
  }

  close(): void {
    this.project.close();
  }
}

/** What the state has of a tenant's parts. */
type EtcdPrefix = Omit<TenantEtcd, "endpoints">;
interface NatsAccount {
  account: string;
  logicalName: string;
  generation: string;
  jetStream: JetStreamShare;
  creds: Record<string, string>;
}

/** @returns the state's resources, secrets in plain text */
async function importState(project: Project, release: string, kubeconfig?: string): Promise<Resource[]> {
  const state: Exported = readRelease(release, "state.json");
  for (const { type, inputs, outputs } of state.deployment.resources) {
    if (type !== "pulumi:providers:kubernetes") continue;
    // The cluster is here now; how to reach the other stores is no part of the state.
    inputs.kubeconfig = kubeconfig;
    outputs.kubeconfig = kubeconfig;
  }
  const file = join(project.directory, "state.json");
  writeFileSync(file, JSON.stringify(state));
  await project.pulumi("stack", "init");
  await project.pulumi("stack", "import", "--file", file);
  const { stdout } = await project.pulumi("stack", "export", "--show-secrets");
  const plain = JSON.parse(stdout, (_key, value) =>
    typeof value?.plaintext === "string" ? JSON.parse(value.plaintext) : value,
  );
  return (plain as Exported).deployment.resources;
}

/** What is not JSON is kept as a text. */
async function putRegistry({ etcd }: Stores, records: Record<string, unknown>): Promise<void> {
  for (const [key, record] of Object.entries(records))
    await etcd.txn([], [op.put(key, typeof record === "string" ? record : JSON.stringify(record))]);
}

async function makeUser({ etcd }: Stores, { username, password, prefix }: EtcdPrefix): Promise<void> {
  await etcd.addRole(username);
  await etcd.grantPrefix(username, prefix);
  await etcd.addUser(username, password);
  await etcd.grantRole(username, username);
}

/** Signed by this platform's operator. The account itself signed its users' credentials, so they stay good. */
async function pushAccount(
  stores: Stores,
  { account, logicalName, generation, jetStream }: NatsAccount,
): Promise<void> {
  const { operatorSeed } = stores.access.nats;
  const name = `ringfence:${logicalName}:${generation}`;
  await (await stores.nats()).push(await encodeAccount({ name, publicKey: account, operatorSeed, jetStream }));
}

/** As Pulumi applied it, under the field manager that the state names. */
async function apply(project: Project, { inputs, outputs, urn }: Resource): Promise<void> {
  const file = join(project.directory, "object.json");
  writeFileSync(file, JSON.stringify(inputs));
  const manager = `--field-manager=${outputs.__fieldManager}`;
  const { code, output } = await project.run("kubectl", "apply", "--server-side", manager, "-f", file);
  assert.equal(code, 0, `${urn}: ${output}`);
}
