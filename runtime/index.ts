/**
 * What runs inside a pipeline: `serve` answers requests, `request` and `stream` send them, and between the two a restart,
 * of a worker, of etcd or of NATS, loses none. Both read the environment that Ringfence gives every vertex.
 */
export type { Handler, RequestContext } from "./answering.ts";

export { Client, type ClientOptions, type InstanceStatus } from "./client.ts";
export type { ConnectionOptions } from "./connection.ts";
export { type Attempt, RequestError, type RequestErrorCode } from "./errors.ts";
export {
  type FlowContext,
  type FlowHandler,
  flow,
  type HandlerOptions,
  type Message,
  type Outgoing,
} from "./flow.ts";
export type { FlowOptions, FlowProcess } from "./flow-process.ts";
export { type Produced, produce, type Source, type SourceContext } from "./flow-source.ts";
export type { RequestOptions } from "./options.ts";
export { request, stream } from "./shared-client.ts";
export { type ServeOptions, serve, type Worker } from "./worker.ts";
