import * as pulumi from "@pulumi/pulumi";
import type { GpuPool } from "./gpu-pool.ts";
import type { PipelineArgs, PipelineVertexArgs } from "./pipeline-args.ts";
import { compile, endpointOf, isolationOf, openingsOf, type Plan, type VertexPlan } from "./plan/compile.ts";
import { GPU_RESOURCE, type PoolInput } from "./plan/gpu.ts";
import { logicalName } from "./plan/names.ts";
import { type Observable, observable } from "./plan/observability/scrape.ts";
import { componentEnv, planesOf } from "./plan/planes.ts";
import { InvalidSpec, isPending, problemsSoFar } from "./plan/problem.ts";
import { mapValues } from "./plan/records.ts";
import { smokeCommand, urlOf } from "./plan/smoke.ts";
import { hasComponents, namespaceAmong, type Phase, type PipelineInput, pipelineSpec } from "./plan/spec.ts";
import type { Platform } from "./platform.ts";
import { deleted } from "./resources/deleted.ts";
import { RetiredCredentials } from "./resources/retired-credentials.ts";
import { Tenant } from "./tenant.ts";
import { Vertex } from "./vertex.ts";

/** Vertices that serve a model or process a stream, in a tenant of their own: one unit of deployment, pause and destroy. */
export class Pipeline extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:Pipeline";
  readonly tenant: Tenant;
  readonly phase: pulumi.Output<Phase>;
  readonly namespace: pulumi.Output<string>;
  /** Where it serves, inside the cluster; undefined when it has no endpoint. */
  readonly url: pulumi.Output<string> | undefined;
  /** A shell command that sends it a request, and fails unless that is answered well; undefined when it has no endpoint. */
  readonly smokeTest: pulumi.Output<string> | undefined;
  /** Reachable from the admin's machine, the addresses inside the cluster beside them. */
  readonly etcd: {
    endpoints: pulumi.Output<string[]>;
    clusterEndpoints: pulumi.Output<string[]>;
    prefix: pulumi.Output<string>;
    username: pulumi.Output<string>;
    password: pulumi.Output<string>;
  };
  readonly nats: {
    servers: pulumi.Output<string[]>;
    clusterServers: pulumi.Output<string[]>;
    account: pulumi.Output<string>;
    /** Secret: the text of a credentials file. */
    creds: pulumi.Output<string>;
  };
  /** GPUs that the pipeline takes in its phase. */
  readonly gpus: pulumi.Output<number>;
  /** By name: pods that shall be there, and those that were ready at the end of the last `up` or `refresh`. */
  readonly vertices: Record<string, { wanted: pulumi.Output<number>; ready: pulumi.Output<number> }>;
  /** The plan's digest: another one for another desired state. */
  readonly planDigest: pulumi.Output<string>;
  /** What there is to observe, for Observability. */
  readonly observable: Observable;

  /**
   * @param name 1 to 54 lower-case letters, digits and inner hyphens
   * @param opts `protect`, `parent` and `aliases` reach everything in the pipeline; `retainOnDelete` and `deletedWith`
   *   are refused, for they skip the release
   * @throws pulumi.ResourceError with one line for each mistake: path, what was found, what is allowed; from the
   *   constructor for what is plain, and for the rest once it is known
   */
  constructor(name: string, args: PipelineArgs, opts?: pulumi.ComponentResourceOptions) {
    super(Pipeline.__pulumiType, name, {}, deleted(name, opts));
    const plan = this.#plan(name, args);
    // One secret environment variable makes the whole plan secret; its numbers and its phase tell nothing of that.
    const open = pulumi.unsecret(plan);
    const inCharge = { parent: this };
    const planes = planesOf(args.planes ?? "brokered");
    const isolation = isolationOf(args.vertices, planes, args.isolation);

    this.tenant = new Tenant(
      name,
      {
        platform: args.platform,
        // Not from the plan: one unknown input would make a preview take it for the replacement of the tenant.
        logicalName: logicalName(realmOf(args), name),
        pipeline: name,
        users: Object.keys(args.vertices),
        jetStream: args.jetStream ?? {},
        planes,
        ...(isolation && { isolation }),
        ...(args.proxy && { proxy: args.proxy }),
        openings: openingsOf(withPorts(args.vertices), planes),
        quota: { ...args.quota, gpus: gpuQuota(args, open) },
        ...claimed(args),
      },
      inCharge,
    );
    const vertices = Object.entries(args.vertices).map(
      ([vertex, { open: _, component, ...given }]): [string, Vertex] => {
        const planned = open.apply((whole) => whole.vertices[vertex] as VertexPlan);
        const own = component === undefined ? {} : componentEnv(component, args.dynamoNamespace ?? name, planes);
        return [
          vertex,
          new Vertex(
            // A dot, for no name holds one: 'a-b' of 'chat' and 'b' of 'chat-a' are two vertices.
            `${name}.${vertex}`,
            {
              // Image, command and environment as they were given, so that a secret one hides no more than itself.
              ...given,
              env: merged(own, given.env ?? {}),
              tenant: this.tenant,
              pipeline: name,
              vertex,
              replicas: planned.replicas,
              gpus: planned.gpus,
              terminationGracePeriodSeconds: planned.terminationGracePeriodSeconds,
              phase: open.phase,
              planDigest: plan.digest,
            },
            inCharge,
          ),
        ];
      },
    );

    if (args.rotation !== undefined)
      this.#retire(
        name,
        args,
        vertices.map(([, vertex]) => vertex),
      );

    const { etcd, nats } = args.platform;
    this.phase = open.phase;
    this.namespace = this.tenant.namespace;
    this.etcd = { ...etcd, ...this.tenant.etcd };
    this.nats = { ...nats, ...this.tenant.nats };
    this.gpus = open.gpus;
    this.planDigest = plan.digest;
    this.vertices = Object.fromEntries(vertices.map(([vertex, { wanted, ready }]) => [vertex, { wanted, ready }]));
    this.observable = observable(args.vertices, planes);
    const served = servedAt(args);
    this.url = served && this.namespace.apply((namespace) => urlOf({ ...served, namespace }));
    this.smokeTest = served && this.namespace.apply((namespace) => smokeCommand({ ...served, namespace }));
    this.registerOutputs({
      phase: this.phase,
      url: this.url,
      namespace: this.namespace,
      gpus: this.gpus,
      vertices: this.vertices,
    });
  }

  /** Ends the credentials from before the rotation, after everything that has new ones is up. */
  #retire(name: string, args: PipelineArgs, vertices: Vertex[]): void {
    const { platform, jetStream } = args;
    const { generation, etcd, nats, namespace, credentialsDigest, guards } = this.tenant;
    new RetiredCredentials(
      `${name}-retired`,
      {
        platform: platform.access,
        owner: platform.ledger.id,
        logicalName: logicalName(realmOf(args), name),
        generation,
        username: etcd.username,
        account: nats.account,
        signingKey: nats.signingKey,
        jetStream: jetStream ?? {},
        namespace,
        credentials: credentialsDigest,
      },
      { parent: this, dependsOn: [...vertices, ...guards] },
    );
  }

  /** Judges what is plain at once, so that a mistake shows before anything is made, and the rest as soon as it is known. */
  #plan(name: string, args: PipelineArgs): pulumi.Output<Plan> {
    const { platform, vertices: given, ...rest } = args;
    const pools: Record<string, GpuPool["spec"]> = {};
    const vertices = mapValues(given, ({ pool, secretEnv = {}, ...vertex }) => {
      if (pool) pools[pool.name] = pool.spec;
      // Names only: a plan holds no secret that it can do without.
      return { ...vertex, secretEnv: mapValues(secretEnv, () => ""), ...(pool && { pool: pool.name }) };
    });
    const spec = { ...defined(rest), name, realm: realmOf(args), vertices, pools };
    const refused = (mistakes: InvalidSpec) => new pulumi.ResourceError(mistakes.message, this, true);
    const problems = problemsSoFar(pipelineSpec, spec, name);
    if (problems.length > 0) throw refused(new InvalidSpec(problems));
    if (hasComponents(given)) {
      const reason = namespaceAmong(namespacesOn(platform), args.dynamoNamespace ?? name, name);
      if (reason) throw refused(new InvalidSpec([{ path: `${name}.dynamoNamespace`, reason }]));
    }
    /** @throws InvalidSpec when pipelines of this program do not fit a pool together */
    const fitting = (plan: Plan, { pools = {} }: Pick<PipelineInput, "pools">): Plan => {
      const used = new Set(Object.values(given).flatMap(({ pool }) => pool ?? []));
      const shared = [...used].flatMap((pool) => pool.book(name, plan.vertices, pools[pool.name] as PoolInput));
      if (shared.length > 0) throw new InvalidSpec(shared);
      return plan;
    };
    return pulumi.output(spec).apply((known) => {
      try {
        return fitting(compile(known as PipelineInput, name), known as PipelineInput);
      } catch (error) {
        throw error instanceof InvalidSpec ? refused(error) : error;
      }
    });
  }
}

/** Dynamo namespaces of a program's pipelines, by platform: those of other programs are kept apart by their boundaries alone. */
const namespaces = new WeakMap<Platform, Map<string, string>>();

function namespacesOn(platform: Platform): Map<string, string> {
  const known = namespaces.get(platform) ?? new Map<string, string>();
  namespaces.set(platform, known);
  return known;
}

/** What only the tenant's claim and its parts are asked for with. */
const claimed = ({ dynamoNamespace, onResidue, adopt, allowReplace, rotation }: PipelineArgs) =>
  defined({ dynamoNamespace, onResidue, adopt, allowReplace, rotation });

/** By resource; which ones is known at once, how many with the plan. */
function gpuQuota({ vertices, quota }: PipelineArgs, plan: pulumi.Output<Plan>): Record<string, pulumi.Output<number>> {
  const used = Object.values(vertices).flatMap(({ pool }) => (pool ? [pool.resource] : []));
  const resources = new Set([GPU_RESOURCE, ...used, ...Object.keys(quota?.gpus ?? {})]);
  return Object.fromEntries([...resources].map((one) => [one, plan.apply(({ quota }) => quota.gpus[one] ?? 0)]));
}

/** Where the pipeline serves, but for its namespace. */
function servedAt({ endpoint, vertices }: PipelineArgs) {
  const { vertex, port, path = "/", body } = endpoint ?? endpointOf(withPorts(vertices)) ?? {};
  if (vertex === undefined || port === undefined) return undefined;
  return { vertex, port: vertices[vertex]?.ports?.[port] as number, path, body };
}

const withPorts = (vertices: PipelineArgs["vertices"]) =>
  mapValues(vertices, ({ ports = {}, open, component }) => ({ ports, open, component }));

/** A component's settings, and what the vertex adds to them. */
const merged = (settings: Record<string, string>, own: NonNullable<PipelineVertexArgs["env"]>) =>
  isPending(own) ? pulumi.output(own).apply((known) => ({ ...settings, ...known })) : { ...settings, ...own };

/** Without what is there and undefined, which a schema would take for a mistake. */
const defined = <T extends object>(fields: T) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [key in keyof T]: Exclude<T[key], undefined>;
  };

const realmOf = ({ realm }: PipelineArgs): string => realm ?? "default";
