/** What Prometheus reads of a pipeline's pods. */
import { FRONTEND, type Planes, type PlanesInput, planesOf } from "../planes.ts";

/** What there is to observe of a pipeline. */
export interface Observable {
  /** Names of ports that serve `/metrics`. */
  ports: string[];
  /** Of its Dynamo; undefined for a pipeline without one, which has none of Dynamo's metrics. */
  planes: Planes | undefined;
}

interface Served {
  component?: string | undefined;
  ports?: Record<string, unknown> | undefined;
}

/**
 * By convention: Dynamo's frontend has its metrics beside its API on `http`, its workers on `system`, and whatever else
 * has a port `metrics` has them there.
 */
export function observable(vertices: Record<string, Served>, planes: PlanesInput = "brokered"): Observable {
  const served = Object.values(vertices).flatMap(({ component, ports = {} }) => {
    const own = component === undefined ? [] : [component === FRONTEND ? "http" : "system"];
    return [...own, "metrics"].filter((port) => Object.hasOwn(ports, port));
  });
  const dynamo = Object.values(vertices).some(({ component }) => component !== undefined);
  return { ports: [...new Set(served)].sort(), planes: dynamo ? planesOf(planes) : undefined };
}
