/** What a person writes of one vertex, and what its parts have to agree on. */
import { z } from "zod";
import { adapterLoaderSpec } from "./adapter.ts";
import { availabilitySpec } from "./availability.ts";
import { labelProblem, portNameProblem } from "./names.ts";
import { amountsSpec, bytes, count, environmentName, named, seconds, whole } from "./numbers.ts";
import { topologyVertexShape } from "./topology-spec.ts";

const portNumber = whole("expected a port from 1 to 65535", 1).max(65535, "expected a port from 1 to 65535");
const atLeastOne = whole("expected a whole number, 1 or more", 1);

const ports = z
  .record(named(portNameProblem), portNumber)
  .refine((byName) => new Set(Object.values(byName)).size === Object.keys(byName).length, "expected each port once");

/** A GET over HTTP that is answered with 200 to 399; defaults are Kubernetes' own. */
const probeSpec = z.strictObject({
  path: z.string("expected a path").startsWith("/", "expected a path that begins with '/'"),
  port: z.string("expected the name of a port"),
  initialDelaySeconds: seconds.default(0),
  periodSeconds: atLeastOne.default(10),
  timeoutSeconds: atLeastOne.default(1),
  failureThreshold: atLeastOne.default(3),
});

const probesSpec = z.strictObject({
  startup: probeSpec.optional(),
  liveness: probeSpec.optional(),
  readiness: probeSpec.optional(),
});

const openSpec = z.strictObject({
  cluster: z.array(z.string("expected the name of a port")).optional(),
  tenant: z
    .union([z.literal("any"), z.array(z.string())], "expected 'any' or a list of the vertex' ports by name")
    .default([]),
  world: z.array(portNumber).default([]),
});

export const vertexSpec = z
  .strictObject({
    image: z.string("expected a container image").min(1, "expected a container image"),
    command: z.array(z.string()).default([]),
    args: z.array(z.string()).default([]),
    env: z.record(environmentName, z.string()).default({}),
    secretEnv: z.record(environmentName, z.string()).default({}),
    component: named((name) => labelProblem(name, 63)).optional(),
    replicas: count.default(1),
    gpus: count.default(0),
    pool: z.string("expected the name of a pool").optional(),
    resources: z.strictObject({ requests: amountsSpec.default({}), limits: amountsSpec.default({}) }).prefault({}),
    sharedMemoryBytes: bytes.default(0),
    fsGroup: count.optional(),
    ports: ports.default({}),
    open: openSpec.prefault({}),
    adapters: adapterLoaderSpec.optional(),
    probes: probesSpec.default({}),
    availability: availabilitySpec.optional(),
    preStopSleepSeconds: seconds.optional(),
    terminationGracePeriodSeconds: count.optional(),
    ...topologyVertexShape,
  })
  .superRefine((vertex, context) => {
    const issue = (path: PropertyKey[], message: string) => context.addIssue({ code: "custom", path, message });
    const { ports, probes, open, env, secretEnv } = vertex;
    const known = `expected one of its ports (${Object.keys(ports).join(", ") || "none"})`;
    const judge = (path: PropertyKey[], port: string) => {
      if (!Object.hasOwn(ports, port)) issue(path, known);
    };
    for (const [probe, settings] of Object.entries(probes))
      if (settings) judge(["probes", probe, "port"], settings.port);
    if (vertex.adapters) judge(["adapters", "port"], vertex.adapters.port);
    for (const [index, port] of (open.cluster ?? []).entries()) judge(["open", "cluster", index], port);
    if (open.tenant !== "any")
      for (const [index, port] of open.tenant.entries()) judge(["open", "tenant", index], port);
    for (const name of Object.keys(secretEnv)) {
      if (Object.hasOwn(env, name)) issue(["secretEnv", name], "expected a name that 'env' does not have, too");
    }
  });

export type VertexSpec = z.output<typeof vertexSpec>;
