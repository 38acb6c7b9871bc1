/**
 * Manifests in the style of what people run beside and instead of Ringfence, each with the verdicts wanted for it. Most
 * are fine, and a pack that says otherwise is switched off within a week.
 */
import { parseAllDocuments } from "yaml";
import { object } from "./sketches.ts";
import type { Sketch } from "./stack.ts";

export interface Specimen {
  title: string;
  stack: Sketch[];
  /** Policy → how many violations. */
  wanted: Record<string, number>;
}

const manifests = (text: string): Sketch[] =>
  parseAllDocuments(text).map((document) => {
    const manifest = document.toJS();
    const { kind, metadata } = manifest;
    return object(manifest, `${metadata.namespace ?? ""}/${kind}/${metadata.name}`);
  });

export const corpus: Specimen[] = [
  {
    title: "a Dynamo graph by its operator, native planes (v1alpha1)",
    wanted: {},
    stack: manifests(`
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata: {name: vllm-disagg-router, namespace: serving}
spec:
  services:
    Frontend:
      componentType: frontend
      replicas: 1
      envs: [{name: DYN_ROUTER_MODE, value: kv}]
      extraPodSpec: {mainContainer: {image: "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0"}}
    VllmDecodeWorker:
      envFromSecret: hf-token-secret
      componentType: worker
      replicas: 2
      resources: {limits: {gpu: "1"}}
      extraPodSpec:
        mainContainer:
          image: nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0
          workingDir: /workspace/examples/backends/vllm
          command: [python3, -m, dynamo.vllm]
          args: [--model, Qwen/Qwen3-0.6B, --is-decode-worker]
    VllmPrefillWorker:
      envFromSecret: hf-token-secret
      componentType: worker
      replicas: 2
      resources: {limits: {gpu: "1"}}
      extraPodSpec:
        mainContainer:
          image: nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0
          command: [python3, -m, dynamo.vllm]
          args: [--model, Qwen/Qwen3-0.6B, --is-prefill-worker]
`),
  },
  {
    title: "two Dynamo graphs by the operator in two namespaces, native planes (v1beta1)",
    wanted: {},
    stack: ["team-a", "team-b"].flatMap((namespace) =>
      manifests(`
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: vllm-agg, namespace: ${namespace}}
spec:
  components:
  - name: Frontend
    type: frontend
    replicas: 1
    podTemplate: {spec: {containers: [{name: main, image: "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0"}]}}
  - name: VllmDecodeWorker
    type: decode
    replicas: 1
    podTemplate:
      spec:
        containers:
        - name: main
          image: nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0
          command: [python3]
          args: [-m, dynamo.vllm, --model, Qwen/Qwen3-0.6B]
          envFrom: [{secretRef: {name: hf-token-secret}}]
          resources: {limits: {nvidia.com/gpu: "1"}}
`),
    ),
  },
  {
    title: "two Dynamo graphs whose names begin alike, in one namespace",
    wanted: { "dynamo-namespaces": 2 },
    stack: ["chat", "chat-large"].flatMap((name) =>
      manifests(`
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata: {name: ${name}, namespace: serving}
spec:
  services:
    Frontend:
      componentType: frontend
      extraPodSpec: {mainContainer: {image: "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0"}}
    Worker:
      componentType: worker
      extraPodSpec: {mainContainer: {image: "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0", command: [python3, -m, dynamo.vllm]}}
`),
    ),
  },
  {
    title: "a Dynamo graph with a frontend that sees every model",
    wanted: { "dynamo-namespaces": 1 },
    stack: manifests(`
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata: {name: shared-frontend, namespace: serving}
spec:
  services:
    Frontend:
      componentType: frontend
      globalDynamoNamespace: true
      extraPodSpec: {mainContainer: {image: "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0"}}
`),
  },
  {
    title: "a brokered Dynamo graph on the platform's etcd, as the operator's chart installs it",
    wanted: { "brokered-dynamo-through-proxy": 2, "authenticated-stores": 0 },
    stack: manifests(`
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata:
  name: vllm-agg
  namespace: serving
  annotations: {nvidia.com/dynamo-discovery-backend: etcd}
spec:
  envs:
  - {name: ETCD_ENDPOINTS, value: "https://dynamo-platform-etcd.dynamo-system.svc.cluster.local:2379"}
  - {name: NATS_SERVER, value: "tls://dynamo-platform-nats.dynamo-system.svc.cluster.local:4222"}
  services:
    Frontend:
      componentType: frontend
      extraPodSpec: {mainContainer: {image: "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0"}}
    Worker:
      componentType: worker
      extraPodSpec: {mainContainer: {image: "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0", command: [python3, -m, dynamo.vllm]}}
`),
  },
  {
    title: "brokered Dynamo by hand, through a proxy in its namespace, done well",
    wanted: {},
    stack: manifests(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: etcd-proxy, namespace: llama}
spec:
  replicas: 2
  selector: {matchLabels: {app: etcd-proxy}}
  template:
    metadata: {labels: {app: etcd-proxy}}
    spec:
      containers:
      - name: proxy
        image: gcr.io/etcd-development/etcd:v3.6.16
        command: [etcd, grpc-proxy, start]
        args: [--namespace=/teams/llama/, "--endpoints=https://etcd.platform.svc:2379", "--listen-addr=0.0.0.0:2379"]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend, namespace: llama}
spec:
  replicas: 2
  selector: {matchLabels: {app: frontend}}
  template:
    metadata: {labels: {app: frontend}}
    spec:
      terminationGracePeriodSeconds: 120
      containers:
      - name: frontend
        image: nvcr.io/nvidia/ai-dynamo/dynamo-frontend:1.4.0
        command: [python3, -m, dynamo.frontend]
        env: &stores
        - {name: DYN_NAMESPACE, value: llama}
        - {name: DYN_DISCOVERY_BACKEND, value: etcd}
        - {name: DYN_MIGRATION_LIMIT, value: "3"}
        - {name: ETCD_LEASE_TTL, value: "10"}
        - {name: ETCD_ENDPOINTS, value: "http://etcd-proxy:2379"}
        - {name: ETCD_AUTH_USERNAME, valueFrom: {secretKeyRef: {name: etcd, key: username}}}
        - {name: ETCD_AUTH_PASSWORD, valueFrom: {secretKeyRef: {name: etcd, key: password}}}
        - {name: NATS_SERVER, value: "tls://nats.platform.svc:4222"}
        - {name: NATS_AUTH_CREDENTIALS_FILE, value: /creds/nats.creds}
        livenessProbe: {httpGet: {path: /live, port: 8000}}
        readinessProbe: {httpGet: {path: /health, port: 8000}}
        lifecycle: {preStop: {exec: {command: [sleep, "10"]}}}
        volumeMounts: [{name: nats, mountPath: /creds}]
      volumes: [{name: nats, secret: {secretName: nats-frontend}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: frontend, namespace: llama}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: frontend}}}
`),
  },
  {
    title: "Dynamo by hand as tutorials have it: a shell, an open etcd, no namespace",
    wanted: {
      "dynamo-namespaces": 1,
      "brokered-dynamo-through-proxy": 1,
      "authenticated-stores": 4,
      "restart-safety": 3,
      "gpu-scheduling": 1,
    },
    stack: manifests(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: vllm-worker, namespace: demo}
spec:
  replicas: 1
  selector: {matchLabels: {app: vllm-worker}}
  template:
    metadata: {labels: {app: vllm-worker}}
    spec:
      containers:
      - name: worker
        image: nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0
        command: [/bin/sh, -c]
        args: ["python3 -m dynamo.vllm --model Qwen/Qwen3-0.6B 2>&1 | tee /tmp/worker.log"]
        env:
        - {name: ETCD_ENDPOINTS, value: "http://etcd.dynamo-system:2379"}
        - {name: NATS_SERVER, value: "nats://nats.dynamo-system:4222"}
        resources: {limits: {nvidia.com/gpu: "1"}}
`),
  },
  {
    title: "a NumaFlow pipeline with its buffer service",
    wanted: {},
    stack: manifests(`
apiVersion: numaflow.numaproj.io/v1alpha1
kind: InterStepBufferService
metadata: {name: default, namespace: streams}
spec:
  jetstream: {version: latest, replicas: 3, persistence: {volumeSize: 3Gi, accessMode: ReadWriteOnce}}
---
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {name: even-odd, namespace: streams}
spec:
  lifecycle: {desiredPhase: Running, pauseGracePeriodSeconds: 60}
  vertices:
  - name: in
    scale: {min: 1, max: 1}
    source: {http: {auth: {token: {name: http-source-token, key: token}}}}
  - name: even-or-odd
    scale: {min: 1, max: 5}
    containerTemplate: {env: [{name: NUMAFLOW_DEBUG, value: "true"}]}
    udf: {container: {image: "quay.io/numaio/numaflow-go/map-even-odd:stable", args: [--keys, "even,odd"]}}
  - name: sink
    scale: {min: 1, max: 1}
    sink: {log: {}}
  edges: [{from: in, to: even-or-odd}, {from: even-or-odd, to: sink}]
`),
  },
  {
    title: "a NumaFlow vertex whose bounds are the wrong way round",
    wanted: { "lifecycle-agreement": 1 },
    stack: manifests(`
apiVersion: numaflow.numaproj.io/v1alpha1
kind: Pipeline
metadata: {name: wrong, namespace: streams}
spec:
  vertices: [{name: cat, scale: {min: 5, max: 2}, udf: {container: {image: "quay.io/numaio/numaflow-go/map-cat:stable"}}}]
`),
  },
  {
    title: "a KServe InferenceService on a GPU, with its storage credentials",
    wanted: {},
    stack: manifests(`
apiVersion: v1
kind: Secret
metadata: {name: storage-config, namespace: models}
type: Opaque
stringData:
  AWS_ACCESS_KEY_ID: AKIAIOSFODNN7EXAMPLE
  AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: storage, namespace: models}
secrets: [{name: storage-config}]
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: huggingface-llama3
  namespace: models
  annotations: {serving.kserve.io/deploymentMode: RawDeployment, serving.kserve.io/autoscalerClass: hpa}
spec:
  predictor:
    minReplicas: 1
    maxReplicas: 3
    serviceAccountName: storage
    model:
      modelFormat: {name: huggingface}
      args: [--model_name=llama3, --max_model_len=4096, --tokenizer_revision=main]
      storageUri: hf://meta-llama/meta-llama-3-8b-instruct
      env:
      - {name: HF_TOKEN, valueFrom: {secretKeyRef: {name: hf-secret, key: HF_TOKEN, optional: false}}}
      resources: {limits: {cpu: "6", memory: 24Gi, nvidia.com/gpu: "1"}}
---
apiVersion: serving.kserve.io/v1alpha1
kind: ServingRuntime
metadata: {name: vllm, namespace: models}
spec:
  containers:
  - name: kserve-container
    image: vllm/vllm-openai:v0.10.0
    command: [python3, -m, vllm.entrypoints.openai.api_server]
    args: ["--port=8080", "--model=/mnt/models", "--served-model-name={{.Name}}", "--seed=42"]
    resources: {limits: {nvidia.com/gpu: "1"}}
`),
  },
  {
    title: "the GPU operator: a policy, agents on every GPU node, a test pod",
    wanted: {},
    stack: manifests(`
apiVersion: nvidia.com/v1
kind: ClusterPolicy
metadata: {name: cluster-policy}
spec:
  driver: {enabled: true, version: "570.86.15"}
  toolkit: {enabled: true, env: [{name: CONTAINERD_SOCKET, value: /run/containerd/containerd.sock}]}
  devicePlugin: {config: {name: time-slicing-config, default: any}}
  mig: {strategy: mixed}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: time-slicing-config, namespace: gpu-operator}
data:
  any: |
    version: v1
    sharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 4}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: nvidia-device-plugin-daemonset, namespace: gpu-operator}
spec:
  selector: {matchLabels: {app: nvidia-device-plugin-daemonset}}
  template:
    metadata: {labels: {app: nvidia-device-plugin-daemonset}}
    spec:
      nodeSelector: {nvidia.com/gpu.deploy.device-plugin: "true"}
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
      initContainers: [{name: toolkit-validation, image: "nvcr.io/nvidia/gpu-operator:v25.3.0", command: [sh, -c], args: ["until [ -f /run/nvidia/validations/toolkit-ready ]; do sleep 5; done"]}]
      containers:
      - name: nvidia-device-plugin
        image: nvcr.io/nvidia/k8s-device-plugin:v0.17.1
        command: [bash, -c]
        args: ["/bin/entrypoint.sh"]
        env: [{name: MIG_STRATEGY, value: mixed}, {name: NVIDIA_MIG_MONITOR_DEVICES, value: all}]
---
apiVersion: v1
kind: Pod
metadata: {name: cuda-vectoradd, namespace: gpu-operator}
spec:
  restartPolicy: OnFailure
  tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
  containers: [{name: vectoradd, image: "nvcr.io/nvidia/k8s/cuda-sample:vectoradd-cuda12.5.0", resources: {limits: {nvidia.com/gpu: 1}}}]
`),
  },
  {
    title: "an ordinary web stack: certificates, probes, a database with its own namespace",
    wanted: {},
    stack: manifests(`
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-root-ca.crt, namespace: shop}
data:
  ca.crt: |
    -----BEGIN CERTIFICATE-----
    MIIBdzCCAR2gAwIBAgIBADAKBggqhkjOPQQDAjAjMSEwHwYDVQQDDBhrM3Mtc2Vy
    -----END CERTIFICATE-----
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data:
  application.yaml: |
    database: {url: "postgres://shop@db.postgres.svc:5432/shop", passwordFile: /run/secrets/db/password}
    password: \${DB_PASSWORD}
    tokens: {max: 4096, secretName: shop-token}
  password-policy: strict
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  namespace: shop
  annotations: {reloader.stakater.com/auto: "true", checksum/config: 5f2c7a9d0b}
spec:
  replicas: 3
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - name: shop
        image: registry.example.com/shop@sha256:0d17b565c37bcbd895e9d92315a05c1c3c9a29f762b011a10c54a66cd53c9b31
        command: [sh, -c, "node server.js"]
        args: []
        env:
        - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
        - {name: DB_PASSWORD_FILE, value: /run/secrets/db/password}
        - {name: REDIS_URL, value: "redis://:$(REDIS_PASSWORD)@redis.cache.svc:6379"}
        - {name: TOKEN_TTL_SECONDS, value: "3600"}
        - {name: RANDOM_SEED, value: "20240131235959"}
        - {name: SECRET_NAME, value: shop-token}
---
apiVersion: v1
kind: Service
metadata: {name: legacy-db, namespace: shop}
spec: {ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: legacy-db, namespace: shop}
subsets: [{addresses: [{ip: 10.0.0.12}], ports: [{port: 5432}]}]
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: archive}
spec: {persistentVolumeReclaimPolicy: Retain, capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /archive}, claimRef: {namespace: shop, name: archive}}
`),
  },
];
