import assert from "node:assert/strict";
import fc from "fast-check";
import { overlap } from "../../components/plan/names.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { ClaimRefused, claimTenant } from "../../components/tenancy/claim.ts";
import { listClaims, readClaim } from "../../components/tenancy/registry.ts";
import { newLedger, newProcess, newRealm, tidy } from "./scene.ts";

describe("claiming a tenant's name", () => {
  const realm = newRealm();
  let stores: Stores;
  const claim = async (logicalName: string, at = stores, owner?: string) =>
    claimTenant(at, {
      owner: owner ?? (await newLedger(at)),
      logicalName,
      recorded: { project: "search", stack: "prod", resource: logicalName.replaceAll("/", "-") },
    });
  const refused = (logicalName: string) =>
    claim(logicalName).then(
      () => assert.fail(`${logicalName} was claimed`),
      (error: Error) => {
        assert(error instanceof ClaimRefused, error.stack);
        return error.message;
      },
    );

  before(async () => {
    stores = newProcess();
    await claim(`${realm}/team/chat`);
  });
  after(tidy);

  it("refuses a name that another stack holds, and says who does", async () => {
    assert.equal(
      await refused(`${realm}/team/chat`),
      `tenant '${realm}/team/chat' is held by project 'search', stack 'prod', resource '${realm}-team-chat': ` +
        "choose another name or realm, or destroy that one first",
    );
  });

  it("refuses what lies within it, at any depth, and what holds it", async () => {
    for (const name of [`${realm}/team/chat/a`, `${realm}/team/chat/a/b/c`, `${realm}/team`, realm]) {
      assert.match(
        await refused(name),
        new RegExp(
          `^tenant '${name}' overlaps '${realm}/team/chat', which is held by project 'search', stack 'prod', resource '${realm}-team-chat'`,
        ),
      );
    }
  });

  it("lets a sibling in whose name begins with the same letters", async () => {
    await claim(`${realm}/team/chat2`);
    await claim(`${realm}/team/cha`);
    await claim(`${realm}/tea`);
  });

  it("carries on with a claim that is the stack's own, under the same generation", async () => {
    const owner = await newLedger(stores);
    const first = await claim(`${realm}/mine`, stores, owner);
    const again = await claim(`${realm}/mine`, newProcess(), owner);
    assert.deepEqual(again, { ...first, attempt: first.attempt + 1 });
  });

  it("lets exactly one of 50 stacks win that ask for overlapping names at once", async () => {
    const names = [`${realm}/race`, `${realm}/race/a`, `${realm}/race/a/b`, `${realm}/race/a/b/c`, `${realm}/race/a`];
    const stacks = await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const own = newProcess();
        return { own, owner: await newLedger(own), name: names[i % names.length] as string, resource: `stack-${i}` };
      }),
    );
    const outcomes = await Promise.allSettled(
      stacks.map(({ own, owner, name, resource }) =>
        claimTenant(own, {
          owner,
          logicalName: name,
          recorded: { project: "race", stack: "dev", resource },
        }),
      ),
    );
    // `race/a/b` and `race/a/b/c` lie on one line with the others: no two of these names can live side by side.
    const winners = outcomes.flatMap(({ status }, i) => (status === "fulfilled" ? [stacks[i]?.resource] : []));
    assert.equal(winners.length, 1, `won: ${winners.join(", ")}`);
    for (const outcome of outcomes) {
      if (outcome.status === "fulfilled") continue;
      assert(outcome.reason instanceof ClaimRefused, String(outcome.reason));
      assert.match(outcome.reason.message, new RegExp(`project 'race', stack 'dev', resource '${winners[0]}'`));
    }
    const live = (await listClaims(stores.etcd)).filter(({ logicalName }) => logicalName.startsWith(`${realm}/race`));
    assert.deepEqual(
      live.map(({ claim: { recorded } }) => recorded.resource),
      winners,
    );
  });

  it("decides as the model does, whatever names are asked for in a row", async () => {
    const segment = fc.constantFrom("a", "b", "ab", "a-b");
    const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join("/"));
    await fc.assert(
      fc.asyncProperty(fc.array(path, { minLength: 2, maxLength: 6 }), async (paths) => {
        const root = newRealm();
        const held: string[] = [];
        for (const name of paths.map((each) => `${root}/${each}`)) {
          const free = held.every((other) => !overlap(other, name));
          const claimed = await claim(name).then(
            () => true,
            (error: Error) => {
              if (error instanceof ClaimRefused) return false;
              throw error;
            },
          );
          assert.equal(claimed, free, `${name} beside ${held.join(", ")}`);
          if (claimed) held.push(name);
        }
      }),
      { numRuns: 15 },
    );
  });

  it("writes nothing for a claim that is refused", async () => {
    await refused(`${realm}/team/chat/late`);
    assert.equal(await readClaim(stores.etcd, `${realm}/team/chat/late`), undefined);
  });
});
