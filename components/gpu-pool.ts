import * as pulumi from "@pulumi/pulumi";

export interface GpuPoolArgs {
  /** The GPU product, as NVIDIA's GPU feature discovery labels its nodes: `NVIDIA-H100-80GB-HBM3`. */
  product: pulumi.Input<string>;
}

/** The resource that NVIDIA's device plugin offers for whole GPUs. */
export const GPU_RESOURCE = "nvidia.com/gpu";

/** A pool of GPU nodes that exist already, told apart by their labels. */
export class GpuPool extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:GpuPool";
  /** How pipelines' plans name the pool. */
  readonly name: string;
  /** Selects the pool's nodes. */
  readonly nodeSelector: pulumi.Output<Record<string, string>>;
  /** Lets pods onto nodes that carry the usual taint of GPU nodes. */
  readonly tolerations: Array<{ key: string; operator: string; effect: string }>;

  constructor(name: string, args: GpuPoolArgs, opts?: pulumi.ComponentResourceOptions) {
    super(GpuPool.__pulumiType, name, {}, opts);
    this.name = name;
    this.nodeSelector = pulumi
      .output(args.product)
      .apply((product): Record<string, string> => ({ "nvidia.com/gpu.product": product }));
    this.tolerations = [{ key: GPU_RESOURCE, operator: "Exists", effect: "NoSchedule" }];
    this.registerOutputs({ nodeSelector: this.nodeSelector });
  }
}
