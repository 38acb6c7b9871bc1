import assert from "node:assert/strict";
import { type Observed, pipelineAlerts, platformAlerts } from "../../components/plan/observability/alerts.ts";
import { planesOf } from "../../components/plan/planes.ts";
import { type Firing, Promtool } from "./promtool.ts";

const namespace = "chat-5c21aedf";
const chat: Observed = { pipeline: "chat", namespace, planes: planesOf("brokered") };

/** As a pipeline's alerts carry them, whatever else does. */
const labelled = (severity: string, labels: Record<string, string> = {}) => ({ severity, pipeline: "chat", ...labels });

describe("alerts, as Prometheus evaluates them", () => {
  let promtool: Promtool;
  before(async function () {
    promtool = await Promtool.bring(this);
  });

  /** The alerts of `chat`, or of another pipeline, over series. */
  const over = (series: Record<string, string>, at: number, expected: Record<string, Firing[]>, observed = chat) =>
    promtool.holds({ groups: [pipelineAlerts(observed)], series, at, expected });
  const overPlatform = (series: Record<string, string>, at: number, expected: Record<string, Firing[]>) =>
    promtool.holds({ groups: [platformAlerts()], series, at, expected });

  it("are rules that Prometheus loads", () =>
    promtool.accepts([
      pipelineAlerts(chat),
      pipelineAlerts({ ...chat, pipeline: "native", planes: planesOf("native") }),
      pipelineAlerts({ ...chat, pipeline: "plain", planes: undefined }),
      platformAlerts(),
    ]));

  describe("RingfencePodsNotReady", () => {
    const wanted = `kube_deployment_spec_replicas{namespace="${namespace}",deployment="decode"}`;
    const ready = `kube_deployment_status_replicas_ready{namespace="${namespace}",deployment="decode"}`;

    it("fires when a pod has not been ready for half an hour", () =>
      over({ [wanted]: "4x40", [ready]: "3x40" }, 35, {
        RingfencePodsNotReady: [
          {
            labels: labelled("warning", { namespace, deployment: "decode" }),
            annotations: {
              summary: "chat: pods of decode are not ready",
              description: `1 pods of decode in ${namespace} have not been ready for 30 minutes. See 'kubectl -n ${namespace} get events' and the pods' logs.`,
            },
          },
        ],
      }));

    it("keeps quiet while a model loads, when all are ready, and for a paused pipeline", async () => {
      await over({ [wanted]: "4x40", [ready]: "0x20 4x20" }, 35, { RingfencePodsNotReady: [] });
      await over({ [wanted]: "0x40", [ready]: "0x40" }, 35, { RingfencePodsNotReady: [] });
    });

    it("is not about another pipeline's pods", () =>
      over(
        {
          'kube_deployment_spec_replicas{namespace="other-00000000",deployment="decode"}': "4x40",
          'kube_deployment_status_replicas_ready{namespace="other-00000000",deployment="decode"}': "0x40",
        },
        35,
        { RingfencePodsNotReady: [] },
      ));
  });

  describe("RingfenceNoResponders", () => {
    const failed = (pod: string, type = "request_failed") =>
      `dynamo_transport_nats_errors_total{namespace="${namespace}",pod="${pod}",error_type="${type}"}`;
    const firing = (value: string) => [
      {
        labels: labelled("critical"),
        annotations: {
          summary: "chat: requests find no responder",
          description: `${value} requests from the frontends in ${namespace} reached no worker in 5 minutes. Workers are gone or not registered: compare ready pods with the instances below the pipeline's etcd prefix, or its DynamoWorkerMetadata objects.`,
        },
      },
    ];

    it("fires when all frontends together miss responders", () =>
      over({ [failed("frontend-1")]: "7+1x20", [failed("frontend-2")]: "0+2x20" }, 10, {
        RingfenceNoResponders: firing("15"),
      }));

    it("fires at a counter's very first value, which no increase shows", () =>
      over({ [failed("frontend-1")]: "_x8 37x12" }, 10, { RingfenceNoResponders: firing("37") }));

    it("keeps quiet about a worker's exchange, about old errors, and about payloads that were too large", async () => {
      await over({ [failed("frontend-1")]: "0x5 3x15" }, 10, { RingfenceNoResponders: [] });
      await over({ [failed("frontend-1")]: "900x20" }, 15, { RingfenceNoResponders: [] });
      await over({ [failed("frontend-1", "max_payload_exceeded")]: "0+50x20" }, 10, { RingfenceNoResponders: [] });
    });

    it("looks at TCP where requests go by TCP", async () => {
      const tcp = `dynamo_transport_tcp_errors_total{namespace="${namespace}",pod="frontend-1"}`;
      const native = { ...chat, planes: planesOf("native") };
      await over({ [tcp]: "0+3x20" }, 10, { RingfenceNoResponders: firing("15") }, native);
      await over({ [failed("frontend-1")]: "0+3x20" }, 10, { RingfenceNoResponders: [] }, native);
    });
  });

  describe("RingfenceMigrations", () => {
    const moved = (type: string) =>
      `dynamo_frontend_model_migration_total{namespace="${namespace}",pod="frontend-1",model="llama",migration_type="${type}"}`;

    it("fires when requests go from worker to worker, and says of which model and when", () =>
      over({ [moved("new_request")]: "0+5x20", [moved("ongoing_request")]: "0+1x20" }, 15, {
        RingfenceMigrations: [
          {
            labels: labelled("warning", { model: "llama", migration_type: "new_request" }),
            annotations: {
              summary: "chat: requests are moved from worker to worker",
              description:
                "50 requests for llama were moved in 10 minutes (new_request): workers come and go, or cannot be reached.",
            },
          },
        ],
      }));

    it("keeps quiet about a rolling update", () =>
      over({ [moved("ongoing_request")]: "0x5 12x15" }, 12, { RingfenceMigrations: [] }));
  });

  describe("RingfenceLeaseLost", () => {
    const restarts = `kube_pod_container_status_restarts_total{namespace="${namespace}",pod="decode-1",container="decode"}`;
    const expired = 'etcd_debugging_server_lease_expired_total{namespace="etcd",pod="etcd-0"}';

    it("fires when a worker restarts while leases expire", () =>
      over({ [restarts]: "0x10 1x10", [expired]: "40x9 41x11" }, 12, {
        RingfenceLeaseLost: [
          {
            labels: labelled("warning", { pod: "decode-1", container: "decode" }),
            annotations: {
              summary: "chat: decode-1 restarted while leases expired",
              description: `decode of decode-1 in ${namespace} restarted, and etcd expired leases at that time: keep-alives came too late. Look at etcd's latency, the proxies' and the node's load; ETCD_LEASE_TTL is how long a worker may be silent.`,
            },
          },
        ],
      }));

    it("keeps quiet about a crash with its lease revoked in time, and about others' leases", async () => {
      await over({ [restarts]: "0x10 1x10", [expired]: "40x20" }, 12, { RingfenceLeaseLost: [] });
      await over({ [restarts]: "3x20", [expired]: "0+1x20" }, 12, { RingfenceLeaseLost: [] });
    });

    it("is not there where nothing has a lease", () => {
      const names = (observed: Observed) => pipelineAlerts(observed).rules.map(({ alert }) => alert);
      assert.ok(names(chat).includes("RingfenceLeaseLost"));
      assert.ok(!names({ ...chat, planes: planesOf("native") }).includes("RingfenceLeaseLost"));
      assert.deepEqual(names({ ...chat, planes: undefined }), ["RingfencePodsNotReady"]);
    });
  });

  describe("RingfenceResidue", () => {
    it("fires for each kind that the audit finds, from whichever machine it runs on", () =>
      overPlatform(
        {
          'ringfence_residue{kind="keys",instance="a"}': "2x10",
          'ringfence_residue{kind="account",instance="a"}': "0x10",
          'ringfence_residue{kind="keys",instance="b"}': "3x10",
        },
        5,
        {
          RingfenceResidue: [
            {
              labels: { severity: "warning", kind: "keys" },
              annotations: {
                summary: "3 × keys that no live claim accounts for",
                description: "'ringfence audit' names each and says what to do.",
              },
            },
          ],
        },
      ));
  });

  describe("RingfenceReleaseUnfinished", () => {
    it("fires when a tenant has been releasing for an hour, and not for one that is being released", async () => {
      await overPlatform({ 'ringfence_tenants{state="releasing"}': "1x70" }, 65, {
        RingfenceReleaseUnfinished: [
          {
            labels: { severity: "warning" },
            annotations: {
              summary: "1 tenants are releasing, and no destroy has finished them",
              description:
                "A destroy was interrupted or refused. 'ringfence audit' names the tenants and their stacks: destroy again there.",
            },
          },
        ],
      });
      await overPlatform({ 'ringfence_tenants{state="releasing"}': "0x40 1x30" }, 65, {
        RingfenceReleaseUnfinished: [],
      });
      await overPlatform({ 'ringfence_tenants{state="active"}': "5x70" }, 65, { RingfenceReleaseUnfinished: [] });
    });
  });

  describe("RingfenceAuditStale", () => {
    const firing = (labels: Record<string, string> = {}) => [
      {
        labels: { severity: "warning", ...labels },
        annotations: {
          summary: "no recent audit: residue would go unnoticed",
          description: "'ringfence audit --metrics' has not run, has failed, or its file is not collected.",
        },
      },
    ];

    it("fires when the last audit was long ago, and when there never was one", async () => {
      // promtool's clock begins at 1970: the audit ended in its first minute.
      await overPlatform({ ringfence_audit_timestamp_seconds: "60x200" }, 190, { RingfenceAuditStale: firing() });
      await overPlatform({ up: "1x90" }, 70, { RingfenceAuditStale: firing() });
    });

    it("keeps quiet while audits run", () =>
      overPlatform({ ringfence_audit_timestamp_seconds: "0+60x200" }, 190, { RingfenceAuditStale: [] }));
  });
});
