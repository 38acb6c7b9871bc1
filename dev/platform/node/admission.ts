/**
 * Sends the pods of the demo's image to the real node: a webhook that gives each such pod the node's label to select and its taint to
 * tolerate, as they are created. While nobody answers, they go to the simulated nodes, as process pods.
 */
import { once } from "node:events";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { issue, makeAuthority } from "../certificates.ts";
import { read } from "../files.ts";
import type { Api } from "../pods/types.ts";
import { LABEL } from "./config.ts";
import { DEMO_IMAGE } from "./image.ts";

export const WEBHOOK_PATH =
  "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/real-node.ringfence.dev";

interface Review {
  request: { uid: string; object: { spec: { tolerations?: object[] } } };
}

/** Starts it, and tells the API server. @param directory for its certificates */
export async function admitPods(api: Api, directory: string): Promise<Server> {
  const authority = makeAuthority(directory);
  const { cert, key } = issue(directory, "webhook", "/CN=ringfence-real-node");
  const server = createServer({ cert: read(cert), key: read(key) }, async (request, response) => {
    try {
      const { request: asked } = (await json(request)) as Review;
      const body = JSON.stringify({
        apiVersion: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response: { uid: asked.uid, allowed: true, patchType: "JSONPatch", patch: patchOf(asked.object.spec) },
      });
      response.writeHead(200, { "content-type": "application/json" }).end(body);
    } catch (error) {
      response.writeHead(400).end((error as Error).message);
    }
  });
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await api("PATCH", `${WEBHOOK_PATH}?fieldManager=ringfence-dev&force=true`, {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "MutatingWebhookConfiguration",
    metadata: { name: WEBHOOK_PATH.split("/").at(-1) },
    webhooks: [
      {
        name: WEBHOOK_PATH.split("/").at(-1),
        clientConfig: {
          url: `https://127.0.0.1:${port}/`,
          caBundle: Buffer.from(read(authority.cert) ?? "").toString("base64"),
        },
        rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"] }],
        matchConditions: [
          { name: "demo", expression: `object.spec.containers.all(c, c.image == "${DEMO_IMAGE}")` },
          // Whoever chose a node or a pool means that one.
          {
            name: "free",
            expression: '!has(object.spec.nodeSelector) && (!has(object.spec.nodeName) || object.spec.nodeName == "")',
          },
        ],
        failurePolicy: "Ignore",
        sideEffects: "None",
        timeoutSeconds: 5,
        admissionReviewVersions: ["v1"],
      },
    ],
  });
  return server;
}

function patchOf({ tolerations = [] }: { tolerations?: object[] }): string {
  const toleration = { key: LABEL, operator: "Exists", effect: "NoSchedule" };
  const patch = [
    { op: "add", path: "/spec/nodeSelector", value: { [LABEL]: "true" } },
    { op: "add", path: "/spec/tolerations", value: [...tolerations, toleration] },
  ];
  return Buffer.from(JSON.stringify(patch)).toString("base64");
}
