import * as pulumi from "@pulumi/pulumi";
import type { GpuPool } from "./gpu-pool.ts";
import { compile, type Plan, type VertexPlan } from "./plan/compile.ts";
import { logicalName } from "./plan/names.ts";
import { InvalidSpec, problemsSoFar } from "./plan/problem.ts";
import { type OnResidue, type Phase, type PipelineInput, pipelineSpec } from "./plan/spec.ts";
import type { Platform } from "./platform.ts";
import { deleted } from "./resources/deleted.ts";
import type { JetStreamArgs } from "./resources/nats-account.ts";
import { Tenant } from "./tenant.ts";
import { Vertex } from "./vertex.ts";

/** A vertex, as a pipeline's args have it. */
export interface PipelineVertexArgs {
  /** A container image, by tag or digest. */
  image: pulumi.Input<string>;
  /** @default the image's entry point */
  command?: pulumi.Input<pulumi.Input<string>[]>;
  /** @default the image's arguments */
  args?: pulumi.Input<pulumi.Input<string>[]>;
  /** Environment variables; they go before the connection settings of the same names that every vertex gets. @default {} */
  env?: pulumi.Input<Record<string, pulumi.Input<string>>>;
  /** Pods while the pipeline runs. @default 1 */
  replicas?: pulumi.Input<number>;
  /** GPUs of each pod; more than 0 needs a pool. @default 0 */
  gpus?: pulumi.Input<number>;
  /** The nodes to run on. @default any node without a taint */
  pool?: GpuPool;
  /** Port name → number, each number once; a vertex with ports gets a Service of its name. @default {} */
  ports?: Record<string, number>;
  /** Seconds from the signal to end until a pod is killed. @default 30 */
  terminationGracePeriodSeconds?: pulumi.Input<number>;
}

export interface PipelineArgs {
  /** Whose etcd, NATS and Kubernetes provider to use; a provider in the pipeline's own options has no say. */
  platform: Platform;
  /** The name space of the pipeline's name on its platform: one team, one cluster. @default "default" */
  realm?: string;
  /** By name: at most 63 lower-case letters, digits and inner hyphens, a letter first; at least one. */
  vertices: Record<string, PipelineVertexArgs>;
  lifecycle?: {
    /** `Paused` keeps the tenant and takes every vertex to zero pods. @default "Running" */
    desiredPhase?: pulumi.Input<Phase>;
  };
  /** How much of JetStream the pipeline may take. @default nothing in memory, 1 GiB on disk, 100 streams, 1000 consumers */
  jetStream?: JetStreamArgs;
  /** The namespace under which Dynamo would register (DYN_NAMESPACE). @default the pipeline's name */
  dynamoNamespace?: string;
  /** What to do about what earlier deployments of the name left behind, see Tenant. @default "fail" */
  onResidue?: OnResidue;
  /** Take over the deployment that `ringfence adopt` registered under `<realm>/<pipeline>`, see Tenant. @default false */
  adopt?: boolean;
}

/** Vertices that serve a model or process a stream, in a tenant of their own: one unit of deployment, pause and destroy. */
export class Pipeline extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:Pipeline";
  readonly tenant: Tenant;
  readonly phase: pulumi.Output<Phase>;
  readonly namespace: pulumi.Output<string>;
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

    this.tenant = new Tenant(
      name,
      {
        platform: args.platform,
        // Not from the plan: one unknown input would make a preview take it for the replacement of the tenant.
        logicalName: logicalName(realmOf(args), name),
        pipeline: name,
        users: Object.keys(args.vertices),
        jetStream: args.jetStream ?? {},
        ...residue(args),
      },
      inCharge,
    );
    const vertices = Object.entries(args.vertices).map(([vertex, given]): [string, Vertex] => {
      const planned = open.apply((whole) => whole.vertices[vertex] as VertexPlan);
      return [
        vertex,
        new Vertex(
          // A dot, for no name holds one: 'a-b' of 'chat' and 'b' of 'chat-a' are two vertices.
          `${name}.${vertex}`,
          {
            // Image, command and environment as they were given, so that a secret one hides no more than itself.
            ...given,
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
    });

    const { etcd, nats } = args.platform;
    this.phase = open.phase;
    this.namespace = this.tenant.namespace;
    this.etcd = { ...etcd, ...this.tenant.etcd };
    this.nats = { ...nats, ...this.tenant.nats };
    this.gpus = open.gpus;
    this.vertices = Object.fromEntries(vertices.map(([vertex, { wanted, ready }]) => [vertex, { wanted, ready }]));
    this.registerOutputs({ phase: this.phase, namespace: this.namespace, gpus: this.gpus, vertices: this.vertices });
  }

  /** Judges what is plain at once, so that a mistake shows before anything is made, and the rest as soon as it is known. */
  #plan(name: string, args: PipelineArgs): pulumi.Output<Plan> {
    const vertices = Object.fromEntries(
      Object.entries(args.vertices).map(([vertex, { pool, ...rest }]) => [
        vertex,
        { ...rest, ...(pool && { pool: pool.name }) },
      ]),
    );
    const spec = {
      name,
      realm: realmOf(args),
      vertices,
      ...(args.lifecycle && { lifecycle: args.lifecycle }),
      ...(args.jetStream && { jetStream: args.jetStream }),
      ...residue(args),
    };
    const refused = (mistakes: InvalidSpec) => new pulumi.ResourceError(mistakes.message, this, true);
    const problems = problemsSoFar(pipelineSpec, spec, name, isPending);
    if (problems.length > 0) throw refused(new InvalidSpec(problems));
    return pulumi.output(spec).apply((known) => {
      try {
        return compile(known as PipelineInput, name);
      } catch (error) {
        throw error instanceof InvalidSpec ? refused(error) : error;
      }
    });
  }
}

/** What only the claim is asked for with. */
const residue = ({ dynamoNamespace, onResidue, adopt }: PipelineArgs) => ({
  ...(dynamoNamespace !== undefined && { dynamoNamespace }),
  ...(onResidue !== undefined && { onResidue }),
  ...(adopt !== undefined && { adopt }),
});

const realmOf = ({ realm }: PipelineArgs): string => realm ?? "default";

const isPending = (value: unknown): boolean => pulumi.Output.isInstance(value) || value instanceof Promise;
