/** Hand-made stacks, as the engine hands them to a stack policy. */
import { type PolicyResource, type StackValidationPolicy, unknownCheckingProxy } from "@pulumi/policy";
import { unknownValue } from "@pulumi/pulumi/runtime/rpc.js";

/** What the engine sends for a value that a preview cannot know; reading it throws. */
export const UNKNOWN = unknownValue;

export interface Verdict {
  name: string | undefined;
  message: string;
}

/** A resource whose props throw where they are unknown, by the same proxy that @pulumi/policy puts around them. */
export function resource(type: string, name: string, props: Record<string, unknown>): PolicyResource {
  return {
    type,
    name,
    urn: `urn:pulumi:dev::test::${type}::${name}`,
    props: unknownCheckingProxy(props),
    opts: {
      protect: false,
      ignoreChanges: [],
      aliases: [],
      customTimeouts: { createSeconds: 0, updateSeconds: 0, deleteSeconds: 0 },
      additionalSecretOutputs: [],
    },
    dependencies: [],
    propertyDependencies: {},
    isType: () => false,
    asType: () => undefined,
  };
}

/** What a policy reports of a stack; each verdict by the name at the end of the URN that it was reported for. */
export function verdicts(policy: StackValidationPolicy, resources: PolicyResource[]): Verdict[] {
  const found: Verdict[] = [];
  policy.validateStack(
    {
      resources,
      stackTags: new Map(),
      getConfig: <T extends object>() => ({}) as T,
      notApplicable: (reason) => {
        throw new Error(reason);
      },
    },
    (message, urn) => found.push({ name: urn?.split("::").at(-1), message }),
  );
  return found;
}
