// The design's arrows (docs/DESIGN.md): what each room may import. Everything that is not listed here is forbidden.

const nouns = "^components/[^/]+\\.ts$";
const [plan, graphs, resources, provider, tenancy, stores] = [
  "^components/plan/",
  "^components/graphs/",
  "^components/resources/",
  "^components/provider/",
  "^components/tenancy/",
  "^components/stores/",
];
const rooms = "^(components|stacks|policy|runtime|cli|dev|bench|test)/";

const arrows = [
  {
    name: "plan-imports-nothing-of-ours",
    comment: "plan is pure: compile(spec) must give the same Plan at preview, in a policy and in a test.",
    from: plan,
    may: [],
  },
  {
    name: "graphs-to-plan",
    comment: "A ready graph is only a way to write a spec.",
    from: graphs,
    may: [plan],
  },
  {
    name: "stores-to-plan",
    comment: "The clients sit at the bottom; from above they know only the shapes that plan validates.",
    from: stores,
    may: [plan],
  },
  {
    name: "tenancy-to-stores",
    comment: "The protocol is written against the stores and plan's names, so that Pulumi, cli and tests can share it.",
    from: tenancy,
    may: [stores, plan],
  },
  {
    name: "provider-to-tenancy",
    comment: "provider/v1 is the wire contract with every state file: it translates inputs for tenancy, nothing more.",
    from: provider,
    may: [tenancy, plan],
  },
  {
    name: "resources-to-provider-types",
    comment:
      "A resource's stub is stored in state: what it imports would be captured, so it knows provider/v1 by type.",
    from: resources,
    may: [provider, plan],
  },
  {
    name: "components-to-resources",
    comment:
      "A noun is made of resources, plans and graphs; the stores are reached through a resource's provider only. A platform looks its addresses up in its access.",
    from: nouns,
    may: [nouns, resources, plan, graphs, "^components/tenancy/resolve-access\\.ts$"],
  },
  {
    name: "stacks-to-components",
    comment: "A Pulumi program imports what a user's program imports.",
    from: "^stacks/",
    may: [nouns, plan],
  },
  {
    name: "policy-to-plan",
    comment: "A policy judges by the same rules as preview, and must not need Pulumi components or a store.",
    from: "^policy/",
    may: [plan],
  },
  {
    name: "dev-to-stores",
    comment: "The embedded platform is below the protocol: it knows the clients, no tenant.",
    from: "^dev/",
    may: [stores],
  },
  {
    name: "cli-to-tenancy-and-dev",
    comment: "The command line is one more caller of the protocol and of pipelines; the clients stay behind both.",
    from: "^cli/",
    may: [tenancy, plan, "^dev/", "^runtime/"],
  },
  {
    name: "runtime-to-stores",
    comment: "What runs inside the cluster holds a tenant's credentials only, so it cannot need the protocol.",
    from: "^runtime/",
    may: [stores, plan],
  },
];

/** A file of `from` may import its own room, the rooms in `may`, and whatever is not ours. */
const rule = ({ name, comment, from, may }) => ({
  name,
  comment,
  severity: "error",
  from: { path: from },
  to: { path: rooms, pathNot: [from, ...may] },
});

const packages = ["npm", "npm-dev", "npm-optional", "npm-peer", "npm-no-pkg", "npm-unknown"];

/** @type {import("dependency-cruiser").IConfiguration} */
export default {
  forbidden: [
    ...arrows.map(rule),
    {
      name: "plan-does-no-io",
      comment: "Hashing and compressing are pure; files, sockets and processes are not.",
      severity: "error",
      from: { path: plan },
      to: { dependencyTypes: ["core"], pathNot: "^(node:)?(crypto|zlib)$" },
    },
    {
      name: "plan-needs-zod-only",
      comment: "Whatever else plan imported could do the I/O in its place.",
      severity: "error",
      from: { path: plan },
      to: { dependencyTypes: packages, pathNot: "^node_modules/zod/" },
    },
    {
      name: "stubs-import-late",
      comment:
        "Pulumi serializes what a stub captures: provider/v1 is imported when it is called (`await import(…)`), else by type.",
      severity: "error",
      from: { path: resources },
      to: { path: provider, dependencyTypesNot: ["type-only", "dynamic-import"] },
    },
    {
      name: "protocol-without-pulumi",
      comment: "The protocol and its clients serve cli, runtime and tests, which have no engine.",
      severity: "error",
      from: { path: [tenancy, stores] },
      to: { path: "^node_modules/@pulumi/" },
    },
    {
      name: "provider-without-pulumi",
      comment:
        "A provider runs in Pulumi's plugin process, where loading the SDK costs seconds; its types cost nothing.",
      severity: "error",
      from: { path: provider },
      to: { path: "^node_modules/@pulumi/", dependencyTypesNot: ["type-only"] },
    },
    {
      name: "clients-in-stores-only",
      comment:
        "Deadlines, retries and error texts are written once. Tests and benchmarks act as tenants and neighbours, with clients of their own.",
      severity: "error",
      from: { pathNot: [stores, "^(test|bench)/"] },
      to: { path: "^node_modules/(etcd3|nats|@nats-io/[^/]+|@kubernetes/client-node|cockatiel)/" },
    },
    {
      name: "nothing-imports-test",
      comment: "Test support is not a library.",
      severity: "error",
      from: { path: rooms, pathNot: "^test/" },
      to: { path: "^test/" },
    },
    {
      name: "shipped-without-dev-dependencies",
      comment: "The tarball's users get `dependencies` only.",
      severity: "error",
      from: { path: "^(components|runtime|cli|dev)/" },
      to: { dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"], dependencyTypesNot: ["type-only"] },
    },
    {
      name: "no-cycles",
      comment: "A cycle is two files that are one. Types may point back: they are gone at run time.",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "resolvable",
      comment: "An import that resolves to nothing cannot be judged by the other rules.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(dist|\\.ringfence)/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "require", "node", "default", "types"],
    },
  },
};
