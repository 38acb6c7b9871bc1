import assert from "node:assert/strict";
import { Algorithms, encodeAccount as encodeAccountJwt } from "@nats-io/jwt";
import { fromPublic, fromSeed } from "@nats-io/nkeys";
import {
  decodeAccount,
  encodeAccount,
  encodeDeletion,
  encodeOperator,
  generateNkey,
  publicKeyOf,
  userCreds,
} from "../../components/stores/nats-jwt.ts";

const operator = generateNkey("operator");
const account = generateNkey("account");

/** A JWT's claims with what differs each time taken out, read without the library whose output is pinned here. */
function claimsOf(jwt: string): Record<string, unknown> {
  const [, payload = ""] = jwt.split(".");
  const { iat, jti, ...claims } = JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, unknown>;
  assert(typeof iat === "number" && Math.abs(iat - Date.now() / 1000) < 300, "issued now, in seconds");
  assert(typeof jti === "string" && jti.length > 0);
  return claims;
}

/** The golden claims: `@nats-io/jwt` is "not a supported API", so a new release of it has to pass here. */
describe("the JWTs of NATS", () => {
  const limits = {
    subs: -1,
    data: -1,
    payload: -1,
    imports: -1,
    exports: -1,
    wildcards: true,
    conn: -1,
    leaf: -1,
    mem_storage: 1,
    disk_storage: 2,
    streams: 3,
    consumer: 4,
  };
  const jetStream = { memoryBytes: 1, diskBytes: 2, streams: 3, consumers: 4 };
  const claim = { name: "chat", publicKey: account.publicKey, operatorSeed: operator.seed, jetStream };
  const common = { aud: "NATS", name: "chat", sub: account.publicKey, iss: operator.publicKey };

  it("make an operator that names the system account", async () => {
    const jwt = await encodeOperator({ name: "dev", seed: operator.seed, systemAccount: account.publicKey });
    assert.deepEqual(claimsOf(jwt), {
      aud: "NATS",
      name: "dev",
      sub: operator.publicKey,
      iss: operator.publicKey,
      nats: { system_account: account.publicKey, type: "operator", version: 2 },
    });
  });

  it("make an account that states every limit", async () => {
    assert.deepEqual(claimsOf(await encodeAccount(claim)), {
      ...common,
      nats: { limits, type: "account", version: 2 },
    });
  });

  it("make an account without JetStream", async () => {
    const none = { mem_storage: 0, disk_storage: 0, streams: 0, consumer: 0 };
    assert.deepEqual(claimsOf(await encodeAccount({ ...claim, jetStream: false })), {
      ...common,
      nats: { limits: { ...limits, ...none }, type: "account", version: 2 },
    });
  });

  it("make an account that is fenced: everybody revoked, nobody let in, gone by itself", async () => {
    const at = new Date("2030-01-01T00:00:00.900Z");
    const jwt = await encodeAccount({ ...claim, connections: 0, revokedBefore: at, expires: at });
    assert.deepEqual(claimsOf(jwt), {
      ...common,
      exp: 1893456000,
      nats: {
        limits: { ...limits, conn: 0, leaf: 0 },
        revocations: { "*": 1893456000 },
        type: "account",
        version: 2,
      },
    });
  });

  it("make a user, with its seed, in the form of a credentials file", async () => {
    const creds = await userCreds({ name: "worker", accountSeed: account.seed });
    const [, jwt = "", seed = ""] =
      /-----BEGIN NATS USER JWT-----\n(\S+)\n-+END NATS USER JWT-+[\s\S]*-----BEGIN USER NKEY SEED-----\n(\S+)\n-+END USER NKEY SEED-+/.exec(
        creds,
      ) ?? assert.fail("no credentials file");
    assert.match(seed, /^SU/);
    assert.deepEqual(claimsOf(jwt), {
      aud: "NATS",
      name: "worker",
      sub: publicKeyOf(seed),
      iss: account.publicKey,
      nats: { subs: -1, data: -1, payload: -1, type: "user", version: 2 },
    });
  });

  it("make an account that lets in the users of a signing key, and such a user", async () => {
    const signing = generateNkey("account");
    const jwt = await encodeAccount({ ...claim, signingKeys: [signing.publicKey] });
    assert.deepEqual(claimsOf(jwt), {
      ...common,
      nats: { limits, signing_keys: [signing.publicKey], type: "account", version: 2 },
    });
    const creds = await userCreds({ name: "worker", account: account.publicKey, accountSeed: signing.seed });
    const [, user = ""] = /-----BEGIN NATS USER JWT-----\n(\S+)/.exec(creds) ?? [];
    const { iss, nats } = claimsOf(user);
    assert.deepEqual(
      { iss, nats },
      {
        iss: signing.publicKey,
        nats: { subs: -1, data: -1, payload: -1, issuer_account: account.publicKey, type: "user", version: 2 },
      },
    );
  });

  it("make the request that deletes accounts", async () => {
    const jwt = await encodeDeletion({ operatorSeed: operator.seed, accounts: [account.publicKey] });
    assert.deepEqual(claimsOf(jwt), {
      aud: "NATS",
      name: "delete",
      sub: operator.publicKey,
      iss: operator.publicKey,
      nats: { accounts: [account.publicKey], issuer_account: operator.publicKey, type: "generic", version: 2 },
    });
  });

  it("read an account back, and name what was never set here", async () => {
    const view = {
      name: "chat",
      publicKey: account.publicKey,
      issuer: operator.publicKey,
      limits,
      revocations: {},
      imports: 0,
      exports: 0,
      signingKeys: [] as string[],
      others: [] as string[],
    };
    assert.deepEqual(decodeAccount(await encodeAccount(claim)), view);
    const signing = generateNkey("account").publicKey;
    const foreign = { limits, signing_keys: [signing], tags: ["x"] };
    const options = { algorithm: Algorithms.v2, signer: fromSeed(Buffer.from(operator.seed)), exp: 1893456000 };
    const altered = await encodeAccountJwt("chat", fromPublic(account.publicKey), foreign, options);
    assert.deepEqual(decodeAccount(altered), { ...view, signingKeys: [signing], others: ["exp", "tags"] });
  });
});
