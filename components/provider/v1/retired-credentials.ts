/** Wire contract of `ringfence:RetiredCredentials`: its inputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import type { jetStreamSpec } from "../../plan/spec.ts";
import { retireCredentials } from "../../tenancy/rotation.ts";
import { changed, checked, jetStreamInput, PART, type PartInputs, partInputs, storesOf, text } from "../wire.ts";

export { configure } from "../wire.ts";

export interface RetiredCredentialsInputs extends PartInputs {
  /** What stays. */
  username: string;
  account: string;
  signingKey: string;
  jetStream: z.output<typeof jetStreamSpec>;
  namespace: string;
  credentials: string;
}

const schema = z.object({
  ...partInputs,
  username: text,
  account: text,
  signingKey: text,
  jetStream: jetStreamInput,
  namespace: text,
  credentials: text,
});

export const check = async (_olds: RetiredCredentialsInputs, news: RetiredCredentialsInputs) => checked(schema, news);

export async function diff(
  _id: string,
  olds: RetiredCredentialsInputs,
  news: RetiredCredentialsInputs,
): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, PART);
  const updates = changed(olds, news, ["username", "account", "signingKey", "credentials", "stub"]);
  return { changes: replaces.length + updates.length > 0, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: RetiredCredentialsInputs): Promise<dynamic.CreateResult> {
  await retireCredentials(await storesOf(inputs), inputs, inputs);
  return { id: `${inputs.logicalName}#${inputs.generation}`, outs: inputs };
}

export const read = async (id: string, props: RetiredCredentialsInputs): Promise<dynamic.ReadResult> => ({ id, props });

export async function update(
  _id: string,
  _olds: RetiredCredentialsInputs,
  news: RetiredCredentialsInputs,
): Promise<dynamic.UpdateResult> {
  await retireCredentials(await storesOf(news), news, news);
  return { outs: news };
}

/** Nothing: what is retired stays so, and what is not goes with the tenant. */
async function remove(): Promise<void> {}

export { remove as delete };
