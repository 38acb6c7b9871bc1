import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { refusal } from "./judged.ts";
import { GPU_RESOURCE, memoryLabel, nodeLabels, type PoolInput, poolSpec, resourceOf } from "./plan/gpu.ts";
import { type GpuVertex, sharedPoolProblems, surgeOf } from "./plan/gpu-room.ts";
import { type Problem, parse, problemsSoFar } from "./plan/problem.ts";

export interface GpuPoolArgs {
  /**
   * The GPU product, as NVIDIA's GPU feature discovery labels its nodes before MIG and time-slicing add to the label:
   * `NVIDIA-H100-80GB-HBM3`.
   */
  product: pulumi.Input<string>;
  /** How many nodes there are; with it, asking for more than they hold is an error at preview. @default not known */
  nodes?: pulumi.Input<number>;
  /** Whole GPUs of each node, however they are cut or shared. @default not known */
  gpusPerNode?: pulumi.Input<number>;
  /** Least memory in MiB of one GPU, or of one slice, as `nvidia.com/gpu.memory` has it. @default any */
  memoryMiB?: pulumi.Input<number>;
  /** The pool's pods get slices of GPUs that Multi-Instance GPU has cut. @default whole GPUs */
  mig?: {
    /** As the device plugin writes it, with a dot for a plus: `1g.10gb`, `1g.10gb.me`. Checked against the product. */
    profile: string;
    /**
     * The device plugin's: with `single` every GPU of a node is cut alike and a slice is an `nvidia.com/gpu`, with `mixed`
     * each profile is a resource of its own, `nvidia.com/mig-1g.10gb`.
     */
    strategy: "single" | "mixed";
    /** Slices of the profile on each GPU. @default as many as the product holds when it is cut into nothing else */
    perGpu?: number;
  };
  /** GPUs or slices of the pool are shared by several pods in turn, without any wall between their memories. @default not shared */
  timeSlicing?: {
    /** Pods on each GPU or slice, 2 or more: the device plugin's `replicas`. */
    replicas: number;
    /** Whether the device plugin offers shares under a name of their own, `nvidia.com/gpu.shared` (`renameByDefault`). @default false */
    renamed?: boolean;
  };
  /** Further labels that the pool's nodes carry, for example a cloud's node pool. @default {} */
  nodeSelector?: Record<string, pulumi.Input<string>>;
  /** Of the nodes' taints beside `nvidia.com/gpu`, which is always tolerated. @default [] */
  tolerations?: PoolInput["tolerations"];
  /** The PriorityClass of the pool's pods, one that exists already. @default the cluster's own */
  priorityClass?: string;
  /**
   * The priority of the pool's pods, at most 1000000000: makes a PriorityClass of that value, for this pool alone. Needs the
   * cluster's provider in the pool's options (`{ provider: platform.kubernetes }`). @default the cluster's own
   */
  priority?: number;
  /** How pods of one vertex are spread over the pool. */
  spread?: {
    /** The node label that tells the places apart. @default "kubernetes.io/hostname" */
    topologyKey?: string;
    /** By how many pods two places may differ. @default 1 */
    maxSkew?: number;
    /** Whether a pod rather waits than break it. @default false */
    required?: boolean;
  };
  /**
   * How updates exchange pods: with `surge` each vertex starts a pod before it stops one, so nothing is missing and GPUs for
   * one pod more have to be free; with `replace` it stops one first, for pools that are used to the last GPU.
   * @default "surge" for each vertex that the pipeline's quota and the known size of the pool leave room for, else "replace"
   */
  rollout?: "surge" | "replace";
}

/** A pool of GPU nodes that exist already, told apart by their labels. */
export class GpuPool extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:GpuPool";
  /** How pipelines' plans name the pool. */
  readonly name: string;
  /** What plans are judged by: the args as they were given, parts of them perhaps not known yet. */
  readonly spec: GpuPoolArgs;
  /** The extended resource of which a pod asks one for each of its `gpus`. */
  readonly resource: string;
  /** Selects the pool's nodes. */
  readonly nodeSelector: pulumi.Output<Record<string, string>>;
  /** Lets pods onto the pool's nodes. */
  readonly tolerations: k8s.types.input.core.v1.Toleration[];
  /** How Deployments on the pool exchange their pods, where no plan has counted them. */
  readonly rollingUpdate: { maxSurge: number; maxUnavailable: number };
  readonly #priorityClass: pulumi.Input<string> | undefined;
  /** What pipelines of this program have on the pool. */
  readonly #booked: Parameters<typeof sharedPoolProblems>[0] = {};

  /**
   * @param opts `provider` for the cluster, if `priority` is given
   * @throws pulumi.ResourceError with one line for each mistake in what is plain; the rest is judged with the pipelines
   */
  constructor(name: string, args: GpuPoolArgs, opts?: pulumi.ComponentResourceOptions) {
    super(GpuPool.__pulumiType, name, {}, opts);
    const problems = problemsSoFar(poolSpec, args, name);
    if (problems.length > 0) throw refusal(problems, this);
    this.name = name;
    this.spec = args;
    this.resource = resourceOf(args);
    this.nodeSelector = pulumi
      .all([args.product, args.nodeSelector ?? {}])
      .apply(([product, others]) => ({ ...others, ...nodeLabels(product, args) }));
    this.tolerations = [
      { key: GPU_RESOURCE, operator: "Exists", effect: "NoSchedule" },
      ...(args.tolerations ?? []).map((toleration) => ({ operator: "Exists", ...toleration })),
    ];
    const surge = surgeOf(args);
    this.rollingUpdate = { maxSurge: surge, maxUnavailable: 1 - surge };
    this.#priorityClass = args.priorityClass ?? this.#ownPriority(args.priority);
    this.registerOutputs({ nodeSelector: this.nodeSelector });
  }

  /**
   * The parts of a pod's spec that bring it onto the pool's nodes.
   * @param labels those that all pods of one vertex carry, and no others
   */
  scheduling(labels: pulumi.Input<Record<string, pulumi.Input<string>>>): Scheduling {
    const { memoryMiB, spread = {} } = this.spec;
    return {
      nodeSelector: this.nodeSelector,
      tolerations: this.tolerations,
      ...(this.#priorityClass !== undefined && { priorityClassName: this.#priorityClass }),
      ...(memoryMiB !== undefined && { affinity: { nodeAffinity: atLeast(memoryLabel(this.spec), memoryMiB) } }),
      topologySpreadConstraints: [
        {
          topologyKey: spread.topologyKey ?? "kubernetes.io/hostname",
          maxSkew: spread.maxSkew ?? 1,
          whenUnsatisfiable: spread.required ? "DoNotSchedule" : "ScheduleAnyway",
          labelSelector: { matchLabels: labels },
          // Pods that an update is about to replace do not count.
          matchLabelKeys: ["pod-template-hash"],
          // Nodes that the pods do not tolerate are no places.
          nodeTaintsPolicy: "Honor",
        },
      ],
    };
  }

  /**
   * Notes what a pipeline asks of the pool.
   * @param vertices as they are planned: a paused pipeline's have no pods
   * @param spec the pool's, all of it known
   * @returns where pipelines of this program, each of which fits, do not fit together
   */
  book(pipeline: string, vertices: Record<string, GpuVertex>, spec: PoolInput): Problem[] {
    this.#booked[pipeline] = { vertices, lifecycle: { desiredPhase: "Running" } };
    const pools = { [this.name]: parse(poolSpec, spec, this.name) };
    return sharedPoolProblems(this.#booked, pools).map(({ path, message }) => {
      const [, who = "", , vertex = ""] = path;
      const found = this.#booked[who]?.vertices[vertex]?.replicas;
      return { path: `${who}.vertices.${vertex}.replicas`, reason: `found ${found}; ${message}` };
    });
  }

  #ownPriority(value: number | undefined): pulumi.Output<string> | undefined {
    if (value === undefined) return undefined;
    const own = new k8s.scheduling.v1.PriorityClass(
      `${this.name}-priority`,
      { value, description: `Pods on the GPU pool '${this.name}' of ${pulumi.getProject()}/${pulumi.getStack()}.` },
      { parent: this },
    );
    return own.metadata.name;
  }
}

/** What a pod's spec has of its pool; to be spread into it. */
type Scheduling = Pick<
  k8s.types.input.core.v1.PodSpec,
  "nodeSelector" | "tolerations" | "priorityClassName" | "affinity" | "topologySpreadConstraints"
>;

const atLeast = (label: string, least: pulumi.Input<number>): k8s.types.input.core.v1.NodeAffinity => ({
  requiredDuringSchedulingIgnoredDuringExecution: {
    nodeSelectorTerms: [
      {
        matchExpressions: [
          // Kubernetes has no "at least".
          { key: label, operator: "Gt", values: [pulumi.output(least).apply((memory) => String(memory - 1))] },
        ],
      },
    ],
  },
});
