import * as pulumi from "@pulumi/pulumi";
import type { VertexLoader } from "./adapter-loader.ts";
import type { PipelineArgs, PipelineVertexArgs } from "./pipeline-args.ts";
import { planOf, realmOf } from "./pipeline-plan.ts";
import { dynamoEnv, restartOf } from "./plan/availability.ts";
import {
  endpointOf,
  isolationOf,
  lifecycleOf,
  openingsOf,
  type PlainLifecycle,
  type Plan,
  type VertexPlan,
} from "./plan/compile.ts";
import { GPU_RESOURCE } from "./plan/gpu.ts";
import { SCALE_ANNOTATION, scaleText } from "./plan/labels.ts";
import { logicalName } from "./plan/names.ts";
import { type Observable, observable } from "./plan/observability/scrape.ts";
import { componentEnv, type Planes, planesOf } from "./plan/planes.ts";
import { isPending } from "./plan/problem.ts";
import { defined, mapValues } from "./plan/records.ts";
import { smokeCommand, urlOf } from "./plan/smoke.ts";
import type { Phase } from "./plan/spec.ts";
import { topologyOf } from "./plan/topology.ts";
import { deleted } from "./resources/deleted.ts";
import { RetiredCredentials } from "./resources/retired-credentials.ts";
import { Tenant } from "./tenant.ts";
import { arrange, NOWHERE, type Place } from "./topology.ts";
import { Vertex } from "./vertex.ts";

/** Vertices that serve a model or process a stream, in a tenant of their own: one unit of deployment, pause and destroy. */
export class Pipeline extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:Pipeline";
  readonly tenant: Tenant;
  /** `<realm>/<name>`, under which the tenant is claimed. */
  readonly logicalName: string;
  /** The namespace under which its workers register in Dynamo. */
  readonly dynamoNamespace: string;
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
  /** By name, what loads adapters into a vertex' engine; undefined for one without `adapters`. */
  readonly loaders: Record<string, VertexLoader | undefined>;
  /** `running`, `drained`, or `timed out, …` with what the pause left; undefined for a pipeline without edges. */
  readonly drain: pulumi.Output<string> | undefined;
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
    const plan = planOf(name, args, this);
    // One secret environment variable makes the whole plan secret; its numbers and its phase tell nothing of that.
    const open = pulumi.unsecret(plan);
    const inCharge = { parent: this };
    const planes = planesOf(args.planes ?? "brokered");
    const isolation = isolationOf(args.vertices, planes, args.isolation);

    this.logicalName = logicalName(realmOf(args), name);
    this.dynamoNamespace = args.dynamoNamespace ?? name;
    this.tenant = new Tenant(
      name,
      {
        platform: args.platform,
        // Not from the plan: one unknown input would make a preview take it for the replacement of the tenant.
        logicalName: this.logicalName,
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
    const vertex = (vertex: string, place: Place) => this.#vertex(name, args, { plan, planes, vertex, place });
    const topology = topologyOf(args);
    const { vertices, drain } = topology
      ? arrange(
          name,
          {
            tenant: this.tenant,
            plan: topology,
            lifecycle: lifecycleOf(args.lifecycle as PlainLifecycle | undefined),
            discard: args.buffers?.discard ?? false,
            vertex,
          },
          inCharge,
        )
      : { vertices: mapValues(args.vertices, (_, name) => vertex(name, NOWHERE)), drain: undefined };
    if (args.rotation !== undefined) this.#retire(name, args, Object.values(vertices));

    const { etcd, nats } = args.platform;
    this.phase = open.phase;
    this.namespace = this.tenant.namespace;
    this.etcd = { ...etcd, ...this.tenant.etcd };
    this.nats = { ...nats, ...this.tenant.nats };
    this.gpus = open.gpus;
    this.planDigest = plan.digest;
    this.vertices = mapValues(vertices, ({ wanted, ready }) => ({ wanted, ready }));
    this.loaders = mapValues(vertices, ({ loader }) => loader);
    this.drain = drain;
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
      ...(drain && { drain }),
    });
  }

  /** Makes a vertex, as the plan has it, at its place. */
  #vertex(
    name: string,
    args: PipelineArgs,
    { plan, planes, vertex, place }: { plan: pulumi.Output<Plan>; planes: Planes; vertex: string; place: Place },
  ): Vertex {
    const { open: _, component, scale, ...given } = args.vertices[vertex] as PipelineVertexArgs;
    const planned = pulumi.unsecret(plan).apply(({ vertices }) => vertices[vertex] as VertexPlan);
    const { availability, preStopSleepSeconds } = restartOf({ component, ...given }, args.availability);
    const settings = component !== undefined && {
      ...componentEnv(component, this.dynamoNamespace, planes),
      ...dynamoEnv(component, planes, availability),
    };
    return new Vertex(
      // A dot, for no name holds one: 'a-b' of 'chat' and 'b' of 'chat-a' are two vertices.
      `${name}.${vertex}`,
      {
        // Image, command and environment as they were given, so that a secret one hides no more than itself.
        ...given,
        env: merged({ ...settings, ...place.env }, given.env ?? {}),
        availability,
        preStopSleepSeconds,
        tenant: this.tenant,
        pipeline: name,
        vertex,
        replicas: planned.replicas,
        gpus: planned.gpus,
        surge: planned.surge,
        terminationGracePeriodSeconds: planned.terminationGracePeriodSeconds,
        phase: planned.lifecycle.desiredPhase,
        planDigest: plan.digest,
        annotations: { ...place.annotations, ...(scale && { [SCALE_ANNOTATION]: scaleText(scale) }) },
        after: place.after,
      },
      { parent: this },
    );
  }

  /** Ends the credentials from before the rotation, after everything that has new ones is up. */
  #retire(name: string, args: PipelineArgs, vertices: Vertex[]): void {
    const { part, etcd, nats, namespace, credentialsDigest, guards } = this.tenant;
    new RetiredCredentials(
      `${name}-retired`,
      {
        ...part,
        username: etcd.username,
        account: nats.account,
        signingKey: nats.signingKey,
        jetStream: args.jetStream ?? {},
        namespace,
        credentials: credentialsDigest,
      },
      { parent: this, dependsOn: [...vertices, ...guards] },
    );
  }
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
