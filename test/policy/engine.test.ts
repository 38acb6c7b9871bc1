import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { parse } from "yaml";
import { policies } from "../../policy/policies.ts";
import { Command } from "../e2e/command.ts";
import { cases } from "./cases.ts";
import { PASSWORD } from "./creds.ts";
import { PACK, Project, pulumiOnPath, ROOT, reported } from "./project.ts";
import { configMap, deployment, env } from "./sketches.ts";
import type { Sketch } from "./stack.ts";

const all = (part: "violating" | "compliant"): Sketch[] => [
  ...new Map(Object.values(cases).flatMap((one) => one[part].map((sketch) => [sketch.name, sketch] as const))).values(),
];
const wanted = Object.entries(cases).map(([policy, { message }]) => `${policy}: ${message}`);
const withPack = ["--policy-pack", PACK];

/** What `pulumi policy publish` gets from the folder that `npm run build:policy` makes. */
async function bundle(project: Project): Promise<string> {
  const target = join(project.directory, "bundle");
  const { code, output } = await new Command("node", ["policy/bundle.ts", target], { cwd: ROOT, env: process.env })
    .ended;
  assert.equal(code, 0, output);
  symlinkSync(join(ROOT, "node_modules"), join(target, "node_modules"));
  return target;
}

let PATH: string;
/** On a machine without the tools they are built first. */
async function tools(this: Mocha.Context): Promise<void> {
  this.timeout("1h");
  PATH = await pulumiOnPath();
}

describe("the policy pack in the engine", () => {
  let project: Project;
  before(tools);
  afterEach(() => project?.close());

  it("refuses what violates each policy, and tells which and why, at preview and of an exported state", async () => {
    project = new Project(PATH, { sketches: all("violating") });
    await project.run(0, "stack", "init", "prod");
    const found = reported(await project.run(1, "preview", "--stack", "prod", ...withPack));
    assert.deepEqual(found.map(({ policy, message }) => `${policy}: ${message}`).sort(), wanted.toSorted());
    for (const { policy, level, severity } of found) {
      const own = policies.find(({ name }) => name === policy);
      assert.deepEqual([level, severity], [own?.enforcementLevel, own?.severity], policy);
    }

    await project.run(0, "up", "--yes", "--skip-preview", "--stack", "prod");
    await project.run(0, "stack", "export", "--stack", "prod", "--file", "state.json");
    const analyzed = await project.run(1, "policy", "analyze", "--file", "state.json", ...withPack);
    assert.deepEqual(
      reported(analyzed)
        .map(({ policy, message }) => `${policy}: ${message}`)
        .sort(),
      wanted.toSorted(),
    );
    assert(!analyzed.output.includes(PASSWORD));
  });

  it("lets what complies with every policy pass, as it is published and from the checkout", async () => {
    project = new Project(PATH, { sketches: all("compliant") });
    await project.run(0, "stack", "init", "prod");
    for (const pack of [PACK, await bundle(project)])
      assert.deepEqual(reported(await project.run(0, "preview", "--stack", "prod", "--policy-pack", pack)), []);
  });

  it("judges what a ConfigGroup and a Helm chart make as it judges the rest", async () => {
    const leak = (name: string) => ({ container: { env: env({ DB_PASSWORD: PASSWORD }) }, name, namespace: name });
    project = new Project(PATH, { sketches: [], group: [deployment(leak("grouped")).props], chart: "./chart" });
    const chart = join(project.directory, "chart");
    mkdirSync(join(chart, "templates"), { recursive: true });
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n");
    project.write("chart/templates/web.yaml", JSON.stringify(deployment(leak("charted")).props));
    project.write(
      "chart/templates/config.yaml",
      JSON.stringify(configMap({ "db.password": PASSWORD }, { namespace: "charted" }).props),
    );
    await project.run(0, "stack", "init", "prod");
    const found = reported(await project.run(1, "preview", "--stack", "prod", ...withPack));
    assert.deepEqual(
      found.map(({ policy }) => policy),
      Array(3).fill("no-plain-credentials"),
    );
    assert.match(found.map(({ message }) => message).join("\n"), /grouped.*DB_PASSWORD|DB_PASSWORD.*grouped/s);
  });

  it("takes levels and parameters from a config for each environment, and refuses one that is no config", async () => {
    const { "no-plain-credentials": leak, "restart-safety": brittle } = cases;
    project = new Project(PATH, { sketches: [...(leak?.violating ?? []), ...(brittle?.violating ?? [])] });
    await project.run(0, "stack", "init", "prod");
    const levels = async (code: number, config: object) => {
      const file = project.write("levels.json", config);
      const ended = await project.run(code, "preview", "--stack", "prod", ...withPack, "--policy-pack-config", file);
      return Object.fromEntries(reported(ended).map(({ policy, level }) => [policy, level]));
    };
    assert.deepEqual(
      await levels(1, { "no-plain-credentials": "advisory", "restart-safety": { enforcementLevel: "mandatory" } }),
      {
        "no-plain-credentials": "advisory",
        "restart-safety": "mandatory",
      },
    );
    assert.deepEqual(
      await levels(0, { "no-plain-credentials": "disabled", "restart-safety": { graceMarginSeconds: 20 } }),
      {},
    );
    assert.deepEqual(await levels(1, { "restart-safety": { graceMarginSeconds: "long" } }), {});
  });

  it("is published as a pack that needs nothing of the checkout", async () => {
    project = new Project(PATH);
    const uploads: Buffer[] = [];
    const requests: string[] = [];
    const service = createServer(async (request, response) => {
      const body = await buffer(request);
      requests.push(`${request.method} ${request.url}`);
      if (request.url === "/upload") uploads.push(body);
      const { port } = service.address() as AddressInfo;
      const answers: Record<string, object> = {
        "/api/user": { githubLogin: "us", organizations: [{ githubLogin: "us" }] },
        "/api/orgs/us/policypacks": { version: 1, uploadURI: `http://127.0.0.1:${port}/upload`, requiredHeaders: {} },
      };
      response.setHeader("content-type", "application/json").end(JSON.stringify(answers[request.url ?? ""] ?? {}));
    }).listen(0, "127.0.0.1");
    await once(service, "listening");
    const { port } = service.address() as AddressInfo;
    const target = await bundle(project);
    const login = { PULUMI_BACKEND_URL: `http://127.0.0.1:${port}`, PULUMI_ACCESS_TOKEN: "none" };
    const publisher = new Project(PATH, undefined, login);
    try {
      await publisher.run(0, "-C", target, "policy", "publish", "us");
    } finally {
      publisher.close();
      service.close();
    }
    const { version } = JSON.parse(readFileSync(join(PACK, "package.json"), "utf8"));
    assert.equal(requests.at(-1), `POST /api/orgs/us/policypacks/ringfence/versions/${version}/complete`);
    writeFileSync(join(project.directory, "pack.tgz"), uploads[0] as Buffer);
    const tar = (...args: string[]) => new Command("tar", args, { cwd: project.directory, env: process.env }).ended;
    const { stdout } = await tar("xzvf", "pack.tgz");
    assert.match(stdout, /^package\/PulumiPolicy\.yaml$/m);
    const imported = stdout
      .split("\n")
      .filter((file) => /\.m?js$/.test(file))
      .flatMap((file) =>
        [
          ...readFileSync(join(project.directory, file), "utf8").matchAll(
            /^(?:import|export|\})[^"\n]* from "([^"]+)";$/gm,
          ),
        ].map(([, name]) => name),
      );
    const { dependencies } = JSON.parse(readFileSync(join(project.directory, "package/package.json"), "utf8"));
    const outside = imported.filter(
      (name) => !name?.startsWith(".") && !Object.keys(dependencies).some((one) => name?.startsWith(one)),
    );
    assert.deepEqual(outside, []);
    assert.equal(
      (await new Command("npm", ["pack", "--dry-run"], { cwd: PACK, env: process.env }).ended).code === 0,
      false,
      "not from the sources",
    );
  });
});

/** Stacks of this repository, with an access that leads nowhere: a preview of what does not exist yet asks no server. */
describe("the policy pack on this repository's stacks", () => {
  before(tools);

  for (const stack of ["dev", "staging", "prod"])
    it(`has nothing to say of ${stack}`, async () => {
      const { config } = parse(readFileSync(join(ROOT, `Pulumi.${stack}.yaml`), "utf8"));
      const { etcd, nats } = config["ringfence:platform"] ?? {
        etcd: { endpoints: ["http://127.0.0.1:9"], username: "root" },
        nats: { servers: ["nats://127.0.0.1:9"] },
      };
      const project = new Project(PATH);
      try {
        const platform = {
          etcd: { ...etcd, password: "none" },
          nats: { ...nats, operatorSeed: `SO${"A".repeat(56)}`, systemCreds: "NATS USER JWT" },
          kubernetes: { kubeconfig: project.write("kubeconfig", nowhere) },
        };
        project.write("platform.json", { platform });
        for (const shared of ["stacks", "components", "package.json"])
          symlinkSync(join(ROOT, shared), join(project.directory, shared));
        project.write("Pulumi.yaml", readFileSync(join(ROOT, "Pulumi.yaml"), "utf8"));
        project.write(`Pulumi.${stack}.yaml`, { config });
        await project.run(0, "stack", "init", stack);
        const ended = await project.run(0, "preview", "--stack", stack, ...withPack);
        const found = reported(ended);
        assert.deepEqual(found, []);
      } finally {
        project.close();
      }
    });
});

const nowhere = {
  apiVersion: "v1",
  kind: "Config",
  clusters: [{ name: "nowhere", cluster: { server: "https://127.0.0.1:9" } }],
  users: [{ name: "nobody", user: { token: "none" } }],
  contexts: [{ name: "nowhere", context: { cluster: "nowhere", user: "nobody" } }],
  "current-context": "nowhere",
};
