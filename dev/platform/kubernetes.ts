/**
 * The platform's Kubernetes: a real apiserver, controller manager and scheduler, and kwok, which plays the kubelets of
 * the nodes in nodes.yaml by the rules in stages.yaml. No container runs there (see process-pods.ts and node/ for what does);
 * everything else is as on a cluster.
 */
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "yaml";
import { keep, randomSecret, read, write } from "./files.ts";
import { layout } from "./layout.ts";
import { simulatedNodes } from "./nodes.ts";
import type { Ports } from "./ports.ts";
import { httpRequest } from "./request.ts";
import type { Server } from "./server.ts";

/** Seconds for one request. */
const deadline = 10;
const dayMs = 86_400_000;

/** The users of the apiserver, by the names that its bootstrap roles know; kwok acts for every kubelet at once. */
const users = [
  { file: "admin", user: "admin", group: "system:masters" },
  { file: "kube-controller-manager", user: "system:kube-controller-manager", group: "" },
  { file: "kube-scheduler", user: "system:kube-scheduler", group: "" },
  { file: "kwok", user: "kwok", group: "system:masters" },
];

/** Where the apiserver listens. */
export const apiEndpoint = (ports: Ports): string => `https://127.0.0.1:${ports["kube-apiserver"]}`;

/** The servers in the order of their starts: the apiserver, then those that work against it. */
export function kubernetesServers(home: string, ports: Ports): [Server, Server[]] {
  const { kubeconfigOf, serviceAccountKey, tokens } = layout(home);
  const { certificate, key, directory } = serving(home);
  const endpoint = apiEndpoint(ports);
  const api = <T>(method: string, path: string, body?: object) => call<T>({ home, endpoint, method, path, body });
  // They answer /healthz by the apiserver's own certificate: it names 127.0.0.1, and making more takes RSA time.
  const health = (name: "kube-controller-manager" | "kube-scheduler") => ({
    name,
    tool: name,
    ports: [name],
    flags: [
      "--bind-address=127.0.0.1",
      `--secure-port=${ports[name]}`,
      `--tls-cert-file=${certificate}`,
      `--tls-private-key-file=${key}`,
      `--kubeconfig=${kubeconfigOf(name)}`,
      "--leader-elect=false",
      "--profiling=false",
    ],
    healthy: () => call({ home, endpoint: `https://127.0.0.1:${ports[name]}`, method: "GET", path: "/healthz" }),
  });
  const manager = health("kube-controller-manager");
  const scheduler = health("kube-scheduler");

  return [
    {
      name: "kube-apiserver",
      tool: "kube-apiserver",
      ports: ["kube-apiserver"],
      endpoint,
      args: [
        `--etcd-servers=http://127.0.0.1:${ports["kubernetes-etcd"]}`,
        "--bind-address=127.0.0.1",
        `--secure-port=${ports["kube-apiserver"]}`,
        "--advertise-address=127.0.0.1",
        // A loopback address is refused as an Endpoint of the `kubernetes` Service.
        "--endpoint-reconciler-type=none",
        `--cert-dir=${directory}`,
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        `--service-account-signing-key-file=${serviceAccountKey}`,
        `--service-account-key-file=${serviceAccountKey}`,
        `--token-auth-file=${tokens}`,
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--profiling=false",
      ],
      prepare: async () => {
        discardUnusableCertificate(home);
        keep(serviceAccountKey, makeEcKey);
        keep(tokens, makeTokens);
      },
      ready: async () => {
        await api("GET", "/readyz");
        writeKubeconfigs(home, endpoint);
      },
    },
    [
      {
        ...manager,
        args: [
          ...manager.flags,
          "--use-service-account-credentials=true",
          `--root-ca-file=${certificate}`,
          `--service-account-private-key-file=${serviceAccountKey}`,
          // Its own client's default of 20 requests a second makes its start take 6 s instead of 1.7.
          "--kube-api-qps=500",
          "--kube-api-burst=1000",
        ],
        ready: async () => {
          await manager.healthy();
          await api("GET", "/api/v1/namespaces/default/serviceaccounts/default");
        },
      },
      {
        ...scheduler,
        args: [...scheduler.flags, "--kube-api-qps=500", "--kube-api-burst=1000"],
        ready: async () => {
          await scheduler.healthy();
        },
      },
      {
        name: "kwok",
        tool: "kwok",
        ports: [],
        args: [
          `--kubeconfig=${kubeconfigOf("kwok")}`,
          `--config=${fileURLToPath(new URL("./stages.yaml", import.meta.url))}`,
          // Not every node, so that a real one can join.
          "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
          // kwok's own default is no lease at all, and then the nodes turn NotReady every 50 s.
          "--node-lease-duration-seconds=40",
        ],
        prepare: () => handOverLeases(api),
        ready: async () => {
          await Promise.all([assertNodes(api), applyCrd(api)]);
        },
      },
    ],
  ];
}

type Api = <T>(method: string, path: string, body?: object) => Promise<T>;

const leasePath = (node: string) => `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${node}`;

/** A new kwok has a new identity and would wait up to 40 s for its dead predecessor's leases to run out. */
async function handOverLeases(api: Api): Promise<void> {
  await Promise.all(
    simulatedNodes().map(({ metadata }) =>
      api("DELETE", leasePath(metadata.name)).catch((error: Error) => {
        if (!error.message.includes("not found")) throw error;
      }),
    ),
  );
}

/** Applies the nodes, then asks that each is ready and really held by the kwok that runs. */
async function assertNodes(api: Api): Promise<void> {
  await Promise.all(
    simulatedNodes().map(async (node) => {
      const { name } = node.metadata;
      type Status = { status: { conditions?: { type: string; status: string }[] } };
      const found = await api<Status>("PATCH", `/api/v1/nodes/${name}?fieldManager=ringfence-dev&force=true`, node);
      if (!found.status.conditions?.some(({ type, status }) => type === "Ready" && status === "True"))
        throw new Error(`node ${name} is not Ready`);
      await api("GET", leasePath(name));
    }),
  );
}

/** Applies crds.yaml, which is one document. */
async function applyCrd(api: Api): Promise<void> {
  const crd = parse(readFileSync(new URL("./crds.yaml", import.meta.url), "utf8")) as { metadata: { name: string } };
  const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${crd.metadata.name}`;
  await api("PATCH", `${path}?fieldManager=ringfence-dev&force=true`, crd);
}

/** The apiserver makes its serving certificate itself: valid a year, for 127.0.0.1, with its CA in the same file. */
function serving(home: string) {
  const directory = join(layout(home).credentials, "kube-apiserver");
  return { directory, certificate: join(directory, "apiserver.crt"), key: join(directory, "apiserver.key") };
}

/** It refuses half a pair, as a kill leaves it, and would go on serving an expired one. */
function discardUnusableCertificate(home: string): void {
  const { directory, certificate, key } = serving(home);
  try {
    const parsed = new X509Certificate(read(certificate) ?? "");
    const lasts = parsed.validToDate.getTime() - Date.now() > 30 * dayMs;
    if (lasts && parsed.checkPrivateKey(createPrivateKey(read(key) ?? ""))) return;
  } catch {
    // missing or cut short
  }
  rmSync(directory, { recursive: true, force: true });
}

function makeEcKey(): string {
  return generateKeyPairSync("ec", {
    namedCurve: "P-256",
    privateKeyEncoding: { type: "sec1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  }).privateKey;
}

const makeTokens = () => users.map(({ user, group }) => `${randomSecret()},${user},${user},${group}\n`).join("");

function tokenOf(home: string, user: string): string {
  const line = (read(layout(home).tokens) ?? "").split("\n").find((row) => row.split(",")[1] === user);
  return line?.split(",")[0] ?? "";
}

function writeKubeconfigs(home: string, server: string): void {
  const { kubeconfig, kubeconfigOf } = layout(home);
  const authority = Buffer.from(read(serving(home).certificate) ?? "").toString("base64");
  for (const { file, user } of users) {
    const text = stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "ringfence-dev", cluster: { server, "certificate-authority-data": authority } }],
      users: [{ name: user, user: { token: tokenOf(home, user) } }],
      contexts: [{ name: "ringfence-dev", context: { cluster: "ringfence-dev", user } }],
      "current-context": "ringfence-dev",
    });
    write(file === "admin" ? kubeconfig : kubeconfigOf(file), text);
  }
}

/** What the API server refused. */
export class ApiError extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

/** What a request as the administrator needs; read anew each time, for both files may be made anew. */
export function adminAccess(home: string): { ca: string; headers: { authorization: string } } {
  const ca = read(serving(home).certificate);
  if (ca === undefined) throw new Error("the apiserver has not made its certificate yet");
  return { ca, headers: { authorization: `Bearer ${tokenOf(home, "admin")}` } };
}

/**
 * One request as the administrator.
 * @param contentType of the body @default JSON; what is patched is applied server-side
 * @throws ApiError for an answer that is none of success
 */
export async function call<T>(options: {
  home: string;
  endpoint: string;
  method: string;
  path: string;
  body?: object | undefined;
  contentType?: string | undefined;
}): Promise<T> {
  const { home, endpoint, method, path, body } = options;
  const { contentType = method === "PATCH" ? "application/apply-patch+yaml" : "application/json" } = options;
  const url = `${endpoint}${path}`;
  const { ca, headers } = adminAccess(home);
  const asked = { method, ca, headers: { ...headers, ...(body && { "content-type": contentType }) }, body };
  const answer = await httpRequest(url, { ...asked, within: deadline }).catch((error: Error) => {
    throw new Error(`${method} ${url}: ${error.message}`);
  });
  if (answer.status < 300) return answer.body as T;
  const said =
    typeof answer.body === "string" ? answer.body.slice(0, 200) : (answer.body as { message: string }).message;
  throw new ApiError(`${method} ${url}: ${answer.status} ${said}`, answer.status);
}
