import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { Observability, type ObservabilityArgs } from "../../components/observability.ts";
import type { RuleGroup } from "../../components/plan/observability/alerts.ts";
import { observable } from "../../components/plan/observability/scrape.ts";
import { failureOf, type Registered, run } from "./engine.ts";
import { platformNamed } from "./scene.ts";

const vertices = {
  frontend: { component: "frontend", ports: { http: 8000, responses: 9000 } },
  decode: { component: "backend", ports: { system: 9090 } },
};

/** A pipeline, as far as it is looked at. */
const chat = {
  tenant: { namespace: pulumi.output("chat-5c21aedf"), generation: pulumi.output("5c21aedf0123456789abcdef") },
  observable: observable(vertices),
};

const observed = (change: Partial<ObservabilityArgs> = {}) =>
  run(
    () =>
      new Observability("watch", {
        platform: platformNamed("platform"),
        pipelines: { chat },
        prometheus: { namespace: "monitoring", labels: { release: "prometheus" } },
        grafana: { namespace: "grafana" },
        ...change,
      }),
  );

const the = (registered: Map<string, Registered>, key: string): Registered => {
  const found = registered.get(key);
  assert.ok(found, `${key} is not among ${[...registered.keys()].join(", ")}`);
  return found;
};

describe("Observability", () => {
  it("puts a pipeline's alerts and monitor into its own namespace, with the labels that Prometheus looks for", async () => {
    const registered = await observed();
    for (const key of ["PrometheusRule watch-chat.rules", "PodMonitor watch-chat.pods"]) {
      const { inputs, dependencies } = the(registered, key);
      assert.equal(inputs.metadata.namespace, "chat-5c21aedf");
      assert.deepEqual(inputs.metadata.labels, {
        release: "prometheus",
        "ringfence.dev/pipeline": "chat",
        "ringfence.dev/generation": "5c21aedf0123456789abcdef",
      });
      assert.ok(dependencies.includes("watch-prometheus-operator"), key);
    }
    const { inputs } = the(registered, "PrometheusRule watch-chat.rules");
    const [{ name, rules }] = inputs.spec.groups as [RuleGroup];
    assert.equal(name, "ringfence.chat");
    assert.ok(rules.every(({ labels }) => labels.pipeline === "chat"));
    assert.ok(rules.some(({ expr }) => expr.includes('namespace="chat-5c21aedf"')));
  });

  it("scrapes the ports that serve metrics, and lets Prometheus' namespace reach just these", async () => {
    const registered = await observed();
    const { spec } = the(registered, "PodMonitor watch-chat.pods").inputs;
    const ports = spec.podMetricsEndpoints.map(({ port }: { port: string }) => port);
    assert.deepEqual(ports, ["http", "system"]);
    const policy = the(registered, "NetworkPolicy watch-chat.scraping").inputs;
    assert.equal(policy.metadata.namespace, "chat-5c21aedf");
    assert.deepEqual(policy.spec.podSelector, spec.selector);
    assert.deepEqual(policy.spec.ingress, [
      {
        from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } } }],
        ports: [
          { protocol: "TCP", port: "http" },
          { protocol: "TCP", port: "system" },
        ],
      },
    ]);
  });

  it("has no monitor for a pipeline that serves no metrics, and still alerts on its pods", async () => {
    const quiet = { ...chat, observable: observable({ web: { ports: { http: 80 } } }) };
    const registered = await observed({ pipelines: { chat: quiet } });
    const { spec } = the(registered, "PrometheusRule watch-chat.rules").inputs;
    assert.equal(spec.groups[0].rules.length, 1);
    assert.ok(!registered.has("PodMonitor watch-chat.pods"));
    assert.ok(!registered.has("NetworkPolicy watch-chat.scraping"));
  });

  it("puts the platform's alerts where Prometheus is, and the dashboard where Grafana's sidecar looks", async () => {
    const registered = await observed();
    const rules = the(registered, "PrometheusRule watch-rules").inputs;
    assert.deepEqual([rules.metadata.namespace, rules.metadata.name], ["monitoring", "watch"]);
    assert.equal(rules.spec.groups[0].name, "ringfence.platform");
    const { metadata, data } = the(registered, "ConfigMap watch-dashboard").inputs;
    assert.equal(metadata.namespace, "grafana");
    assert.deepEqual(metadata.labels, { grafana_dashboard: "1" });
    const { uid, templating } = JSON.parse(data["watch.json"]);
    assert.equal(uid, "watch");
    assert.equal(templating.list[1].query, "chat : chat-5c21aedf");
  });

  it("makes only what it is asked for, so that a cluster without prometheus-operator or Grafana will do", async () => {
    const kinds = async (args: Pick<ObservabilityArgs, "prometheus" | "grafana">) => {
      const made = await run(
        () => new Observability("watch", { platform: platformNamed("platform"), pipelines: { chat }, ...args }),
      );
      return [...made.keys()].filter((key) => key.includes(" watch-")).map((key) => key.split(" ")[0]);
    };
    assert.deepEqual(await kinds({ grafana: { namespace: "grafana" } }), ["ConfigMap"]);
    assert.deepEqual((await kinds({ prometheus: { namespace: "monitoring" } })).sort(), [
      "NetworkPolicy",
      "PodMonitor",
      "PrometheusRule",
      "PrometheusRule",
    ]);
  });

  it("refuses a mistake before anything is made, with its path", async () => {
    const refusal = async (change: Partial<ObservabilityArgs>, name = "watch") => {
      const args = { platform: undefined, pipelines: {}, ...change } as unknown as ObservabilityArgs;
      return (await failureOf(() => new Observability(name, args))).message;
    };
    assert.equal(await refusal({}), "watch: found an object; expected 'prometheus', 'grafana' or both");
    assert.match(
      await refusal({ prometheus: { namespace: "Monitoring" } }),
      /^watch\.prometheus\.namespace: found 'Monitoring'; it may hold lower-case letters/,
    );
    assert.match(
      await refusal({ grafana: { namespace: "grafana", label: {} } as never }),
      /^watch\.grafana\.label: found an unknown property; known here: namespace, labels$/,
    );
    assert.match(
      await refusal({ grafana: { namespace: "g" } }, "Watch"),
      /^Watch: found the name 'Watch'; it may hold/,
    );
  });
});
