/** Ringfence: inference pipelines that keep to themselves and leave nothing behind. */

export type { AdapterLoaderArgs } from "./adapter-loader.ts";
export { GpuPool, type GpuPoolArgs } from "./gpu-pool.ts";
export * as dynamo from "./graphs/dynamo.ts";
export { ModelAdapter, type ModelAdapterArgs } from "./model-adapter.ts";
export { ModelRoute, type ModelRouteArgs } from "./model-route.ts";
export { Observability, type ObservabilityArgs } from "./observability.ts";
export { Pipeline } from "./pipeline.ts";
export type { BuffersArgs, EdgeArgs, LimitsArgs, PipelineArgs, PipelineVertexArgs } from "./pipeline-args.ts";
export type { AvailabilityInput as AvailabilityArgs } from "./plan/availability.ts";
export { Platform, type PlatformArgs } from "./platform.ts";
export type { QuotaArgs } from "./quota.ts";
export { AdapterRollout, type AdapterRolloutArgs } from "./resources/adapter-rollout.ts";
export { Bucket, type BucketArgs } from "./resources/bucket.ts";
export { Drain, type DrainArgs } from "./resources/drain.ts";
export { EtcdPrefix, type EtcdPrefixArgs } from "./resources/etcd-prefix.ts";
export { Ledger, type LedgerArgs } from "./resources/ledger.ts";
export { ModelRegistration, type ModelRegistrationArgs } from "./resources/model-registration.ts";
export { type JetStreamArgs, NatsAccount, type NatsAccountArgs } from "./resources/nats-account.ts";
export type { AccountPartArgs, TenantPartArgs } from "./resources/part.ts";
export { RetiredCredentials, type RetiredCredentialsArgs } from "./resources/retired-credentials.ts";
export { Stream, type StreamArgs } from "./resources/stream.ts";
export { TenantClaim, type TenantClaimArgs } from "./resources/tenant-claim.ts";
export { Topology, type TopologyArgs } from "./resources/topology.ts";
export { TopologyCommit, type TopologyCommitArgs } from "./resources/topology-commit.ts";
export { Tenant, type TenantArgs } from "./tenant.ts";
export { Vertex } from "./vertex.ts";
export type { ProbeArgs, VertexArgs } from "./vertex-args.ts";
