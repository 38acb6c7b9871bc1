/** Ringfence: inference pipelines that keep to themselves and leave nothing behind. */
export { GpuPool, type GpuPoolArgs } from "./gpu-pool.ts";
export { Pipeline, type PipelineArgs, type PipelineVertexArgs } from "./pipeline.ts";
export { Platform, type PlatformArgs } from "./platform.ts";
export { EtcdPrefix, type TenantPartArgs } from "./resources/etcd-prefix.ts";
export { Ledger, type LedgerArgs } from "./resources/ledger.ts";
export { type JetStreamArgs, NatsAccount, type NatsAccountArgs } from "./resources/nats-account.ts";
export { TenantClaim, type TenantClaimArgs } from "./resources/tenant-claim.ts";
export { Tenant, type TenantArgs } from "./tenant.ts";
export { Vertex, type VertexArgs } from "./vertex.ts";
