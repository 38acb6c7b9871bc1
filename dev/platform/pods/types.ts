/** As much of Kubernetes' pods as process pods know. What is not here they ignore, or refuse where it would be missed. */

export interface KeyRef {
  name: string;
  key: string;
  optional?: boolean;
}

export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: {
    secretKeyRef?: KeyRef;
    configMapKeyRef?: KeyRef;
    fieldRef?: { fieldPath: string };
    resourceFieldRef?: { resource: string };
  };
}

interface ObjectRef {
  name: string;
  optional?: boolean;
}

export interface Probe {
  httpGet?: { path?: string; port: number | string; scheme?: string; httpHeaders?: { name: string; value: string }[] };
  initialDelaySeconds?: number;
  periodSeconds?: number;
  timeoutSeconds?: number;
  failureThreshold?: number;
  successThreshold?: number;
}

export interface ContainerSpec {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  env?: EnvVar[];
  envFrom?: { prefix?: string; secretRef?: ObjectRef; configMapRef?: ObjectRef }[];
  ports?: { name?: string; containerPort: number }[];
  volumeMounts?: { name: string; mountPath: string; subPath?: string }[];
  startupProbe?: Probe;
  livenessProbe?: Probe;
  readinessProbe?: Probe;
  lifecycle?: { preStop?: { sleep?: { seconds: number } } };
  /** Of an init container: `Always` makes it a sidecar. */
  restartPolicy?: "Always";
}

interface Item {
  key: string;
  path: string;
}

interface FieldItem {
  path: string;
  fieldRef?: { fieldPath: string };
}

/** What one source puts into a volume. */
export interface Source {
  secret?: { secretName?: string; name?: string; items?: Item[]; optional?: boolean };
  configMap?: { name: string; items?: Item[]; optional?: boolean };
  downwardAPI?: { items?: FieldItem[] };
  serviceAccountToken?: { path: string; audience?: string };
}

export interface Volume extends Source {
  name: string;
  emptyDir?: object;
  projected?: { sources?: Source[] };
}

export interface Condition {
  type: string;
  status: "True" | "False" | "Unknown";
  lastTransitionTime?: string;
  reason?: string | null;
  message?: string | null;
}

export interface ContainerState {
  waiting?: { reason: string; message?: string };
  running?: { startedAt: string };
  terminated?: {
    exitCode: number;
    signal?: number;
    reason: string;
    message?: string;
    startedAt?: string;
    finishedAt: string;
  };
}

export interface ContainerStatus {
  name: string;
  image: string;
  imageID: string;
  containerID?: string;
  ready: boolean;
  started: boolean;
  restartCount: number;
  state: ContainerState;
  lastState: ContainerState;
}

export interface Pod {
  metadata: {
    name: string;
    namespace: string;
    uid: string;
    resourceVersion: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    deletionTimestamp?: string;
    deletionGracePeriodSeconds?: number;
  };
  spec: {
    nodeName?: string;
    serviceAccountName?: string;
    restartPolicy?: "Always" | "OnFailure" | "Never";
    terminationGracePeriodSeconds?: number;
    containers: ContainerSpec[];
    initContainers?: ContainerSpec[];
    readinessGates?: { conditionType: string }[];
    volumes?: Volume[];
  };
  status?: {
    phase?: string;
    podIP?: string;
    startTime?: string;
    conditions?: Condition[];
    containerStatuses?: ContainerStatus[];
    initContainerStatuses?: ContainerStatus[];
  };
}

/** One request to the API server as the administrator; what is patched is applied unless its type is given. @throws ApiError */
export type Api = <T>(method: string, path: string, body?: object, contentType?: string) => Promise<T>;
