/** Ringfence: inference pipelines that keep to themselves and leave nothing behind. */
export { GpuPool, type GpuPoolArgs } from "./gpu-pool.ts";
export * as dynamo from "./graphs/dynamo.ts";
export { Observability, type ObservabilityArgs } from "./observability.ts";
export { Pipeline } from "./pipeline.ts";
export type { PipelineArgs, PipelineVertexArgs } from "./pipeline-args.ts";
export { Platform, type PlatformArgs } from "./platform.ts";
export type { QuotaArgs } from "./quota.ts";
export { EtcdPrefix, type EtcdPrefixArgs, type TenantPartArgs } from "./resources/etcd-prefix.ts";
export { Ledger, type LedgerArgs } from "./resources/ledger.ts";
export { type JetStreamArgs, NatsAccount, type NatsAccountArgs } from "./resources/nats-account.ts";
export { RetiredCredentials, type RetiredCredentialsArgs } from "./resources/retired-credentials.ts";
export { TenantClaim, type TenantClaimArgs } from "./resources/tenant-claim.ts";
export { Tenant, type TenantArgs } from "./tenant.ts";
export { type ProbeArgs, Vertex, type VertexArgs } from "./vertex.ts";
