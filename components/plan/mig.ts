/**
 * Which slices NVIDIA's Multi-Instance GPU cuts each product into. From NVIDIA's MIG user guide ("Supported MIG Profiles")
 * and the configurations that its MIG manager ships for what the guide leaves out (NVIDIA/mig-parted,
 * deployments/systemd/config-default.yaml). Profiles are written as the device plugin writes them into resource names
 * and labels: a dot where `nvidia-smi` has a plus (`1g.10gb.me`).
 */

/** By profile: how many of it one GPU holds when it is cut into nothing else. */
type Slices = Record<string, number>;

/**
 * GPUs of seven compute and eight memory slices.
 * @param small a seventh with an eighth of the memory
 * @param large a seventh with a quarter of it, which two sevenths have too
 */
const sevenths = (small: string, large: string, half: string, whole: string): Slices => ({
  [`1g.${small}`]: 7,
  [`1g.${small}.me`]: 1,
  [`1g.${large}`]: 4,
  [`2g.${large}`]: 3,
  [`3g.${half}`]: 2,
  [`4g.${half}`]: 1,
  [`7g.${whole}`]: 1,
});

const NONE: Slices = {};

/** By products as GPU feature discovery labels them; the first that fits counts. */
const PRODUCTS: readonly [product: RegExp, slices: Slices][] = [
  [/\bA30\b/, { "1g.6gb": 4, "1g.6gb.me": 1, "2g.12gb": 2, "2g.12gb.me": 1, "4g.24gb": 1 }],
  [/\bA[18]00\b.*40GB/, sevenths("5gb", "10gb", "20gb", "40gb")],
  [/\bA[18]00\b.*80GB/, sevenths("10gb", "20gb", "40gb", "80gb")],
  [/\bH[18]00\b.*(NVL|94GB)/, sevenths("12gb", "24gb", "47gb", "94gb")],
  [/\bH100\b.*96GB|\bH20$|\bGH200\b.*(96GB|480GB)/, sevenths("12gb", "24gb", "48gb", "96gb")],
  [/\bH[18]00\b.*(80GB|PCIe)|\bH800$/, sevenths("10gb", "20gb", "40gb", "80gb")],
  [/\bGH200\b.*144G/, sevenths("18gb", "36gb", "72gb", "144gb")],
  [/\bH200\b/, sevenths("18gb", "35gb", "71gb", "141gb")],
  [/\bB200\b/, sevenths("23gb", "45gb", "90gb", "180gb")],
  // Two sizes, by the driver.
  [/\bGB200\b/, { ...sevenths("23gb", "47gb", "93gb", "186gb"), ...sevenths("24gb", "47gb", "95gb", "189gb") }],
  [/\bB300\b/, sevenths("34gb", "67gb", "135gb", "269gb")],
  [/\bGB300\b/, sevenths("35gb", "70gb", "139gb", "278gb")],
  [
    /\bRTX-PRO-6000-Blackwell\b/,
    {
      "1g.24gb": 4,
      "1g.24gb.me": 1,
      "1g.24gb.me.all": 1,
      "1g.24gb-me": 4,
      "1g.24gb.gfx": 4,
      "2g.48gb": 2,
      "2g.48gb.me.all": 1,
      "2g.48gb-me": 2,
      "2g.48gb.gfx": 2,
      "4g.96gb": 1,
      "4g.96gb.gfx": 1,
    },
  ],
  [/\b(V100|T4|P100|P40|P4|A2|A10G?|A16|A40|L4|L40S?|RTX-A\d+)\b/, NONE],
];

/** The MIG profiles of a product, none for one without MIG; undefined for a product that is not known here. */
export function slicesOf(product: string): Readonly<Slices> | undefined {
  return PRODUCTS.find(([pattern]) => pattern.test(product))?.[1];
}
