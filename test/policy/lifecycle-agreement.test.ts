import assert from "node:assert/strict";
import { PHASE_ANNOTATION, PIPELINE_LABEL, SCALE_ANNOTATION, VERTEX_LABEL } from "../../components/plan/labels.ts";
import { lifecycleAgreement as policy } from "../../policy/lifecycle-agreement.ts";
import { PIPELINE } from "../../policy/stack/ringfence.ts";
import { deployment, frontend, object } from "./sketches.ts";
import { type Props, type Sketch, told, UNKNOWN } from "./stack.ts";

const vertex = (name: string, phase: unknown, replicas: unknown = 1, more: Partial<Sketch> = {}): Sketch => ({
  ...deployment({
    name,
    replicas,
    labels: { [PIPELINE_LABEL]: "chat", [VERTEX_LABEL]: name },
    annotations: { [PHASE_ANNOTATION]: phase },
  }),
  name,
  ...more,
});
const pipeline = (phase: unknown): Sketch => ({ type: PIPELINE, name: "chat", props: { phase } });
const chart = { type: "ringfence:index:Vertex", name: "chat.web", props: {}, parent: "chat" };

describe("policy lifecycle-agreement", () => {
  it("wants every vertex in the phase of the pipeline above it", () => {
    const below = (phase: unknown, replicas = 0) => [
      pipeline("Paused"),
      chart,
      vertex("web", phase, replicas, { parent: "chat.web" }),
    ];
    assert.deepEqual(told(policy, below("Paused")), []);
    assert.match(told(policy, below("Running")).join(), /'Running' is not 'Paused', the phase of its pipeline 'chat'/);
    assert.deepEqual(told(policy, below(UNKNOWN)), []);
    assert.deepEqual(told(policy, [pipeline(UNKNOWN), chart, vertex("web", "Running", 1, { parent: "chat.web" })]), []);
  });

  it("wants vertices without a pipeline above them to agree, within their namespace", () => {
    assert.equal(told(policy, [vertex("a", "Running"), vertex("b", "Paused", 0)]).length, 1);
    assert.deepEqual(told(policy, [vertex("a", "Running"), vertex("b", "Running")]), []);
    const elsewhere = vertex("b", "Paused", 0);
    (elsewhere.props.metadata as Props).namespace = "other";
    assert.deepEqual(told(policy, [vertex("a", "Running"), elsewhere]), []);
  });

  it("wants no pods while paused", () => {
    assert.match(told(policy, [vertex("a", "Paused", 2)]).join(), /2 pods run while the pipeline is paused/);
    assert.deepEqual(told(policy, [vertex("a", "Paused", UNKNOWN)]), []);
  });

  it("wants a vertex' replicas within its own scale, but while it is paused", () => {
    const scaled = (replicas: unknown, scale: unknown, phase = "Running") => {
      const sketch = vertex("a", phase, replicas);
      Object.assign((sketch.props.metadata as Props).annotations as Props, { [SCALE_ANNOTATION]: scale });
      return told(policy, [sketch]);
    };
    assert.match(scaled(4, "1..3").join(), /spec\.replicas: 4 replicas are not within the scale's 1 to 3/);
    assert.match(scaled(1, "2..").join(), /1 replicas are not within the scale's 2 to any/);
    assert.deepEqual([scaled(3, "1..3"), scaled(9, "2.."), scaled(0, "1..3", "Paused")], [[], [], []]);
    assert.deepEqual([scaled(UNKNOWN, "1..3"), scaled(4, UNKNOWN), scaled(4, "some")], [[], [], []]);
  });

  const scaler = (apiVersion: string, kind: string, spec: Props) =>
    object(
      {
        apiVersion,
        kind,
        metadata: { name: "web", namespace: "chat" },
        spec: { scaleTargetRef: { kind: "Deployment", name: "web" }, ...spec },
      },
      "scaler",
    );
  const hpa = (spec: Props) => scaler("autoscaling/v2", "HorizontalPodAutoscaler", spec);

  it("wants replicas within the bounds of an autoscaler", () => {
    const web = (replicas: unknown) => deployment({ replicas });
    assert.deepEqual(told(policy, [hpa({ minReplicas: 2, maxReplicas: 5 }), web(2)]), []);
    assert.match(
      told(policy, [hpa({ minReplicas: 2, maxReplicas: 5 }), web(6)]).join(),
      /^chat\/web\.spec\.replicas: 6 replicas are not within the scale's 2 to 5/,
    );
    assert.deepEqual(told(policy, [hpa({ minReplicas: 2, maxReplicas: 5 }), web(0)]), [], "0 switches it off");
    assert.equal(
      told(policy, [scaler("keda.sh/v1alpha1", "ScaledObject", { minReplicaCount: 1, maxReplicaCount: 2 }), web(3)])
        .length,
      1,
    );
    assert.deepEqual(told(policy, [hpa({ minReplicas: 2, maxReplicas: UNKNOWN }), web(6)]), []);
  });

  it("wants a minimum below the maximum", () => {
    assert.match(
      told(policy, [hpa({ minReplicas: 5, maxReplicas: 2 })]).join(),
      /the minimum of 5 is above the maximum of 2/,
    );
    const service = {
      apiVersion: "serving.kserve.io/v1beta1",
      kind: "InferenceService",
      metadata: { name: "m", namespace: "x" },
    };
    assert.equal(
      told(policy, [object({ ...service, spec: { predictor: { minReplicas: 3, maxReplicas: 1 } } })]).length,
      1,
    );
    const numaflow = {
      apiVersion: "numaflow.numaproj.io/v1alpha1",
      kind: "MonoVertex",
      metadata: { name: "m", namespace: "x" },
    };
    assert.equal(told(policy, [object({ ...numaflow, spec: { replicas: 9, scale: { min: 1, max: 3 } } })]).length, 1);
  });

  const inChat = { namespace: "chat" };
  const service = (labels: Props = {}) =>
    object(
      { apiVersion: "v1", kind: "Service", metadata: { name: "frontend", ...inChat, labels }, spec: {} },
      "service",
    );
  const endpoints = object(
    { apiVersion: "v1", kind: "Endpoints", metadata: { name: "frontend", ...inChat }, subsets: [] },
    "endpoints",
  );
  const slice = object(
    {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: "frontend-1", ...inChat, labels: { "kubernetes.io/service-name": "frontend" } },
      endpoints: [],
    },
    "slice",
  );

  it("refuses endpoints by hand for what a pipeline or Dynamo serves", () => {
    for (const model of [[service({ [PIPELINE_LABEL]: "chat" })], [service(), frontend()]])
      for (const written of [endpoints, slice])
        assert.match(
          told(policy, [...model, written]).join(),
          /lists by hand what serves 'frontend', and will name pods that are gone/,
        );
  });

  it("lets endpoints of other Services be", () => assert.deepEqual(told(policy, [service(), endpoints, slice]), []));
});
