import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { down } from "../../dev/platform/index.ts";
import { Command, type Ended } from "./command.ts";
import { etcdctl, ROOT, temporary } from "./scene.ts";

/** What a newcomer types at the repository's root, on a machine that has the tools and nothing else of ours. */
describe("the commands", () => {
  const home = temporary("e2e-home");
  // A newcomer's shell knows of no platform.
  const ours = ([name]: [string, unknown]) => !/^(npm_|RINGFENCE_|PULUMI_|ETCDCTL_|NATS_|KUBECONFIG$)/.test(name);
  const env = { ...Object.fromEntries(Object.entries(process.env).filter(ours)), RINGFENCE_HOME: home };

  after(async () => {
    await down({ home });
    rmSync(home, { recursive: true });
  });

  const run = async (code: number, command: string, ...args: string[]): Promise<Ended> => {
    const ended = await new Command(command, args, { cwd: ROOT, env }).ended;
    assert.equal(ended.code, code, `${command} ${args.join(" ")}\n${ended.output}`);
    return ended;
  };
  const ringfence = (code: number, ...args: string[]) => run(code, "npx", "ringfence", ...args);
  const shell = async (script: string) => run(0, "bash", "-euc", `eval "$(npx ringfence dev env)"; ${script}`);
  const changes = async () => (await run(0, "git", "status", "--porcelain")).stdout;
  let checkout: string;

  it("npm start brings everything and ends with a table and an answered request", async () => {
    checkout = await changes();
    const { stdout } = await run(0, "npm", "start");
    const table = stdout.slice(stdout.indexOf("PIPELINE "));
    assert.match(table, /^PIPELINE +PHASE +NAMESPACE +ETCD PREFIX +NATS ACCOUNT +GPUS +VERTICES READY\/WANTED\n/);
    assert.match(table, /^chat +Running +chat-\w{8} +\/ringfence\/tenants\/\w{24}\/ +A\w{55} +6 +decode 4\/4, /m);
    assert.match(table, /^summarize +Running .* 4 +frontend 1\/1, worker 2\/2$/m);
    assert.match(
      table,
      /^\{"echo":\{"hello":"ring"\},"pod":"worker-\S+"\}\nanswered in [\d.]+ ms, discovery included: dev\/echo → echo → worker-/m,
    );
  });

  it("a second npm start changes nothing and says so", async () => {
    const { stdout } = await run(0, "npm", "start");
    assert.match(stdout, /^nothing changed$/m);
    assert.match(stdout, /^chat +Running /m);
  });

  it("ringfence dev status tells what runs and where the credentials are", async () => {
    const { servers, endpoints, credentials } = JSON.parse((await ringfence(0, "dev", "status", "--json")).stdout);
    for (const { name, pid } of servers) assert.equal(process.kill(pid, 0), true, name);
    assert.match(endpoints.etcd[0], /^http:\/\/127\.0\.0\.1:/);
    assert.equal(credentials.access, join(home, "platform.json"));
  });

  it("ringfence dev env gives a shell in which the usual tools work", async () => {
    const { output } = await shell(
      "pulumi preview --stack dev --non-interactive --expect-no-changes; kubectl get pods -A; etcdctl get /ringfence/ --prefix --keys-only",
    );
    assert.match(output, /^ +\d+ unchanged$/m);
    assert.doesNotMatch(output, /warning/);
    assert.match(output, /^chat-\w{8} +decode-\S+ +1\/1 +Running/m);
    assert.match(output, /^\/ringfence\/v1\/claims\/dev\/chat\/$/m);
  });

  it("ringfence doctor lists the tools", async () => {
    const { stdout } = await ringfence(0, "doctor");
    for (const tool of ["etcd", "nats-server", "kube-apiserver", "kwok", "pulumi"])
      assert.match(stdout, new RegExp(`^${tool} +\\d+\\.\\d+\\.\\d+`, "m"));
  });

  it("ringfence audit finds what no claim accounts for, and ends with 3", async () => {
    assert.match((await ringfence(0, "audit")).stdout, /3 tenants, residue 0$/m);
    const generation = "0123456789abcdef01234567";
    const prefix = `/ringfence/tenants/${generation}/`;
    const orphan = { user: `ringfence.${generation}`, key: `${prefix}x` };
    const admin = await adminEnv();
    await etcdctl(admin, "user", "add", orphan.user, "--no-password");
    await etcdctl(admin, "put", orphan.key, "x");
    const { findings } = JSON.parse((await ringfence(3, "audit", "--json")).stdout);
    assert.deepEqual(
      findings.map(({ kind, name }: { kind: string; name: string }) => [kind, name]),
      [
        ["keys", prefix],
        ["user", orphan.user],
      ],
    );
    await etcdctl(admin, "user", "delete", orphan.user);
    await etcdctl(admin, "del", orphan.key);
    await ringfence(0, "audit");
  });

  it("npm run destroy gives receipts, and tells what a stranger left meanwhile", async () => {
    const admin = await adminEnv();
    await etcdctl(admin, "put", "/somebody/else", "x");
    const { stdout } = await run(3, "npm", "run", "destroy");
    for (const pipeline of ["chat", "echo", "summarize"])
      assert.match(
        stdout,
        new RegExp(`^released dev/${pipeline}: .*1 user, 1 account; residue 0; revisions \\d+-\\d+`, "m"),
      );
    assert.match(stdout, /^etcd key \/somebody\/else was left behind$/m);
    assert.match(stdout, /^residue 0; 1 differences outside from before the first up$/m);
    await etcdctl(admin, "del", "/somebody/else");
  });

  it("npm run destroy ends with 0 when everything outside is as before the first up", async () => {
    const { stdout } = await run(0, "npm", "run", "destroy");
    assert.match(stdout, /^residue 0; 0 differences outside from before the first up$/m);
  });

  it("ringfence dev down stops the servers", async () => {
    await ringfence(0, "dev", "down");
    const { servers } = JSON.parse((await ringfence(1, "dev", "status", "--json")).stdout);
    assert(servers.every(({ running }: { running: boolean }) => !running));
  });

  it("leave the checkout as it was", async () => assert.equal(await changes(), checkout));

  async function adminEnv(): Promise<NodeJS.ProcessEnv> {
    const { stdout } = await shell("env -0");
    const entries = stdout
      .split("\0")
      .filter(Boolean)
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]);
    return Object.fromEntries(entries);
  }
});
