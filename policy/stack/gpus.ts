/** What is known of NVIDIA's GPUs: resource names, and the MIG profiles that each product has. */

export const GPU = "nvidia.com/gpu";
export const PRODUCT = "nvidia.com/gpu.product";

/** Whether a resource name is that of whole GPUs, shared ones, or slices. */
export const isGpu = (resource: string): boolean => /^nvidia\.com\/(gpu(\.shared)?|mig-.+)$/.test(resource);

/** The MIG profile that a resource name or a product's label names. */
export const profileOf = (name: string): string | undefined =>
  /(?:^nvidia\.com\/mig-|-MIG-)(\d+g\.\d+gb(?:\.me)?)/i.exec(name)?.[1]?.toLowerCase();

/** From NVIDIA's MIG user guide; products by their GPU feature discovery label. */
const PROFILES: readonly [product: RegExp, profiles: string][] = [
  [/A30\b/, "1g.6gb 1g.6gb.me 2g.12gb 2g.12gb.me 4g.24gb"],
  [/A100.*40GB/, "1g.5gb 1g.5gb.me 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb"],
  [/A100.*80GB/, "1g.10gb 1g.10gb.me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb"],
  [/A800.*80GB/, "1g.10gb 1g.10gb.me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb"],
  [/H[18]00.*80GB|H800\b/, "1g.10gb 1g.10gb.me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb"],
  [/H100-NVL|H100.*94GB/, "1g.12gb 1g.12gb.me 1g.24gb 2g.24gb 3g.47gb 4g.47gb 7g.94gb"],
  [/H100.*96GB|GH200.*(96GB|480GB)/, "1g.12gb 1g.12gb.me 1g.24gb 2g.24gb 3g.48gb 4g.48gb 7g.96gb"],
  [/H200/, "1g.18gb 1g.18gb.me 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb"],
  [/\bB200/, "1g.23gb 1g.23gb.me 1g.45gb 2g.45gb 3g.90gb 4g.90gb 7g.180gb"],
  [/\b(V100|T4|P100|P40|P4|A2|A10G?|A16|A40|L4|L40S?|RTX-A\d+)\b/, ""],
];

/** The MIG profiles of a product; undefined for a product that is not known here. */
export function profilesFor(product: string): string[] | undefined {
  const found = PROFILES.find(([pattern]) => pattern.test(product.replace(/-MIG-.*$/, "")));
  return found?.[1].split(" ").filter(Boolean);
}
