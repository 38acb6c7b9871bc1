import type { StackValidationPolicy } from "@pulumi/policy";
import { CREDENTIALS_ANNOTATION } from "../components/plan/labels.ts";
import { couldBeCredential, formOfCredential, namesCredential } from "./stack/credentials.ts";
import { type KubernetesObject, objectsOf } from "./stack/objects.ts";
import { type Container, podsIn } from "./stack/pods.ts";
import { schemaOf } from "./stack/settings.ts";
import { at, eachText, entries, type Path, text } from "./stack/value.ts";
import { tell } from "./stack/verdict.ts";

/**
 * Whoever may read a pod, a Deployment or a ConfigMap reads what is written there, and so does every log of a manifest.
 * Policies get secrets unwrapped: a value that Pulumi keeps secret is still plain in the cluster.
 */
export const noPlainCredentials: StackValidationPolicy = {
  name: "no-plain-credentials",
  displayName: "No plain credentials",
  description:
    "No credential stands in plain text in environment variables, arguments, annotations or ConfigMaps, judged by its name " +
    "and by its form.",
  enforcementLevel: "mandatory",
  severity: "critical",
  remediationSteps:
    "Put the value into a Secret and refer to it: valueFrom.secretKeyRef, envFrom.secretRef, or a mounted file.",
  configSchema: schemaOf({}),
  validateStack: ({ resources }, report) => {
    for (const object of objectsOf(resources)) {
      for (const { path, what, where } of findings(object)) {
        tell(report, {
          resource: object,
          path,
          problem: `${what} in plain text in ${where} (not shown)`,
          fix: "keep it in a Secret and refer to that",
        });
      }
    }
  },
};

interface Finding {
  path: Path;
  what: string;
  where: string;
}

function findings(object: KubernetesObject): Finding[] {
  const found: Finding[] = [];
  const pods = podsIn(object);
  for (const { containers } of pods) for (const container of containers) found.push(...inContainer(container));
  const templates = pods.flatMap(({ path }) => (path.length > 0 ? [path.slice(0, -1)] : []));
  for (const above of new Map([[], ...templates].map((path) => [path.join("\0"), path])).values()) {
    const path = [...above, "metadata", "annotations"];
    for (const [key, value] of entries(at(object.body, ...path))) {
      if (key === CREDENTIALS_ANNOTATION) continue;
      const what = credential(key.split("/").at(-1) ?? key, text(value));
      if (what) found.push({ path: [...path, key], what, where: "an annotation" });
    }
  }
  if (object.kind === "ConfigMap") {
    for (const part of ["data", "binaryData"]) {
      for (const [key, value] of entries(at(object.body, part))) {
        const held = text(value);
        const open = part === "binaryData" && held ? Buffer.from(held, "base64").toString() : held;
        const what = credential(key, open) ?? (open === undefined ? undefined : lineWithPassword(open));
        if (what) found.push({ path: [part, key], what, where: "a ConfigMap" });
      }
    }
  }
  return found;
}

function* inContainer({ env, words, body, path }: Container): Generator<Finding> {
  for (const variable of env.variables) {
    const what = credential(variable.name, variable.value);
    if (what) yield { path: variable.path, what, where: "an environment variable" };
  }
  for (const [index, { text: word, path: at }] of words.entries()) {
    const [, name, value] = /^--?([\w.-]+)(?:=(.*))?$/s.exec(word) ?? [];
    const next = words[index + 1];
    const given =
      value !== undefined ? { text: value, path: at } : next && !next.text.startsWith("-") ? next : undefined;
    const form = formOfCredential(word);
    if (form) yield { path: at, what: form, where: "an argument" };
    else if (name && given && namesCredential(name) && couldBeCredential(given.text) && !formOfCredential(given.text))
      yield { path: given.path, what: `the value of --${name}`, where: "an argument" };
  }
  // Commands hide in probes and hooks, too.
  for (const part of ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"]) {
    const inside: Finding[] = [];
    eachText(at(body, part), (word, inner) => {
      const form = formOfCredential(word);
      if (form) inside.push({ path: [...path, part, ...inner], what: form, where: "a command" });
    });
    yield* inside;
  }
}

/** What credential a value is, by its form or else by the name that it goes under. */
function credential(name: string, value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  return (
    formOfCredential(value) ??
    (namesCredential(name) && couldBeCredential(value) ? `the value of ${safe(name)}` : undefined)
  );
}

/** Configuration files have passwords on lines of their own. */
function lineWithPassword(written: string): string | undefined {
  for (const [, name, value] of written.matchAll(
    /^[ \t"']*([\w.-]*(?:password|passwd|passphrase))["']?[ \t]*[:=][ \t]*["']?([^\s"',}]+)/gim,
  ))
    if (couldBeCredential(value as string)) return `the value of ${safe(name as string)}`;
  return undefined;
}

/** A name that is odd might be the secret itself. */
const safe = (name: string): string => (/^[\w.-]{1,64}$/.test(name) && !formOfCredential(name) ? name : "a credential");
