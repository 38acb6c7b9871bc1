/** Hand-made stacks, as the engine hands them to a stack policy. */
import { type PolicyResource, type StackValidationPolicy, unknownCheckingProxy } from "@pulumi/policy";
import { unknownValue } from "@pulumi/pulumi/runtime/rpc.js";

/** What the engine sends for a value that a preview cannot know; reading it throws. */
export const UNKNOWN = unknownValue;

export type Props = Record<string, unknown>;

/** A resource to be, for a policy here or for the engine. */
export interface Sketch {
  type: string;
  name: string;
  props: Props;
  /** Names of the resources that have to be there first. */
  dependsOn?: string[];
  parent?: string;
}

export interface Verdict {
  name: string | undefined;
  message: string;
}

/** A resource whose props throw where they are unknown, by the same proxy that @pulumi/policy puts around them. */
export function resource(type: string, name: string, props: Props, stack = "prod"): PolicyResource {
  return {
    type,
    name,
    urn: `urn:pulumi:${stack}::test::${type}::${name}`,
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

/** The resources of a stack, with their parents and dependencies. */
export function stackOf(sketches: Sketch[], stack?: string): PolicyResource[] {
  const made = new Map(sketches.map(({ type, name, props }) => [name, resource(type, name, props, stack)]));
  for (const { name, dependsOn = [], parent } of sketches) {
    const one = made.get(name);
    if (!one) continue;
    one.dependencies = dependsOn.flatMap((other) => made.get(other) ?? []);
    const above = parent === undefined ? undefined : made.get(parent);
    if (above) one.parent = above;
  }
  return sketches.flatMap(({ name }) => made.get(name) ?? []);
}

/** What a policy reports of a stack; each verdict by the name at the end of the URN that it was reported for. */
export function verdicts(policy: StackValidationPolicy, resources: PolicyResource[], config: object = {}): Verdict[] {
  const found: Verdict[] = [];
  policy.validateStack(
    {
      resources,
      stackTags: new Map(),
      getConfig: <T extends object>() => config as T,
      notApplicable: (reason) => {
        throw new Error(reason);
      },
    },
    (message, urn) => found.push({ name: urn?.split("::").at(-1), message }),
  );
  return found;
}

/** The messages that a policy has for a stack. */
export const told = (
  policy: StackValidationPolicy,
  sketches: Sketch[],
  config: object = {},
  stack?: string,
): string[] => verdicts(policy, stackOf(sketches, stack), config).map(({ message }) => message);
