/** What lets Dynamo's fixed keys be a tenant's own: etcd's proxy, which puts the tenant's prefix before every key. */
import { readFileSync } from "node:fs";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { type Inside, type PodTrust, TRUST_ANNOTATION } from "./inside.ts";
import { CREDENTIALS_ANNOTATION } from "./plan/labels.ts";
import { PROXY_NAME } from "./plan/names.ts";

export interface EtcdProxyArgs {
  /** An image with etcd 3.5 or newer as `etcd` on its path. @default etcd's own, of the release that the tests run */
  image?: pulumi.Input<string>;
  /** An image with Node.js 20 or newer as `node` on its path: runs what stands before the proxy. @default node:24-alpine */
  frontImage?: pulumi.Input<string>;
  /**
   * What the proxies show an etcd that asks its clients for certificates, in PEM. etcd's proxy takes none with a common name,
   * which would be a user's name to etcd: users log in by password here. @default none
   */
  certificate?: { cert: pulumi.Input<string>; key: pulumi.Input<string> };
  /** Pods; with two, vertices stay connected while one is replaced. @default 2 */
  replicas?: pulumi.Input<number>;
}

export const PROXY_PORT = 2379;
/** The proxy's pods have it, and no vertex'. */
export const PROXY_LABELS = { "app.kubernetes.io/name": PROXY_NAME };

/** The registry that https://github.com/etcd-io/etcd/releases names first; the version that dev/tools brings. */
export const PROXY_IMAGE = "gcr.io/etcd-development/etcd:v3.6.16";

/** `nobody`: the proxy needs no file of its own, whatever user the image would run it as. */
const NOBODY = 65534;

/** What stands before the proxy and watches over it; its own comment says why there has to be such a thing. */
const FRONT = readFileSync(new URL("../runtime/etcd-proxy-front.cjs", import.meta.url), "utf8");
const FRONT_IMAGE = "docker.io/library/node:24-alpine";
const FRONT_DIRECTORY = "/var/run/ringfence/front";
const CERTIFICATE_DIRECTORY = "/var/run/ringfence/certificate";
const HEALTH_PORT = 8079;
/** Where the proxy itself listens, inside its pod. */
const INNER_PORT = 2380;
/** Well below etcd's 300 s (`--auth-token-ttl`), for looking is what keeps the proxy's token alive. */
const WATCHDOG_INTERVAL_MS = 30_000;
const WATCHDOG_DEADLINE_MS = 5_000;
/** In the tenant's prefix, beside all keys of Dynamo's. */
const WATCHDOG_KEY = "ringfence/etcd-proxy";

/** Inside the tenant's namespace. */
const ENDPOINT = `http://${PROXY_NAME}:${PROXY_PORT}`;

const CONFINED = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"] },
};

/** Of one tenant. */
interface TenantProxyArgs extends EtcdProxyArgs {
  /** The platform's etcd, as pods reach it. */
  upstream: pulumi.Output<string[]>;
  trust: PodTrust | undefined;
  prefix: pulumi.Output<string>;
  /** The tenant's log-in, and a digest that changes with it. */
  secret: k8s.core.v1.Secret;
  credentialsDigest: pulumi.Output<string>;
}

/** What both containers are told. */
interface Told extends TenantProxyArgs {
  /** The platform's etcd, comma-separated. */
  endpoints: pulumi.Output<string>;
  /** Whether they show etcd a certificate. */
  shows: boolean;
  volumeMounts: k8s.types.input.core.v1.VolumeMount[];
}

/**
 * Starts a tenant's proxies. They know no credential of their own: clients log in through them with the tenant's.
 * @returns how the tenant's pods reach them, and what has to be there before a pod can
 */
export function etcdProxy(
  inside: Inside,
  args: TenantProxyArgs,
): { endpoints: pulumi.Output<string[]>; guards: pulumi.Resource[] } {
  const { name, namespace, labels, options } = inside;
  const { trust } = args;
  const selector = { ...PROXY_LABELS };
  const metadata = { name: PROXY_NAME, namespace, labels: { ...labels, ...PROXY_LABELS } };
  const spread = (topologyKey: string) => ({
    topologyKey,
    maxSkew: 1,
    // A cluster of one node or zone runs it all the same.
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels: selector },
  });
  const shown =
    args.certificate &&
    new k8s.core.v1.Secret(
      `${name}-etcd-proxy-certificate`,
      {
        metadata: { name: "etcd-proxy-certificate", namespace, labels },
        type: "kubernetes.io/tls",
        stringData: { "tls.crt": args.certificate.cert, "tls.key": pulumi.secret(args.certificate.key) },
      },
      options,
    );
  const volumes = [
    ...(trust ? [trust.volume] : []),
    ...(shown ? [{ name: "certificate", secret: { secretName: shown.metadata.name } }] : []),
  ];
  const told: Told = {
    ...args,
    endpoints: args.upstream.apply((urls) => urls.join(",")),
    shows: shown !== undefined,
    volumeMounts: [
      ...(trust ? [trust.mount] : []),
      ...(shown ? [{ name: "certificate", mountPath: CERTIFICATE_DIRECTORY, readOnly: true }] : []),
    ],
  };
  const front = new k8s.core.v1.ConfigMap(
    `${name}-etcd-proxy-front`,
    { metadata: { name: "etcd-proxy-front", namespace, labels }, data: { "front.cjs": FRONT } },
    options,
  );

  const deployment = new k8s.apps.v1.Deployment(
    `${name}-etcd-proxy`,
    {
      metadata,
      spec: {
        replicas: args.replicas ?? 2,
        selector: { matchLabels: selector },
        strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
        template: {
          metadata: {
            labels: metadata.labels,
            // What is read once, at the start.
            annotations: {
              [CREDENTIALS_ANNOTATION]: args.credentialsDigest,
              ...(trust && { [TRUST_ANNOTATION]: trust.digest }),
            },
          },
          spec: {
            automountServiceAccountToken: false,
            // It holds no state and does not drain: clients go on to the other one.
            terminationGracePeriodSeconds: 5,
            topologySpreadConstraints: [spread("kubernetes.io/hostname"), spread("topology.kubernetes.io/zone")],
            securityContext: { runAsNonRoot: true, runAsUser: NOBODY, seccompProfile: { type: "RuntimeDefault" } },
            containers: [proxyContainer(told), frontContainer(told)],
            volumes: [{ name: "front", configMap: { name: front.metadata.name } }, ...volumes],
          },
        },
      },
    },
    options,
  );
  const service = new k8s.core.v1.Service(
    `${name}-etcd-proxy-service`,
    {
      // The Deployment's readiness is waited for already.
      metadata: { ...metadata, annotations: { "pulumi.com/skipAwait": "true" } },
      spec: { selector, ports: [{ name: "etcd", port: PROXY_PORT, targetPort: "etcd" }] },
    },
    options,
  );
  new k8s.policy.v1.PodDisruptionBudget(
    `${name}-etcd-proxy-disruption`,
    { metadata, spec: { maxUnavailable: 1, selector: { matchLabels: selector } } },
    options,
  );
  return { endpoints: pulumi.output([ENDPOINT]), guards: [deployment, service] };
}

function proxyContainer({
  image,
  endpoints,
  prefix,
  trust,
  shows,
  volumeMounts,
}: Told): k8s.types.input.core.v1.Container {
  return {
    name: "etcd",
    image: image ?? PROXY_IMAGE,
    command: ["etcd", "grpc-proxy", "start"],
    args: [
      pulumi.interpolate`--endpoints=${endpoints}`,
      pulumi.interpolate`--namespace=${prefix}`,
      `--listen-addr=127.0.0.1:${INNER_PORT}`,
      // What clients that ask for etcd's members are told to use from then on.
      `--advertise-client-url=${ENDPOINT}`,
      // A connection to etcd that a network has forgotten is noticed, instead of watches that hang on it.
      "--dial-keepalive-time=10s",
      "--dial-keepalive-timeout=5s",
      ...(trust?.paths.etcd ? [`--cacert=${trust.paths.etcd}`] : []),
      ...(shows ? [`--cert=${CERTIFICATE_DIRECTORY}/tls.crt`, `--key=${CERTIFICATE_DIRECTORY}/tls.key`] : []),
    ],
    // The front is asked: the proxy's own /health reads as nobody, which an etcd with authentication refuses.
    livenessProbe: { httpGet: { path: "/", port: HEALTH_PORT }, periodSeconds: 10, failureThreshold: 3 },
    // About 30 MiB each, and up to 2048 answers to reads that it keeps.
    resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { memory: "512Mi" } },
    securityContext: CONFINED,
    volumeMounts,
  };
}

/** Clients reach the proxy through it alone. */
function frontContainer({
  frontImage,
  endpoints,
  secret,
  trust,
  shows,
  volumeMounts,
}: Told): k8s.types.input.core.v1.Container {
  const fromSecret = (key: string) => ({ secretKeyRef: { name: secret.metadata.name, key } });
  return {
    name: "front",
    image: frontImage ?? FRONT_IMAGE,
    command: ["node", `${FRONT_DIRECTORY}/front.cjs`],
    env: [
      { name: "PORT", value: String(PROXY_PORT) },
      { name: "PROXY", value: `http://127.0.0.1:${INNER_PORT}` },
      { name: "ETCD_ENDPOINTS", value: endpoints },
      { name: "ETCD_AUTH_USERNAME", valueFrom: fromSecret("username") },
      { name: "ETCD_AUTH_PASSWORD", valueFrom: fromSecret("password") },
      ...(trust?.paths.etcd ? [{ name: "ETCD_CA", value: trust.paths.etcd }] : []),
      ...(shows
        ? [
            { name: "ETCD_CERT", value: `${CERTIFICATE_DIRECTORY}/tls.crt` },
            { name: "ETCD_KEY", value: `${CERTIFICATE_DIRECTORY}/tls.key` },
          ]
        : []),
      { name: "HEALTH_PORT", value: String(HEALTH_PORT) },
      { name: "KEY", value: WATCHDOG_KEY },
      { name: "INTERVAL_MS", value: String(WATCHDOG_INTERVAL_MS) },
      { name: "DEADLINE_MS", value: String(WATCHDOG_DEADLINE_MS) },
    ],
    ports: [{ name: "etcd", containerPort: PROXY_PORT }],
    readinessProbe: { httpGet: { path: "/ready", port: HEALTH_PORT }, periodSeconds: 2 },
    livenessProbe: { tcpSocket: { port: "etcd" }, periodSeconds: 10 },
    resources: { requests: { cpu: "50m", memory: "96Mi" }, limits: { memory: "256Mi" } },
    securityContext: CONFINED,
    volumeMounts: [{ name: "front", mountPath: FRONT_DIRECTORY, readOnly: true }, ...volumeMounts],
  };
}
