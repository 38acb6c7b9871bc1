import type { PolicyResource, ReportViolation, StackValidationPolicy } from "@pulumi/policy";
import { VERTEX_LABEL } from "../components/plan/labels.ts";
import { type DynamoContainer, dynamoContainers } from "./stack/dynamo.ts";
import { type KubernetesObject, label, objectsOf } from "./stack/objects.ts";
import { flag, podsOf, shellScript } from "./stack/pods.ts";
import { schemaOf, settings } from "./stack/settings.ts";
import { at, entries, hasUnknown, isUnknown, number, type Path, text } from "./stack/value.ts";
import { shown, tell } from "./stack/verdict.ts";

const parameters = {
  leaseTtlMinSeconds: {
    type: "integer",
    minimum: 1,
    description: "Shortest lease TTL: below it a pause of the runtime or of etcd makes workers disappear.",
    default: 5 as number,
  },
  leaseTtlMaxSeconds: {
    type: "integer",
    minimum: 1,
    description: "Longest lease TTL: for so long a killed worker is still sent requests.",
    default: 30 as number,
  },
  graceMarginSeconds: {
    type: "integer",
    minimum: 0,
    description: "What a pod needs on top of its shutdown grace, to drain and to clean up.",
    default: 90 as number,
  },
} as const;

/** A restart without a failed request: clients hear of it in time, and work in hand is finished. */
export const restartSafety: StackValidationPolicy = {
  name: "restart-safety",
  displayName: "Restart safety",
  description:
    "Dynamo's pods restart without a failed request: lease TTL within bounds, time to shut down, preStop on frontends, " +
    "probes, a PodDisruptionBudget, request migration, and no shell that swallows SIGTERM.",
  enforcementLevel: "advisory",
  severity: "medium",
  remediationSteps:
    "Set ETCD_LEASE_TTL=10, terminationGracePeriodSeconds above the shutdown grace and 90 s, a preStop sleep of 5 to 10 s and " +
    "DYN_MIGRATION_LIMIT=3 on frontends, probes on every container, a PodDisruptionBudget, and run Python directly.",
  configSchema: schemaOf(parameters),
  validateStack: (args, report) => {
    const bounds = settings(parameters, args);
    for (const dynamo of dynamoContainers(args.resources)) {
      const { container, pod, role } = dynamo;
      const say: Say = (path, problem, fix) => tell(report, { resource: pod.object, path, problem, fix });
      judgeLease(dynamo, bounds, say);
      judgeGrace(dynamo, bounds.graceMarginSeconds, say);
      if (role === "frontend") judgeFrontend(dynamo, say);
      if (pod.completed) continue;
      const wanted = ["livenessProbe", "readinessProbe", ...(role === "worker" ? ["startupProbe"] : [])];
      const missing = role === "other" ? [] : wanted.filter((probe) => at(container.body, probe) === undefined);
      if (missing.length > 0) say(container.path, `has no ${missing.join(", no ")}`, "probe /live and /health");
    }
    refuseShells(args.resources, report);
    refuseUnbudgeted(args.resources, report);
  },
};

type Say = (path: Path, problem: string, fix: string) => void;
type Bounds = { leaseTtlMinSeconds: number; leaseTtlMaxSeconds: number };

function judgeLease({ container }: DynamoContainer, bounds: Bounds, say: Say): void {
  const { leaseTtlMinSeconds: least, leaseTtlMaxSeconds: most } = bounds;
  const ttl = container.env.get("ETCD_LEASE_TTL");
  const seconds = number(ttl?.value);
  if (!ttl || seconds === undefined || (seconds >= least && seconds <= most)) return;
  const effect =
    seconds < least ? "a short pause makes the worker disappear" : "a killed worker is sent requests for as long";
  say(ttl.path, `a lease TTL of ${seconds} s is not within ${least} to ${most} s: ${effect}`, "use 10");
}

function judgeGrace({ container, pod, role }: DynamoContainer, margin: number, say: Say): void {
  if (role === "other") return;
  const path = [...pod.path, "terminationGracePeriodSeconds"];
  const given = at(pod.spec, "terminationGracePeriodSeconds");
  if (given === undefined ? pod.completed : isUnknown(given)) return;
  const variable =
    role === "frontend" ? "DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS" : "DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS";
  const grace = container.env.get(variable) ? number(container.env.value(variable)) : 5;
  const has = given === undefined ? 30 : number(given);
  if (grace === undefined || has === undefined || has >= grace + margin) return;
  say(
    path,
    `${has} s until the pod is killed ${given === undefined ? "(the default) " : ""}are fewer than its shutdown grace of ${grace} s and ${margin} s to drain`,
    `use ${grace + margin} or more`,
  );
}

function judgeFrontend({ container, pod }: DynamoContainer, say: Say): void {
  const { env, path, body } = container;
  if (!pod.completed && at(body, "lifecycle", "preStop") === undefined) {
    say(
      [...path, "lifecycle", "preStop"],
      "is missing: requests still arrive while endpoints propagate",
      "sleep 5 to 10 s there",
    );
  }
  const option = flag(container, "--migration-limit");
  const variable = env.get("DYN_MIGRATION_LIMIT");
  const limit = option ? number(option.text) : variable ? number(variable.value) : undefined;
  const off = limit === 0 || (!option && env.lacks("DYN_MIGRATION_LIMIT") && container.words.length > 0);
  if (off) {
    say(
      option?.path ?? variable?.path ?? [...path, "env"],
      "request migration is off, so a request fails with its worker",
      "set DYN_MIGRATION_LIMIT=3",
    );
  }
}

/** A shell as the first process passes no SIGTERM on, unless it hands over by `exec`. */
function refuseShells(resources: readonly PolicyResource[], report: ReportViolation): void {
  const dynamo = new Set(
    dynamoContainers(resources).map(({ container }) => `${container.pod.object.urn} ${container.path}`),
  );
  for (const { object, containers } of podsOf(resources)) {
    const vertex = label(object, VERTEX_LABEL) !== undefined;
    for (const container of containers) {
      const script = container.init ? undefined : shellScript(container);
      if (!script || /(^|[;&|\n]\s*)exec\s/.test(script.text)) continue;
      if (!vertex && !dynamo.has(`${object.urn} ${container.path}`)) continue;
      tell(report, {
        resource: object,
        path: script.path,
        problem: `is run by the shell ${shown(container.words[0]?.text)}, which passes no SIGTERM on`,
        fix: "run the program directly, or begin its line with exec",
      });
    }
  }
}

/** Several pods, and nothing that keeps a node's drain from taking them all at once. */
function refuseUnbudgeted(resources: readonly PolicyResource[], report: ReportViolation): void {
  const budgets = new Budgets(objectsOf(resources).filter(({ kind }) => kind === "PodDisruptionBudget"));
  const judged = new Set<string>();
  for (const { pod } of dynamoContainers(resources)) {
    const { object, labels, replicas } = pod;
    const many = (replicas ?? 0) > 1 && !pod.completed && /^(Deployment|StatefulSet)$/.test(object.kind);
    if (!many || judged.has(object.urn)) continue;
    judged.add(object.urn);
    if (hasUnknown(labels) || budgets.mayCover(object.namespace, labels)) continue;
    tell(report, {
      resource: object,
      path: ["spec", "replicas"],
      problem: `no PodDisruptionBudget covers its ${replicas} pods`,
      fix: "declare one with maxUnavailable: 1",
    });
  }
}

/** PodDisruptionBudgets by the rarest label that each selects on, so that a look-up is not a look at all of them. */
class Budgets {
  readonly #byLabel = new Map<string, { namespace: string | undefined; selector: unknown }[]>();
  /** Those that may select anything. */
  readonly #wide: { namespace: string | undefined }[] = [];

  constructor(budgets: KubernetesObject[]) {
    const selectors = budgets.map(({ namespace, body }) => ({ namespace, selector: at(body, "spec", "selector") }));
    const counts = new Map<string, number>();
    for (const { selector } of selectors)
      for (const one of labelsOf(selector)) counts.set(one, (counts.get(one) ?? 0) + 1);
    for (const budget of selectors) {
      const [rarest] = labelsOf(budget.selector).sort((a, b) => (counts.get(a) ?? 0) - (counts.get(b) ?? 0));
      const wide = hasUnknown(budget.selector) || at(budget.selector, "matchExpressions") !== undefined;
      if (wide || rarest === undefined) this.#wide.push(budget);
      else if (!this.#byLabel.get(rarest)?.push(budget)) this.#byLabel.set(rarest, [budget]);
    }
  }

  /** Whether one selects pods with these labels, as far as it is known. */
  mayCover(namespace: string | undefined, labels: unknown): boolean {
    const near = (other: string | undefined) => namespace === undefined || other === undefined || namespace === other;
    if (this.#wide.some((budget) => near(budget.namespace))) return true;
    return entries(labels).some(([key, value]) =>
      this.#byLabel
        .get(`${key}=${text(value)}`)
        ?.some((budget) => near(budget.namespace) && matches(budget.selector, labels)),
    );
  }
}

const labelsOf = (selector: unknown): string[] =>
  entries(at(selector, "matchLabels")).map(([key, value]) => `${key}=${text(value)}`);

const matches = (selector: unknown, labels: unknown): boolean =>
  entries(at(selector, "matchLabels")).every(([key, value]) => text(at(labels, key)) === text(value));
