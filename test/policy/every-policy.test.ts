import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import type { PolicyResource, StackValidationPolicy } from "@pulumi/policy";
import fc from "fast-check";
import { policies } from "../../policy/policies.ts";
import { cases } from "./cases.ts";
import { corpus } from "./corpus.ts";
import { resource, type Sketch, stackOf, told, UNKNOWN, verdicts } from "./stack.ts";

/** Every place in a value that a preview might not know, as the path to it. */
function places(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  const below =
    value !== null && typeof value === "object"
      ? Object.entries(value).flatMap(([key, inner]) =>
          places(inner, [...path, Array.isArray(value) ? Number(key) : key]),
        )
      : [];
  return path.length > 0 ? [path, ...below] : below;
}

/** The value with what lies at the path unknown. */
function masked(value: unknown, [key, ...rest]: (string | number)[]): unknown {
  if (key === undefined) return UNKNOWN;
  if (value === null || typeof value !== "object") return value;
  const copy: unknown[] | Record<string, unknown> = Array.isArray(value) ? [...value] : { ...value };
  (copy as Record<string | number, unknown>)[key] = masked((value as Record<string | number, unknown>)[key], rest);
  return copy;
}

const messages = (sketches: Sketch[]) => policies.flatMap((policy) => told(policy, sketches));

describe("every policy", () => {
  it("has a file and a spec of its name", () => {
    for (const { name } of policies)
      for (const file of [`../../policy/${name}.ts`, `./${name}.test.ts`])
        assert(existsSync(new URL(file, import.meta.url)), file);
  });

  it("is one of eleven, with a name, a severity and a way out", () => {
    assert.equal(policies.length, 11);
    assert.equal(new Set(policies.map(({ name }) => name)).size, 11);
    assert.deepEqual(Object.keys(cases).sort(), policies.map(({ name }) => name).sort());
    for (const {
      name,
      description,
      displayName,
      severity,
      enforcementLevel,
      remediationSteps,
      configSchema,
    } of policies) {
      assert.match(name, /^[a-z]+(-[a-z]+)+$/);
      for (const text of [description, displayName, severity, remediationSteps]) assert(text, name);
      assert.match(enforcementLevel ?? "", /^(mandatory|advisory)$/, name);
      for (const property of Object.values(configSchema?.properties ?? {})) {
        assert(property.description, name);
        assert.notEqual(property.default, undefined, name);
      }
    }
  });

  for (const policy of policies) {
    const { violating, compliant, message } = cases[policy.name] as (typeof cases)[string];

    describe(policy.name, () => {
      it("refuses its violating stack, in one line", () => {
        assert.deepEqual(told(policy, violating), [message]);
      });

      it("leaves its compliant stack alone, as every other policy does", () => {
        assert.deepEqual(messages(compliant), []);
      });

      it("does not print a secret, wherever it stands", () => {
        const canary = "S3cr3t-Canary";
        for (const { type, name, props } of [...violating, ...compliant]) {
          for (const path of places(props)) {
            const planted = JSON.parse(
              JSON.stringify(masked(props, path)).replaceAll(UNKNOWN, `https://root:${canary}@etcd.platform.svc:2379`),
            );
            for (const found of told(policy, [
              ...violating.filter((one) => one.name !== name),
              { type, name, props: planted },
            ]))
              assert(!found.includes(canary), found);
          }
        }
      });
    });
  }

  it("gives no other verdict of a compliant stack when parts of it are not known", () => {
    for (const { compliant } of Object.values(cases)) {
      for (const [index, sketch] of compliant.entries()) {
        for (const path of places(sketch.props)) {
          const some = compliant.with(index, { ...sketch, props: masked(sketch.props, path) as Sketch["props"] });
          assert.deepEqual(messages(some), [], `${sketch.name} with ${path.join(".")} unknown`);
        }
      }
    }
  });

  it("gives no verdict of a compliant stack, however many parts are not known", () => {
    const stacks = Object.values(cases).map(({ compliant }) => compliant);
    fc.assert(
      fc.property(
        fc.constantFrom(...stacks),
        fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 12 }),
        (stack, masks) => {
          const some = [...stack];
          for (const [nth, mth] of masks) {
            const sketch = some[nth % some.length] as Sketch;
            const all = places(sketch.props);
            const path = all[mth % Math.max(all.length, 1)] ?? [];
            some[nth % some.length] = { ...sketch, props: masked(sketch.props, path) as Sketch["props"] };
          }
          assert.deepEqual(messages(some), []);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("gives no verdict that it would not give of the same stack when all of it is known", () => {
    const stacks = [...Object.values(cases).map(({ violating }) => violating), ...corpus.map(({ stack }) => stack)];
    for (const stack of stacks) {
      const about = (found: string[]) => found.map((message) => message.replace(/:.*/s, ""));
      const known = new Set(about(messages(stack)));
      for (const [index, sketch] of stack.entries()) {
        for (const path of places(sketch.props)) {
          const some = stack.with(index, { ...sketch, props: masked(sketch.props, path) as Sketch["props"] });
          const strange = about(messages(some)).filter((one) => !known.has(one));
          assert.deepEqual(strange, [], `${sketch.name} with ${path.join(".")} unknown`);
        }
      }
    }
  });

  it("crashes on no malformed resource", () => {
    const types = [
      ...new Set(
        Object.values(cases)
          .flatMap(({ violating, compliant }) => [...violating, ...compliant])
          .map(({ type }) => type),
      ),
    ];
    const sketches = [
      ...Object.values(cases).flatMap(({ violating, compliant }) => [...violating, ...compliant]),
      ...corpus.flatMap(({ stack }) => stack),
    ];
    const anything = fc.oneof(fc.anything(), fc.constant(UNKNOWN), fc.string());
    const damaged = fc
      .tuple(fc.constantFrom(...sketches), fc.nat(), anything)
      .map(([{ type, props }, nth, junk]): [string, unknown] => {
        const all = places(props);
        const path = all[nth % Math.max(all.length, 1)] ?? [];
        return [type, damage(props, path, junk)];
      });
    const strange = fc.tuple(fc.constantFrom(...types, "kubernetes:a.b/v1:C", "kubernetes::", ""), fc.anything());
    fc.assert(
      fc.property(fc.array(fc.oneof(damaged, strange), { maxLength: 5 }), (parts) => {
        const stack = parts.map(
          ([type, props], i) => ({ ...resource(type, `r${i}`, props as Sketch["props"]) }) as PolicyResource,
        );
        for (const policy of policies) verdicts(policy, stack);
      }),
      { numRuns: 1000 },
    );
  });

  it("looks at four times as much of a stack that is four times as large, however its parts relate", () => {
    const copies = (stack: Sketch[], times: number) =>
      Array.from({ length: times }, (_, i) =>
        stack.map((sketch) => ({ ...sketch, name: `${sketch.name}-${i}` })),
      ).flat();
    for (const policy of policies) {
      for (const { violating, compliant } of Object.values(cases)) {
        for (const stack of [violating, compliant]) {
          const [few, many] = [looks(policy, copies(stack, 50)), looks(policy, copies(stack, 200))];
          assert(many <= 4 * few + 100, `${policy.name}: ${few} looks, then ${many}`);
        }
      }
    }
  });

  it("has the same verdicts whatever the order of the resources", () => {
    for (const { violating } of Object.values(cases)) {
      const sorted = (resources: PolicyResource[]) => policies.flatMap((policy) => verdicts(policy, resources));
      assert.deepEqual(sorted(stackOf(violating).reverse()), sorted(stackOf(violating)));
    }
  });
});

/** How often a policy looks at anything in a stack's properties. */
function looks(policy: StackValidationPolicy, stack: Sketch[]): number {
  let count = 0;
  const counted = <T>(value: T): T => {
    if (value === null || typeof value !== "object") return value;
    const look = <R>(seen: R): R => {
      count++;
      return seen;
    };
    return new Proxy(value, {
      get: (target, key) => look(counted(Reflect.get(target, key))),
      ownKeys: (target) => look(Reflect.ownKeys(target)),
    });
  };
  verdicts(
    policy,
    stackOf(stack).map((one) => ({ ...one, props: counted(one.props) })),
  );
  return count;
}

function damage(value: unknown, [key, ...rest]: (string | number)[], junk: unknown): unknown {
  if (key === undefined) return junk;
  if (value === null || typeof value !== "object") return value;
  const copy: unknown[] | Record<string, unknown> = Array.isArray(value) ? [...value] : { ...value };
  (copy as Record<string | number, unknown>)[key] = damage(
    (value as Record<string | number, unknown>)[key],
    rest,
    junk,
  );
  return copy;
}
