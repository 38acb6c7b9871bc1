import * as pulumi from "@pulumi/pulumi";
import type { GpuPool } from "./gpu-pool.ts";
import { compile, type Plan } from "./plan/compile.ts";
import { InvalidSpec } from "./plan/problem.ts";
import type { Phase, PipelineInput } from "./plan/spec.ts";
import type { Platform } from "./platform.ts";
import type { JetStreamArgs } from "./resources/nats-account.ts";
import { Tenant } from "./tenant.ts";
import { Vertex } from "./vertex.ts";

/** A vertex, as a pipeline's args have it. */
export interface PipelineVertexArgs {
  image: pulumi.Input<string>;
  /** @default the image's entry point */
  command?: pulumi.Input<pulumi.Input<string>[]>;
  /** @default the image's arguments */
  args?: pulumi.Input<pulumi.Input<string>[]>;
  /** Environment variables, beside the connection settings that every vertex gets. @default {} */
  env?: pulumi.Input<Record<string, pulumi.Input<string>>>;
  /** Pods while the pipeline runs. @default 1 */
  replicas?: pulumi.Input<number>;
  /** GPUs of each pod; more than 0 needs a pool. @default 0 */
  gpus?: pulumi.Input<number>;
  /** The nodes to run on. @default any node without a taint */
  pool?: GpuPool;
  /** Port name → number; a vertex with ports gets a Service of its name. @default {} */
  ports?: Record<string, number>;
  /** Seconds. @default 30 */
  terminationGracePeriodSeconds?: pulumi.Input<number>;
}

export interface PipelineArgs {
  platform: Platform;
  /** The name space of the pipeline's name on its platform: one team, one cluster. @default "default" */
  realm?: string;
  /** By name; at least one. */
  vertices: Record<string, PipelineVertexArgs>;
  lifecycle?: {
    /** `Paused` keeps the tenant and takes every vertex to zero pods. @default "Running" */
    desiredPhase?: pulumi.Input<Phase>;
  };
  /** How much of JetStream the pipeline may take. @default 256 MiB of memory, 10 GiB on disk, 100 streams, 1000 consumers */
  jetStream?: JetStreamArgs;
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
  readonly vertices: Record<string, { wanted: pulumi.Output<number>; ready: pulumi.Output<number> }>;

  /**
   * @param name 1 to 54 lower-case letters, digits and inner hyphens
   * @throws pulumi.ResourceError with one line for each mistake: path, what was found, what is allowed
   */
  constructor(name: string, args: PipelineArgs, opts?: pulumi.ComponentResourceOptions) {
    super(Pipeline.__pulumiType, name, {}, opts);
    const plan = this.#plan(name, args);
    const inCharge = { parent: this };

    this.tenant = new Tenant(
      name,
      {
        platform: args.platform,
        logicalName: plan.apply(({ logicalName }) => logicalName),
        pipeline: name,
        users: Object.keys(args.vertices),
        jetStream: plan.apply(({ jetStream }) => jetStream),
      },
      inCharge,
    );
    const vertices = Object.entries(args.vertices).map(([vertex, { pool, ports }]): [string, Vertex] => {
      const planned = plan.apply((whole) => whole.vertices[vertex] as Plan["vertices"][string]);
      return [
        vertex,
        new Vertex(
          `${name}-${vertex}`,
          {
            tenant: this.tenant,
            pipeline: name,
            vertex,
            pool,
            ...(ports && { ports }),
            image: planned.image,
            command: planned.command,
            args: planned.args,
            env: planned.env,
            replicas: planned.replicas,
            gpus: planned.gpus,
            terminationGracePeriodSeconds: planned.terminationGracePeriodSeconds,
            phase: plan.phase,
            planDigest: plan.digest,
          },
          inCharge,
        ),
      ];
    });

    const { etcd, nats } = args.platform;
    this.phase = plan.phase;
    this.namespace = this.tenant.namespace;
    this.etcd = { ...etcd, ...this.tenant.etcd };
    this.nats = { ...nats, ...this.tenant.nats };
    this.gpus = plan.gpus;
    this.vertices = Object.fromEntries(vertices.map(([vertex, { wanted, ready }]) => [vertex, { wanted, ready }]));
    this.registerOutputs({ phase: this.phase, namespace: this.namespace, gpus: this.gpus, vertices: this.vertices });
  }

  /** At once when everything is plain, so that a mistake shows before anything else; otherwise as soon as it is known. */
  #plan(name: string, args: PipelineArgs): pulumi.Output<Plan> {
    const vertices = Object.fromEntries(
      Object.entries(args.vertices).map(([vertex, { pool, ...rest }]) => [
        vertex,
        { ...rest, ...(pool && { pool: pool.name }) },
      ]),
    );
    const spec = {
      name,
      realm: args.realm ?? "default",
      vertices,
      ...(args.lifecycle && { lifecycle: args.lifecycle }),
      ...(args.jetStream && { jetStream: args.jetStream }),
    };
    const compiled = (known: unknown): Plan => {
      try {
        return compile(known as PipelineInput, name);
      } catch (error) {
        if (error instanceof InvalidSpec) throw new pulumi.ResourceError(error.message, this, true);
        throw error;
      }
    };
    return isPlain(spec) ? pulumi.output(compiled(spec)) : pulumi.output(spec).apply(compiled);
  }
}

function isPlain(value: unknown): boolean {
  if (pulumi.Output.isInstance(value) || value instanceof Promise) return false;
  return value === null || typeof value !== "object" || Object.values(value).every(isPlain);
}
