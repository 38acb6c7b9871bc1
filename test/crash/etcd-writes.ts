/** Which of etcd's requests write, and what, told from their bytes as they travel. */

const LEASES = new Set(["LeaseGrant", "LeaseRevoke"]);
const AUTHENTICATION = /^(User|Role)(Add|Delete|ChangePassword|GrantRole|RevokeRole|GrantPermission|RevokePermission)$/;

/** Field numbers of etcd's messages (etcd3/proto/rpc.proto). */
const TXN_SUCCESS = 2;
const OPERATION = { 2: "put", 3: "delete" } as Record<number, string>;
const KEY = 1;

/**
 * What a unary request writes; undefined when it only reads.
 * @param path gRPC's, `/etcdserverpb.KV/Txn`
 * @param body the request as it travels: five bytes of frame, then the message
 */
export function writeOf(path: string, body: Buffer): string | undefined {
  const method = path.split("/").at(-1) ?? "";
  if (LEASES.has(method) || AUTHENTICATION.test(method)) return method;
  const message = body.subarray(5);
  if (method === "Put" || method === "DeleteRange") return `${method} ${family(fieldsOf(message)[0]?.bytes)}`;
  if (method !== "Txn") return undefined;
  const operations = fieldsOf(message)
    .filter(({ number }) => number === TXN_SUCCESS)
    .flatMap(({ bytes }) => fieldsOf(bytes))
    .flatMap(({ number, bytes }) => (OPERATION[number] ? [`${OPERATION[number]} ${family(keyOf(bytes))}`] : []));
  return operations.length > 0 ? `Txn ${[...new Set(operations)].join(", ")}` : undefined;
}

const keyOf = (request: Buffer) => fieldsOf(request).find(({ number }) => number === KEY)?.bytes;

/** The kind of a key: `/ringfence/v1/claims/a/b/` is one of `claims`, `/ringfence/tenants/…` one of `tenants`. */
function family(key: Buffer | undefined): string {
  const [, root, second, third] = (key ?? "").toString("utf8").split("/");
  if (root !== "ringfence") return "keys";
  return (second === "v1" ? third : second) ?? "keys";
}

interface Field {
  number: number;
  /** Empty for numbers, which nobody asks for here. */
  bytes: Buffer;
}

/** The fields of a protobuf message. */
function fieldsOf(message: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++] as number;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const wire = tag & 7;
    if (wire === 0) varint();
    const size = wire === 2 ? varint() : wire === 1 ? 8 : wire === 5 ? 4 : 0;
    fields.push({ number: tag >> 3, bytes: wire === 2 ? message.subarray(at, at + size) : Buffer.alloc(0) });
    at += size;
  }
  return fields;
}
