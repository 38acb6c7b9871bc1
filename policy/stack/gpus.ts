/** GPUs in other people's manifests: resource names, labels, and the MIG profiles that they name. */
import { slicesOf } from "../../components/plan/mig.ts";
import { entries, text } from "./value.ts";

export const GPU = "nvidia.com/gpu";
export const PRODUCT = "nvidia.com/gpu.product";

/** Whether a resource name is that of whole GPUs, shared ones, or slices. */
export const isGpu = (resource: string): boolean => /^nvidia\.com\/(gpu(\.shared)?|mig-.+)$/.test(resource);

/** Whether a node label names a product: of the GPUs, or of one of their profiles where MIG's strategy is `mixed`. */
export const isProductLabel = (label: string): boolean => /^nvidia\.com\/(gpu|mig-.+)\.product$/.test(label);

/** The product that a node selector asks for. */
export const selectedProduct = (selector: unknown): string | undefined =>
  text(entries(selector).find(([label]) => isProductLabel(label))?.[1]);

/** The MIG profile that a resource name or a product's label names. */
export const profileOf = (name: string): string | undefined =>
  /(?:^nvidia\.com\/mig-|-MIG-)(\d+g\.\d+gb(?:\.me\.all|\.me|\.gfx|-me)?)/i.exec(name)?.[1]?.toLowerCase();

/** The MIG profiles of a product, none for one without MIG; undefined for a product that is not known. */
export function profilesFor(product: string): string[] | undefined {
  const slices = slicesOf(product.replace(/-MIG-.*$|-SHARED$/, ""));
  return slices && Object.keys(slices);
}
