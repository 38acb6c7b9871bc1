import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { judged, refusal } from "./judged.ts";
import type { Pipeline } from "./pipeline.ts";
import {
  type ADAPTER_CREDENTIALS,
  ADAPTERS_LABEL,
  type AdapterRecord,
  type AdapterSpec,
  adapterGeneration,
  adapterObject,
  adapterSpec,
  LOADED,
  loadedLabel,
  loadedName,
  SERVING_ANNOTATION,
  WANTED_KEY,
} from "./plan/adapter.ts";
import { GENERATION_LABEL, PIPELINE_LABEL, VERTEX_LABEL } from "./plan/labels.ts";
import { PROXY_NAME } from "./plan/names.ts";
import { parse, problemsSoFar } from "./plan/problem.ts";
import { defined, mapValues } from "./plan/records.ts";
import { AdapterRollout } from "./resources/adapter-rollout.ts";
import { deleted } from "./resources/deleted.ts";
import { grant, type RightsArgs } from "./rights.ts";

export interface ModelAdapterArgs {
  /** The pipeline whose vertex serves it. */
  pipeline: Pipeline;
  /** A vertex of it with `adapters`. */
  vertex: string;
  /** What names it in the cluster, and begins the model's name in requests: at most 50 characters. @default the resource's name */
  adapter?: string;
  /** The name under which the engine serves the model that the adapter is for. */
  baseModel: pulumi.Input<string>;
  /**
   * `s3://bucket/path`, `gs://bucket/path` (by HMAC keys), `hf://owner/name[@revision]`, or an absolute path in the engine's own
   * file system. Another one is another generation; what is behind one must not change.
   */
  artifact: pulumi.Input<string>;
  /** What the artifact's store asks for: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or HF_TOKEN, and so on. @default nothing */
  credentials?: { [name in (typeof ADAPTER_CREDENTIALS)[number]]?: pulumi.Input<string> };
  /** Pods that shall have it loaded, the newest first. @default "all" of the vertex */
  replicas?: pulumi.Input<number | "all">;
  /** Pods that have to have a generation, and be ready, before traffic moves to it. @default 1 */
  minReady?: pulumi.Input<number>;
  /** What an artifact may have, bytes. @default 2 GiB */
  maxBytes?: pulumi.Input<number>;
  /** How long one try to load it may take, with its download. @default 300 */
  loadTimeoutSeconds?: pulumi.Input<number>;
  /** How long `up` waits for `minReady` pods. @default 600 */
  rolloutTimeoutSeconds?: pulumi.Input<number>;
  /** How long an earlier generation stays loaded once traffic has moved, for requests that still name it. @default 30 */
  graceSeconds?: pulumi.Input<number>;
}

/** By pipeline, its adapters' names in the cluster, and whose they are: one ConfigMap and one Service is one's alone. */
const named = new WeakMap<Pipeline, Map<string, string>>();

/** A LoRA adapter on the pods of a vertex, and a Service of exactly those that are ready and have it loaded. */
export class ModelAdapter extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:ModelAdapter";
  /** What requests have to name as their model: changes with the artifact. */
  readonly model: pulumi.Output<string>;
  /** Where it is served, inside the cluster. */
  readonly url: pulumi.Output<string>;
  /** The generation that shall serve, and the one that does. */
  readonly generation: pulumi.Output<string>;
  readonly serving: pulumi.Output<string>;
  /** Why those differ: who could not load it, and why; empty when all is well. */
  readonly problem: pulumi.Output<string>;
  /** Pods that shall have it, have it loaded, and are ready with it, at the end of the last `up` or `refresh`. */
  readonly wanted: pulumi.Output<number>;
  readonly loaded: pulumi.Output<number>;
  readonly ready: pulumi.Output<number>;

  /** @throws pulumi.ResourceError with one line for each mistake */
  constructor(name: string, args: ModelAdapterArgs, opts?: pulumi.ComponentResourceOptions) {
    super(ModelAdapter.__pulumiType, name, {}, deleted(name, opts));
    const { pipeline, vertex, credentials = {} } = args;
    const adapter = args.adapter ?? name;
    const { tenant, namespace } = pipeline;
    const refuse = (property: string, reason: string) => refusal([{ path: `${name}.${property}`, reason }], this);
    const loader = pipeline.loaders[vertex];
    if (!loader) {
      const known = Object.keys(pipeline.loaders).filter((each) => pipeline.loaders[each]);
      const way = `expected a vertex with 'adapters' (${known.join(", ") || "none"})`;
      throw refuse("vertex", `found '${vertex}'; ${way}`);
    }
    if (Object.hasOwn(pipeline.vertices, adapter) || adapter === PROXY_NAME)
      throw refuse("adapter", `found '${adapter}'; expected another name than the pipeline's Services have`);
    const { account, port } = loader;
    const others = named.get(pipeline) ?? new Map<string, string>();
    const other = others.get(adapter);
    if (other !== undefined)
      throw refuse("adapter", `found '${adapter}', which adapter '${other}' of this pipeline has; set another`);
    named.set(pipeline, others.set(adapter, name));
    const spec = this.#spec(name, adapter, args);
    const secret = Object.keys(credentials).length > 0 ? adapterObject(adapter) : undefined;
    const record = spec.apply(
      ({ name: _, minReady, rolloutTimeoutSeconds, credentials, ...shape }): AdapterRecord => ({
        adapter,
        generation: adapterGeneration(shape.artifact),
        ...shape,
        ...(secret && { secret }),
      }),
    );

    const json = record.apply((known) => JSON.stringify(known));
    const pipelineName = pipeline.logicalName.split("/").at(-1) as string;
    const labels = {
      [PIPELINE_LABEL]: pipelineName,
      [GENERATION_LABEL]: tenant.generation,
      [ADAPTERS_LABEL]: vertex,
    };
    const metadata = { name: adapterObject(adapter), namespace, labels };
    const inCluster = { parent: this, provider: tenant.platform.kubernetes };
    const guards = secret ? readable(name, { credentials, account, metadata, options: inCluster }) : [];
    const wanted = new k8s.core.v1.ConfigMap(
      `${name}-wanted`,
      { metadata, data: { [WANTED_KEY]: json } },
      { ...inCluster, dependsOn: [pipeline, ...guards] },
    );
    const rollout = new AdapterRollout(
      `${name}-rollout`,
      {
        platform: tenant.platform.access,
        generation: tenant.generation,
        namespace,
        vertex,
        record: json,
        minReady: spec.minReady,
        pods: pipeline.vertices[vertex]?.wanted ?? 0,
        timeoutSeconds: spec.rolloutTimeoutSeconds,
      },
      { parent: this, dependsOn: [wanted] },
    );
    const serving = rollout.serving.apply((json) => JSON.parse(json) as AdapterRecord);
    const selector = { [PIPELINE_LABEL]: pipelineName, [VERTEX_LABEL]: vertex };
    const service = new k8s.core.v1.Service(
      `${name}-service`,
      {
        metadata: {
          name: adapter,
          namespace,
          labels,
          annotations: {
            [SERVING_ANNOTATION]: rollout.serving,
            // The rollout has waited; a paused vertex has no endpoints to wait for.
            "pulumi.com/skipAwait": "true",
          },
        },
        spec: {
          selector: serving.apply((known): Record<string, string> => ({ ...selector, [loadedLabel(known)]: LOADED })),
          ports: [{ name: port.name, port: port.number, targetPort: port.name }],
        },
      },
      inCluster,
    );
    // Not before traffic has moved: whoever names it by then finds pods that have it.
    this.model = pulumi.all([serving, service.metadata]).apply(([known]) => loadedName(known));
    this.serving = serving.apply(({ generation }) => generation);
    this.generation = record.apply(({ generation }) => generation);
    this.url = namespace.apply((known) => `http://${adapter}.${known}.svc:${port.number}`);
    this.problem = rollout.problem;
    this.wanted = rollout.wanted;
    this.loaded = rollout.loaded;
    this.ready = rollout.ready;
    this.registerOutputs({
      model: this.model,
      url: this.url,
      generation: this.generation,
      serving: this.serving,
      problem: this.problem,
      wanted: this.wanted,
      loaded: this.loaded,
      ready: this.ready,
    });
  }

  #spec(name: string, adapter: string, args: ModelAdapterArgs): pulumi.Output<AdapterSpec> {
    const { pipeline: _, vertex: __, adapter: ___, credentials = {}, ...given } = args;
    // Names only: what they hold goes into the Secret, and nowhere else.
    const spec = { ...defined(given), name: adapter, credentials: mapValues(credentials, () => "") };
    return judged(this, problemsSoFar(adapterSpec, spec, name), spec, (known) => parse(adapterSpec, known, name));
  }
}

/** Puts credentials into a Secret that the loaders may read, and no other. */
function readable(
  name: string,
  {
    credentials,
    account,
    metadata,
    options,
  }: {
    credentials: Record<string, pulumi.Input<string>>;
    account: pulumi.Output<string>;
    metadata: RightsArgs["metadata"];
    options: pulumi.CustomResourceOptions;
  },
): pulumi.Resource[] {
  const secret = new k8s.core.v1.Secret(
    `${name}-credentials`,
    { metadata, stringData: pulumi.secret(credentials) },
    options,
  );
  const rules = [{ apiGroups: [""], resources: ["secrets"], resourceNames: [metadata.name], verbs: ["get"] }];
  return [secret, grant(`${name}-credentials`, { account, metadata, rules }, options)];
}
