import assert from "node:assert/strict";
import { StoreError } from "../../components/stores/errors.ts";
import { Nats } from "../../components/stores/nats.ts";
import { encodeAccount, encodeDeletion, generateNkey, userCreds } from "../../components/stores/nats-jwt.ts";
import { resolveAccess } from "../../components/tenancy/resolve-access.ts";
import { freePort } from "../../dev/platform/ports.ts";
import { timed } from "../support/patience.ts";
import { BlackHole } from "./servers.ts";

const { servers, operatorSeed, systemCreds } = resolveAccess("platform", () =>
  assert.fail("RINGFENCE_PLATFORM is not set; run by npm test"),
).nats;
const access = { servers, creds: systemCreds };

async function refusal(act: Promise<unknown>): Promise<string> {
  const { result: error, ms } = await timed<unknown>(
    act.then(
      () => assert.fail("it succeeded"),
      (reason: unknown) => reason,
    ),
  );
  assert(error instanceof StoreError, (error as Error).stack);
  assert(ms < 30_000, `took ${ms} ms`);
  return error.message;
}

describe("NATS, as the system account sees it", () => {
  let nats: Nats;
  before(async () => {
    nats = await Nats.connect(access);
  });
  after(() => nats.close());

  it("names an address where nobody listens, and one that answers nothing", async () => {
    const nowhere = [`nats://127.0.0.1:${await freePort()}`];
    assert.match(
      await refusal(Nats.connect({ ...access, servers: nowhere })),
      /^NATS at nats:.* does not answer \(.*\): start it/,
    );
    const hole = await BlackHole.open();
    const message = await refusal(Nats.connect({ ...access, servers: [`nats://${hole.host}`] }));
    assert(message.startsWith(`NATS at nats://${hole.host} does not answer (`), message);
    hole.close();
  });

  it("names credentials that it refuses, without showing them", async () => {
    const creds = await userCreds({ name: "stranger", accountSeed: generateNkey("account").seed });
    assert.equal(
      await refusal(Nats.connect({ ...access, creds })),
      `NATS at ${servers[0]} refused the log-in: correct systemCreds or operatorSeed in the platform's access`,
    );
  });

  it("says so when the user is one of a common account, which can manage nothing", async () => {
    const { publicKey, seed } = generateNkey("account");
    const claim = { name: "common", publicKey, operatorSeed, jetStream: false } as const;
    await nats.push(await encodeAccount(claim));
    const creds = await userCreds({ name: "common", accountSeed: seed });
    const common = await Nats.connect({ ...access, creds });
    for (const act of [() => common.accounts(), () => common.lookup(publicKey), () => common.purge(publicKey)])
      assert.match(
        await refusal(act()),
        /does not answer on .*check that it runs in operator mode with a full resolver/,
      );
    await common.close();
    await nats.deleteAccounts(await encodeDeletion({ operatorSeed, accounts: [publicKey] }));
    assert.equal(await nats.lookup(publicKey), undefined);
  });

  it("refuses what is no account, and says why", async () => {
    assert.match(await refusal(nats.push("a.b.c")), new RegExp(`^NATS at ${servers[0]} refused the account: .+`));
  });

  it("takes an account that another operator signed without a word, and refuses its users", async () => {
    const { publicKey, seed } = generateNkey("account");
    const foreign = { name: "foreign", publicKey, operatorSeed: generateNkey("operator").seed };
    await nats.push(await encodeAccount({ ...foreign, jetStream: {} }));
    const creds = await userCreds({ name: "probe", accountSeed: seed });
    assert.match(await refusal(Nats.requireJetStream({ servers, creds })), /refused the log-in: .* or operatorSeed/);
    await nats.deleteAccounts(await encodeDeletion({ operatorSeed, accounts: [publicKey] }));
    assert.equal(await nats.lookup(publicKey), undefined);
  });

  it("reports a connection that was lost instead of waiting for it", async () => {
    const lost = await Nats.connect(access);
    await lost.close();
    assert.equal(lost.closed, true);
    assert.match(await refusal(lost.accounts()), new RegExp(`^NATS at ${servers[0]} does not answer on`));
  });
});
