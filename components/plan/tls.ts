/** What a client needs for TLS, as texts in PEM. Its key is a secret, and any of it may be pasted into the wrong place. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { z } from "zod";

/** Certificates one after another, or what is no certificate. */
const BLOCKS = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

const holds = (read: () => unknown): boolean => {
  try {
    read();
    return true;
  } catch {
    return false;
  }
};

/** Nothing else is asked of what cannot be read. */
const refusal = (error: string) => ({ error, abort: true });

const certificates = z.string().refine((text) => {
  const blocks = text.match(BLOCKS) ?? [];
  return blocks.length > 0 && blocks.every((block) => holds(() => new X509Certificate(block)));
}, refusal("expected certificates in PEM (-----BEGIN CERTIFICATE-----)"));

const privateKey = z
  .string()
  .refine(
    (text) => holds(() => createPrivateKey(text)),
    refusal("expected a private key in PEM, without a passphrase"),
  );

interface Pair {
  cert?: string | undefined;
  key?: string | undefined;
}

function judgePair({ cert, key }: Pair, context: z.RefinementCtx): void {
  if (cert && key && !new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
    context.addIssue({
      code: "custom",
      path: ["key"],
      message: "expected the private key of cert; this one is another's",
    });
}

/** A certificate to show, and its private key. */
export const certificateSpec = z.strictObject({ cert: certificates, key: privateKey }).superRefine(judgePair);

export const tlsSpec = z
  .strictObject({
    /** The authorities that signed the servers' certificates; those that Node.js trusts when left out. */
    ca: certificates.optional(),
    /** The client's certificate, where the servers require one. */
    cert: certificates.optional(),
    /** The private key of `cert`. */
    key: privateKey.optional(),
  })
  .superRefine(({ cert, key }, context) => {
    const problem = (path: "cert" | "key", message: string) =>
      context.addIssue({ code: "custom", path: [path], message });
    if (cert && !key) problem("key", "expected the private key of cert");
    if (key && !cert) problem("cert", "expected the certificate of key");
    judgePair({ cert, key }, context);
  });

/**
 * Refuses addresses that disagree with `tls`, or with each other: the log-in would go out in plain text.
 * @param lists the addresses, by the property that has them
 * @param scheme of addresses with TLS
 */
export function judgeSchemes(
  { tls, lists, scheme }: { tls: unknown; lists: Record<string, string[] | undefined>; scheme: string },
  context: z.RefinementCtx,
): void {
  for (const [property, addresses = []] of Object.entries(lists)) {
    const secure = addresses.map((address) => address.startsWith(`${scheme}://`));
    const message = tls
      ? `expected an address that begins with ${scheme}://, since tls is given`
      : `expected either all addresses to begin with ${scheme}:// or none`;
    const wrong = secure.findIndex((one) => one !== (tls ? true : secure[0]));
    if (wrong >= 0) context.addIssue({ code: "custom", path: [property, wrong], message });
  }
}
