import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { refusal } from "./judged.ts";
import { GENERATION_LABEL, PIPELINE_LABEL, VERTEX_LABEL } from "./plan/labels.ts";
import { labelProblem } from "./plan/names.ts";
import { pipelineAlerts, platformAlerts } from "./plan/observability/alerts.ts";
import { dashboard, UID_LENGTH } from "./plan/observability/dashboard.ts";
import type { Observable } from "./plan/observability/scrape.ts";
import { observabilitySpec } from "./plan/observability/spec.ts";
import { problemsSoFar } from "./plan/problem.ts";
import type { Platform } from "./platform.ts";
import type { Tenant } from "./tenant.ts";

/** What Observability reads of a Pipeline. */
export interface ObservedPipeline {
  tenant: Pick<Tenant, "namespace" | "generation">;
  observable: Observable;
}

export interface ObservabilityArgs {
  /** On whose cluster it is. */
  platform: Pick<Platform, "kubernetes">;
  /** By the name that alerts and the dashboard call them: pass Pipelines. */
  pipelines: Record<string, ObservedPipeline>;
  /**
   * Alerts and scraping by prometheus-operator, whose CRDs have to be in the cluster: a preview says so if they are not.
   * @default no PrometheusRule, no PodMonitor
   */
  prometheus?: {
    /** Where Prometheus runs: it is let into the pipelines' networks from there, and the platform's own rules go there. */
    namespace: pulumi.Input<string>;
    /** What its rule and monitor selectors ask for, `release: …` with kube-prometheus-stack. @default {} */
    labels?: pulumi.Input<Record<string, pulumi.Input<string>>>;
  };
  /** A dashboard as a ConfigMap, for a Grafana whose sidecar collects such. @default no dashboard */
  grafana?: {
    /** Where the sidecar looks: Grafana's own namespace, mostly. */
    namespace: pulumi.Input<string>;
    /** What the sidecar looks for. @default { grafana_dashboard: "1" }, as kube-prometheus-stack has it */
    labels?: pulumi.Input<Record<string, pulumi.Input<string>>>;
  };
}

const MONITORING = "monitoring.coreos.com/v1";

/**
 * How the pipelines of a platform are watched: alerts, scraping, a dashboard. Whether there is any is the program's to
 * say, not read off the cluster: a preview on a cluster without Prometheus must not quietly plan less.
 *
 * A pipeline's objects are in its own namespace, and go with its tenant. The platform's are in Prometheus' and Grafana's
 * namespaces, under the component's name: stacks that share a platform need a name each.
 */
export class Observability extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:Observability";

  /**
   * @param name also names the objects in Prometheus' and Grafana's namespaces, and is the dashboard's address: 1 to 40
   *   lower-case letters, digits and inner hyphens
   * @throws pulumi.ResourceError with one line for each mistake in the arguments
   */
  constructor(name: string, args: ObservabilityArgs, opts?: pulumi.ComponentResourceOptions) {
    super(Observability.__pulumiType, name, {}, opts);
    const { platform, pipelines, prometheus, grafana } = args;
    const given = { ...(prometheus && { prometheus }), ...(grafana && { grafana }) };
    const misnamed = labelProblem(name, UID_LENGTH);
    if (misnamed) throw refusal([{ path: name, reason: `found the name '${name}'; it ${misnamed}` }], this);
    const problems = problemsSoFar(observabilitySpec, given, name);
    if (problems.length > 0) throw refusal(problems, this);

    const options = { parent: this, provider: platform.kubernetes };
    if (prometheus) this.#prometheus(name, prometheus, pipelines, options);
    if (grafana) {
      const namespaces = Object.entries(pipelines).map(([pipeline, { tenant }]) =>
        tenant.namespace.apply((namespace) => ({ pipeline, namespace })),
      );
      new k8s.core.v1.ConfigMap(
        `${name}-dashboard`,
        {
          metadata: {
            name: `${name}-dashboard`,
            namespace: grafana.namespace,
            labels: grafana.labels ?? { grafana_dashboard: "1" },
          },
          data: {
            [`${name}.json`]: pulumi
              .all(namespaces)
              .apply((known) => JSON.stringify(dashboard(name, "Inference pipelines", known))),
          },
        },
        options,
      );
    }
    this.registerOutputs({});
  }

  #prometheus(
    name: string,
    { namespace: home, labels = {} }: NonNullable<ObservabilityArgs["prometheus"]>,
    pipelines: Record<string, ObservedPipeline>,
    inCluster: pulumi.CustomResourceOptions,
  ): void {
    // Without it a preview passes, and an `up` fails after a minute. The operator brings all its CRDs, and this is the
    // smallest: what is read is kept in state.
    const operator = k8s.apiextensions.v1.CustomResourceDefinition.get(
      `${name}-prometheus-operator`,
      `prometheusrules.${MONITORING.split("/")[0]}`,
      inCluster,
    );
    const options = { ...inCluster, dependsOn: operator };
    const rules = (resource: string, metadata: k8s.types.input.meta.v1.ObjectMeta, group: pulumi.Input<object>) =>
      new k8s.apiextensions.CustomResource(
        resource,
        { apiVersion: MONITORING, kind: "PrometheusRule", metadata, spec: { groups: [group] } },
        options,
      );
    rules(`${name}-rules`, { name, namespace: home, labels }, platformAlerts());

    for (const [pipeline, { tenant, observable }] of Object.entries(pipelines)) {
      const { ports, planes } = observable;
      const metadata = {
        name: "ringfence",
        namespace: tenant.namespace,
        labels: pulumi.all([labels, tenant.generation]).apply(
          ([given, generation]): Record<string, string> => ({
            ...given,
            [PIPELINE_LABEL]: pipeline,
            [GENERATION_LABEL]: generation,
          }),
        ),
      };
      rules(
        `${name}-${pipeline}.rules`,
        metadata,
        tenant.namespace.apply((namespace) => pipelineAlerts({ pipeline, namespace, planes })),
      );
      if (ports.length === 0) continue;
      const vertices = { matchExpressions: [{ key: VERTEX_LABEL, operator: "Exists" }] };
      new k8s.apiextensions.CustomResource(
        `${name}-${pipeline}.pods`,
        {
          apiVersion: MONITORING,
          kind: "PodMonitor",
          metadata,
          spec: {
            selector: vertices,
            // A pod without a port of that name is passed over.
            podMetricsEndpoints: ports.map((port) => ({ port, path: "/metrics", interval: "15s" })),
          },
        },
        options,
      );
      new k8s.networking.v1.NetworkPolicy(
        `${name}-${pipeline}.scraping`,
        {
          metadata: { ...metadata, name: "scraping" },
          spec: {
            podSelector: vertices,
            policyTypes: ["Ingress"],
            ingress: [
              {
                from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": home } } }],
                ports: ports.map((port) => ({ protocol: "TCP", port })),
              },
            ],
          },
        },
        inCluster,
      );
    }
  }
}
