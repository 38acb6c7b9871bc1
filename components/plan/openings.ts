/**
 * What a vertex may be asked, and may ask for, across the network beyond what every vertex may: DNS, the stores of its
 * planes, and the other vertices' openings.
 */
export type NetworkOpening =
  /** Connections to its pods: from the tenant's other vertices, or from any pod of the cluster. */
  | {
      vertex: string;
      from: "tenant" | "cluster";
      /** TCP. @default every port and protocol, for software that binds ports as it likes (UCX, ZeroMQ) */
      ports?: number[];
    }
  /** Connections that it makes to anywhere, inside and outside the cluster, for example for a model's download. */
  | { vertex: string; to: "world"; ports: number[] };
