/** What a credential looks like, by its form and by the name that it goes under. */

interface Form {
  /** What it is, with its article. */
  what: string;
  pattern: RegExp;
}

/**
 * By form. Each begins with something that is quick to look for: whole ConfigMaps are searched. Certificates and public
 * keys are PEM as well, and no secrets.
 */
const FORMS: readonly Form[] = [
  {
    what: "a URL with a password",
    pattern: /\b[a-z][a-z0-9+.-]{0,30}:\/\/[^\s/?#:@'"<>]{0,200}:(?!\$|%|<|\{\{|\*{3})[^\s/?#@'"]{1,500}@(?=[\w[])/gi,
  },
  { what: "a NATS credentials text", pattern: /-----BEGIN (?:NATS USER JWT|USER NKEY SEED)-----[^-]*/g },
  { what: "a private key", pattern: /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]*/g },
  { what: "an nkey seed", pattern: /\bS[OAUNCX][A-Z2-7]{56}\b/g },
  { what: "a JWT", pattern: /\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}/g },
  { what: "a Hugging Face token", pattern: /\bhf_[A-Za-z0-9]{30,}\b/g },
  { what: "an NVIDIA API key", pattern: /\bnvapi-[\w-]{40,}/g },
];

/** What credential a text holds by its form, or nothing. */
export const formOfCredential = (text: string): string | undefined =>
  text.length < 8
    ? undefined
    : FORMS.find(({ pattern }) => new RegExp(pattern.source, pattern.flags.replace("g", "")).test(text))?.what;

/** A text with every credential in it left out. */
export const redacted = (text: string): string =>
  FORMS.reduce((open, { what, pattern }) => open.replace(pattern, `(${what}, not shown)`), text);

const NAME =
  /(^|[^a-z])(password|passwd|passphrase|secret|token|api_?key|access_?key|private_?key|secret_?key|signing_?key|auth_?key|client_?key|nkey|seed)$/;
/** The same words for other things: random seeds, tokens that are parts of words, and the names of Secrets. */
const OTHER =
  /(^|[^a-z])((random|rng)_seed|(bos|eos|pad|unk|stop|mask|special|image|max|min|per|next|first|start|end)_token|(pull|tls|cert|ca|image|registry)_secret)$/;

/** Whether a value under this name is a credential: `HF_TOKEN`, `--password`, `natsPassword`. */
export function namesCredential(name: string): boolean {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/[-.\s]+/g, "_")
    .toLowerCase();
  return NAME.test(words) && !OTHER.test(words);
}

/** Whether a text may be a credential at all: not a reference to one, a placeholder, a path, a switch or a number. */
export const couldBeCredential = (text: string): boolean =>
  text !== "" &&
  !/^(\$[({]|\{\{|<|%|\/|\.{1,2}\/|file:)/.test(text) &&
  !/^(true|false|yes|no|on|off|none|null|auto|disabled|enabled|required|optional|empty|dummy|-?\d{1,9}|\*+|x{3,})$/i.test(
    text,
  );
