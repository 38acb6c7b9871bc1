/** Finds out how to reach a platform's stores. Light: a Pulumi program asks it for addresses and needs no client. */
import { readFileSync } from "node:fs";
import { type Access, accessSpec } from "../plan/access.ts";
import { InvalidSpec, parse } from "../plan/problem.ts";

/** Reads a value of the stack's config, structured ones as JSON: `get("ringfence:platform")`. */
export type ConfigReader = (key: string) => string | undefined;

/**
 * The access to a platform: the file that RINGFENCE_PLATFORM names goes before the stack's config, for a plain
 * `pulumi destroy` hands providers the configuration of the last `up`, from before a rotation or a move.
 * @param platform the platform's name; its config key is `ringfence:<name>`
 * @throws InvalidSpec
 */
export function resolveAccess(platform: string, config: ConfigReader): Access {
  const file = process.env.RINGFENCE_PLATFORM;
  if (file) {
    const platforms = readJson(file);
    if (platforms[platform] !== undefined) return parse(accessSpec, platforms[platform], `${file}: ${platform}`);
  }
  const key = `ringfence:${platform}`;
  const value = config(key);
  if (value === undefined) {
    const reason =
      "found nothing; set it in the stack's config, or name a file with the platform's access in RINGFENCE_PLATFORM";
    throw new InvalidSpec([{ path: key, reason }]);
  }
  return parse(accessSpec, json(value, key), key);
}

/** Parses without a word about what is in there: JSON.parse quotes what it stumbles over, which may be a password. */
function json(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new InvalidSpec([{ path, reason: "is not JSON" }]);
  }
}

function readJson(file: string): Record<string, unknown> {
  const path = `RINGFENCE_PLATFORM=${file}`;
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new InvalidSpec([{ path, reason: `is not readable (${(cause as NodeJS.ErrnoException).code})` }]);
  }
  return json(text, path) as Record<string, unknown>;
}
