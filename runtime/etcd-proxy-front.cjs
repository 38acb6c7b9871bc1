// Runs in front of each etcd proxy, from a ConfigMap, without packages, and mends two things that etcd's proxy cannot do for
// an etcd with authentication (etcd 3.6.16; by their sources up to 3.8.0-alpha.0).
//
// Leases: it prolongs them for its clients without any token, which etcd refuses, so every lease would run out. Calls that
// prolong leases go past it here, to etcd itself, with their client's token: leases have no prefix, and etcd asks whether the
// client may write the lease's keys. All else goes through it.
//
// Watches: it opens one stream to etcd for all clients, with the token of whoever came first. When etcd no longer knows that
// token, it refuses what the stream asks for, and the proxy tells nobody: old watches fall silent when etcd restarts, new
// ones never begin once the token has expired (etcd#19296). So every few seconds this opens a watch, which keeps that token
// alive, writes a key, and expects this watch and the last one to hear of it. When etcd answers and a watch does not, it
// says so at its health port; the kubelet restarts the proxy then, and its clients log in anew.
//
//   PORT  for clients               PROXY  etcd's proxy              ETCD_ENDPOINTS  etcd, with commas
//   ETCD_AUTH_USERNAME, ETCD_AUTH_PASSWORD  the tenant's                       ETCD_CA, ETCD_CERT, ETCD_KEY  files, for TLS to etcd
//   HEALTH_PORT  `/`: whether watches are heard; `/ready`: whether the proxy is there
//   KEY  what to write              INTERVAL_MS  between looks       DEADLINE_MS  of one answer
"use strict";
const { readFileSync } = require("node:fs");
const http = require("node:http");
const http2 = require("node:http2");
const { setTimeout: sleep } = require("node:timers/promises");

const { PORT, PROXY, ETCD_ENDPOINTS, ETCD_CA, ETCD_CERT, ETCD_KEY, HEALTH_PORT } = process.env;
const { ETCD_AUTH_USERNAME, ETCD_AUTH_PASSWORD, KEY, INTERVAL_MS, DEADLINE_MS } = process.env;
const [interval, deadline] = [Number(INTERVAL_MS), Number(DEADLINE_MS)];

/** A length-delimited field of a protobuf message; all fields that are sent here are such, and short. */
const field = (number, value) => {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([(number << 3) | 2, (bytes.length & 127) | 128, bytes.length >> 7]), bytes]);
};

/** The fields of a message, by number: numbers as bigint, all else as bytes. */
function parse(bytes) {
  const fields = new Map();
  let at = 0;
  const varint = () => {
    for (let value = 0n, shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const value = varint();
    const content = tag & 7 ? bytes.subarray(at, at + Number(value)) : value;
    at += content.length ?? 0;
    fields.set(tag >> 3, [...(fields.get(tag >> 3) ?? []), content]);
  }
  return fields;
}

const text = (fields, number) => fields.get(number)?.[0].toString() ?? "";

/** What the proxy or etcd answered instead: it was not silence. */
class Refused extends Error {}
class Silent extends Error {}

let session;
let token = "";
/** The watch of the last look. */
let last;
let broken = false;

function connect() {
  if (session && !session.closed && !session.destroyed) return session;
  const opened = http2.connect(PROXY);
  // A proxy that is gone has cut everybody's watches, and they come back by themselves.
  opened
    .on("error", () => {})
    .on("close", () => {
      if (session === opened) [session, last, broken] = [undefined, undefined, false];
    });
  session = opened;
  return opened;
}

/** Calls a method of etcd's; `onMessage` gets each answer, `onEnd` the error or nothing. */
function call(method, message, onMessage, onEnd) {
  const stream = connect().request({
    ":method": "POST",
    ":path": `/etcdserverpb.${method}`,
    "content-type": "application/grpc",
    te: "trailers",
    ...(token && { token }),
  });
  let pending = Buffer.alloc(0);
  const status = (headers) => {
    const code = headers["grpc-status"];
    if (code !== undefined && code !== "0") stream.destroy(new Refused(`${method}: ${headers["grpc-message"]}`));
  };
  stream.on("response", status).on("trailers", status);
  stream.on("data", (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 5 && pending.length >= 5 + pending.readUInt32BE(1)) {
      const end = 5 + pending.readUInt32BE(1);
      onMessage(parse(pending.subarray(5, end)));
      pending = pending.subarray(end);
    }
  });
  let error;
  stream.on("error", (cause) => {
    error = cause;
  });
  stream.on("close", () => onEnd(error));
  const header = Buffer.alloc(5);
  header.writeUInt32BE(message.length, 1);
  stream.write(Buffer.concat([header, message]));
  return stream;
}

/** Settles with what `begin` is told, or fails after the deadline. */
function within(what, begin) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Silent(`${what}: nothing within ${deadline} ms`)), deadline);
    begin(resolve, (error) => reject(error ?? new Refused(`${what}: ended`)));
    timer.unref();
  });
}

const unary = (method, message) =>
  within(method, (resolve, reject) => {
    call(method, message, resolve, reject).end();
  });

async function logIn() {
  token = "";
  token = text(
    await unary("Auth/Authenticate", Buffer.concat([field(1, ETCD_AUTH_USERNAME), field(2, ETCD_AUTH_PASSWORD)])),
    2,
  );
}

/** Writes; with a new token where etcd does not know this one any more. */
async function put(value) {
  const message = Buffer.concat([field(1, KEY), field(2, value)]);
  if (!token) await logIn();
  await unary("KV/Put", message).catch(async (error) => {
    if (!(error instanceof Refused)) throw error;
    await logIn();
    await unary("KV/Put", message);
  });
}

/** A watch of the key, once etcd has confirmed it. */
function watch() {
  const heard = { value: "", listener: undefined, ended: false };
  return within("watch", (resolve, reject) => {
    const stream = call(
      "Watch/Watch",
      field(1, field(1, KEY)),
      (answer) => {
        if (answer.has(4)) return stream.destroy(new Refused(`watch: ${text(answer, 6)}`));
        if (answer.has(3)) resolve({ heard, close: () => stream.destroy() });
        for (const event of answer.get(11) ?? []) {
          heard.value = text(parse(parse(event).get(2)[0]), 5);
          heard.listener?.();
        }
      },
      (error) => {
        heard.ended = true;
        heard.listener?.();
        reject(error);
      },
    );
  });
}

/** Waits until a watch has heard of the value; one that was ended has told its client so, which is as good. */
const hears = ({ heard }, value) =>
  within("event", (resolve) => {
    heard.listener = () => (heard.value === value || heard.ended) && resolve();
    heard.listener();
  });

/** One look. */
async function look() {
  const value = String(Date.now());
  await put(`${value} before`);
  let next;
  try {
    next = await watch();
    const both = last ? [last, next] : [next];
    await put(value);
    await Promise.all(both.map((each) => hears(each, value)));
    last?.close();
    last = next;
    broken = false;
  } catch (error) {
    next?.close();
    if (!(error instanceof Silent)) throw error;
    // Silence means something only while etcd itself answers.
    await put(`${value} after`);
    broken = true;
    throw error;
  }
}

http
  .createServer(({ url }, response) => {
    const answer = (fine) => response.writeHead(fine ? 200 : 503).end(fine ? "ok\n" : "no\n");
    if (url !== "/ready") return answer(!broken);
    const opened = connect();
    if (!opened.connecting) return answer(true);
    opened.once("connect", () => answer(true)).once("close", () => answer(false));
  })
  .listen(Number(HEALTH_PORT));

const past = ETCD_ENDPOINTS.split(",");
const read = (file) => file && readFileSync(file);
/** A session with etcd itself; the next one goes to its next member when this one fails. */
function connectPast() {
  const opened = http2.connect(past[0], { ca: read(ETCD_CA), cert: read(ETCD_CERT), key: read(ETCD_KEY) });
  return opened.on("error", () => past.push(past.shift()));
}

http2
  .createServer()
  .on("session", (client) => {
    const sessions = { through: undefined, past: undefined };
    const session = (way) => {
      const known = sessions[way];
      if (known && !known.closed && !known.destroyed) return known;
      // What goes through a proxy that dies is over: its clients shall notice.
      const opened = way === "past" ? connectPast() : http2.connect(PROXY).on("error", () => {});
      sessions[way] = opened;
      return way === "past" ? opened : opened.on("close", () => client.destroy());
    };
    client
      .on("error", () => {})
      .on("close", () => {
        for (const each of Object.values(sessions)) each?.destroy();
      });
    client.on("stream", (down, headers) => {
      const { ":authority": _, host: __, ...rest } = headers;
      const up = session(rest[":path"] === "/etcdserverpb.Lease/LeaseKeepAlive" ? "past" : "through").request(rest);
      let trailers = {};
      up.on("response", ({ ":status": status, ...answer }, flags) => {
        if (down.destroyed) return;
        const endStream = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
        down.respond({ ":status": status, ...answer }, { endStream, waitForTrailers: !endStream });
        if (!endStream) up.pipe(down);
      });
      up.on("trailers", (last) => {
        trailers = last;
      });
      down.on("wantTrailers", () => down.sendTrailers(trailers));
      down.pipe(up);
      up.on("error", () => down.destroyed || down.close(http2.constants.NGHTTP2_INTERNAL_ERROR));
      down.on("error", () => {}).on("close", () => up.destroyed || up.close(http2.constants.NGHTTP2_CANCEL));
    });
  })
  .listen(Number(PORT));

process.once("SIGTERM", () => process.exit(0));
(async () => {
  for (;;) {
    await look().catch((error) => process.stdout.write(`${new Date().toISOString()} ${error.message}\n`));
    await sleep(interval);
  }
})();
