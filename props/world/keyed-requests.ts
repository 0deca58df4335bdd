/**
 * Writes on keys, queues, streams and batches, as data: what is asked, and how it is sent through the REST door, the envelope,
 * the raw door or that of durable streams. It knows nothing of what must be answered.
 */
import fc from "fast-check";
import type { Answer, TestServer } from "../../test/support/test-server.js";

/** One write, whatever door it goes through. */
export interface Intent {
  readonly command: string;
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Fields in braces are taken from `inPath`. */
  readonly path: string;
  readonly inPath: Readonly<Record<string, string>>;
  readonly fields: Readonly<Record<string, unknown>>;
}

export type DoorName = "rest" | "envelope" | "raw" | "durable";

/** A request, ready to be sent as often as one likes. */
export interface KeyedRequest {
  readonly door: DoorName;
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** Two requests with one identity are the same request. */
  readonly identity: string;
  readonly intent: Intent | undefined;
}

/** What "$message" and "$receipt" stand for in an intent: known only when it is sent. */
export interface Delivery {
  readonly messageId: string;
  readonly receipt: string;
}

export function requestOf(intent: Intent, door: "rest" | "envelope", delivery: Delivery): KeyedRequest {
  const { command, method, inPath } = intent;
  const fields = JSON.stringify(intent.fields)
    .replaceAll("$message", delivery.messageId)
    .replaceAll("$receipt", delivery.receipt);
  const names = JSON.stringify(Object.values(inPath));
  if (door === "envelope") {
    const payload =
      Object.keys(inPath).length === 0 ? fields : JSON.stringify({ ...inPath, ...JSON.parse(fields) });
    const body = `{"command":"${command}","request_id":"r-1","payload":${payload}}`;
    return {
      door,
      method: "POST",
      path: "/api/v1/command",
      body,
      headers: {},
      intent,
      identity: `${command} [] ${payload}`,
    };
  }
  const path = intent.path.replace(/\{(\w+)\}/g, (_, name: string) => inPath[name] ?? "");
  const identity = `${command} ${names} ${fields}`;
  if (method === "POST" || method === "PUT") {
    return { door, method, path, body: fields, headers: {}, identity, intent };
  }
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(JSON.parse(fields))) query.set(name, String(value));
  const target = query.size === 0 ? path : `${path}?${query}`;
  return {
    door,
    method,
    path: target,
    body: undefined,
    headers: {},
    identity: `${method} ${identity}`,
    intent,
  };
}

/** Of a door whose bodies are the contents themselves. */
export interface BareWrite {
  readonly method: "PUT" | "POST" | "DELETE";
  /** A key's, or a durable stream's. */
  readonly path: string;
  readonly text: string;
  readonly headers: Readonly<Record<string, string>>;
}

export function bareRequestOf({ method, path, text, headers }: BareWrite): KeyedRequest {
  const body = method === "DELETE" ? undefined : text;
  const identity = JSON.stringify([method, path, body, Object.entries(headers).sort()]);
  return {
    door: path.startsWith("/kv/") ? "raw" : "durable",
    method,
    path,
    body,
    headers,
    identity,
    intent: undefined,
  };
}

/** `requestId` is that of an envelope. */
export function send(
  server: TestServer,
  request: KeyedRequest,
  key: string | undefined,
  requestId = "r-1",
): Promise<Answer> {
  const { method, path, headers } = request;
  const body = request.body?.replace('"request_id":"r-1"', `"request_id":"${requestId}"`);
  const isJson = request.door === "rest" || request.door === "envelope";
  const typed = isJson && body !== undefined ? { "content-type": "application/json" } : {};
  const keyed = key === undefined ? {} : { "idempotency-key": key };
  return server.request(method, path, body, { ...typed, ...headers, ...keyed });
}

const key = fc.constantFrom("a", "b", "c");
const queueName = fc.constantFrom("jobs", "mails");
const room = fc.constantFrom("ledger", "chat");
const number = fc.integer({ min: -5, max: 5 });
const text = fc.constantFrom("", "x", "é😀", '"quoted"\n', "7", "a longer text that is a value");
/** Values of which a second making from parsed JSON would change the digits or the order. */
const value = fc.oneof(text, fc.constantFrom<unknown>(1.5, [1, null], { b: 1, a: { "2": 0, "1": 0 } }));
const headers = fc.constantFrom({}, { trace: "1" }, { b: "1", a: "2", "10": "x", "9": "y" });
const payload = fc.oneof(text, fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 4 }));
const optional = <Value>(arbitrary: fc.Arbitrary<Value>) => fc.option(arbitrary, { nil: undefined, freq: 2 });

type Fields = Readonly<Record<string, fc.Arbitrary<unknown>>>;

function family(
  command: string,
  method: Intent["method"],
  path: string,
  inPath: Readonly<Record<string, fc.Arbitrary<string>>>,
  fields: Fields,
): fc.Arbitrary<Intent> {
  return fc.record({ inPath: fc.record(inPath), fields: fc.record(fields) }).map((drawn) => ({
    command,
    method,
    path,
    inPath: drawn.inPath,
    fields: Object.fromEntries(Object.entries(drawn.fields).filter(([, each]) => each !== undefined)),
  }));
}

const delivered = { message_id: fc.constant("$message"), receipt: optional(fc.constant("$receipt")) };
const message = fc.record({ payload, headers, priority: fc.integer({ min: 0, max: 9 }) });

/** Everything that may be a part of a batch. */
const parts: readonly fc.Arbitrary<Intent>[] = [
  family(
    "kv.set",
    "POST",
    "/kv/set",
    {},
    { key, value, nx: optional(fc.boolean()), get: optional(fc.boolean()) },
  ),
  family(
    "kv.mset",
    "POST",
    "/kv/mset",
    {},
    { pairs: fc.array(fc.record({ key, value }), { minLength: 1, maxLength: 3 }) },
  ),
  family("kv.incr", "POST", "/kv/{key}/incr", { key }, { amount: number }),
  family("kv.append", "POST", "/kv/{key}/append", { key }, { value: text }),
  family("kv.getset", "POST", "/kv/{key}/getset", { key }, { value }),
  family("kv.del", "DELETE", "/kv/del/{key}", { key }, {}),
  family("key.rename", "POST", "/key/{key}/rename", { key }, { destination: key }),
  family("kv.expire", "POST", "/key/{key}/expire", { key }, { ttl: fc.integer({ min: 1, max: 3 }) }),
  family(
    "queue.create",
    "POST",
    "/queue/{name}",
    { name: queueName },
    { max_depth: fc.integer({ min: 2, max: 30 }) },
  ),
  family(
    "queue.publish",
    "POST",
    "/queue/{queue}/publish",
    { queue: queueName },
    {
      payload,
      headers,
      priority: fc.integer({ min: 0, max: 9 }),
      message_key: optional(fc.constantFrom("once", "twice")),
    },
  ),
  family(
    "queue.publish_batch",
    "POST",
    "/queue/{queue}/publish/batch",
    { queue: queueName },
    {
      messages: fc.array(message, { minLength: 1, maxLength: 3 }),
    },
  ),
  family("queue.ack", "POST", "/queue/{queue}/ack", { queue: queueName }, delivered),
  family(
    "queue.nack",
    "POST",
    "/queue/{queue}/nack",
    { queue: queueName },
    { ...delivered, requeue: fc.boolean() },
  ),
  family("queue.purge", "POST", "/queue/{queue}/purge", { queue: queueName }, {}),
  family(
    "stream.create",
    "POST",
    "/stream/{room}",
    { room },
    { max_events: optional(fc.integer({ min: 1, max: 3 })) },
  ),
  family("stream.get_or_create", "PUT", "/stream/{room}", { room }, {}),
  family(
    "stream.publish",
    "POST",
    "/stream/{room}/publish",
    { room },
    { event: fc.constant("e"), data: value },
  ),
  family(
    "stream.trim",
    "POST",
    "/stream/{room}/trim",
    { room },
    { before_offset: fc.integer({ min: 0, max: 3 }) },
  ),
  family("stream.delete", "DELETE", "/stream/{room}", { room }, {}),
];

const batchIntent: fc.Arbitrary<Intent> = fc
  .array(fc.oneof(...parts), { minLength: 1, maxLength: 4 })
  .map((intents) => batchOf(intents));

/** Several intents as one; the paths' fields become part of the payloads. */
export function batchOf(intents: readonly Intent[]): Intent {
  const operations = intents.map(({ command, inPath, fields }) => ({
    command,
    payload: { ...inPath, ...fields },
  }));
  return { command: "batch", method: "POST", path: "/batch", inPath: {}, fields: { operations } };
}

const consumePath = "/queue/{queue}/consume/{consumer_id}";
const who = { queue: queueName, consumer_id: fc.constantFrom("me", "you") };
const consumes = (method: "GET" | "POST") =>
  family("queue.consume", method, consumePath, who, {
    count: optional(fc.integer({ min: 1, max: 3 })),
    type: optional(fc.constant("string")),
  });

/** Any write; most change something, some are refused. */
export const anyIntent: fc.Arbitrary<Intent> = fc.oneof(
  ...parts,
  { arbitrary: consumes("POST"), weight: 2 },
  { arbitrary: consumes("GET"), weight: 1 },
  { arbitrary: batchIntent, weight: 4 },
);

const rawWrite: fc.Arbitrary<BareWrite> = fc.record({
  method: fc.constantFrom("PUT", "DELETE"),
  path: key.map((name) => `/kv/${name}`),
  text,
  headers: fc.constantFrom(
    {},
    { "content-type": "text/html" },
    { "if-none-match": "*" },
    { "if-match": "*" },
  ),
});

const TEXT = { "content-type": "text/plain" };
const producer = (seq: number) => ({
  "producer-id": "p",
  "producer-epoch": "0",
  "producer-seq": String(seq),
});
const durableWrite: fc.Arbitrary<BareWrite> = fc.record({
  method: fc.constantFrom("PUT", "POST", "POST", "DELETE"),
  path: fc.constantFrom("/v1/stream/s", "/v1/stream/t/u"),
  text,
  headers: fc.oneof(
    { weight: 5, arbitrary: fc.constant(TEXT) },
    { weight: 2, arbitrary: fc.nat(2).map((seq) => ({ ...TEXT, ...producer(seq) })) },
    fc.constantFrom({ ...TEXT, "stream-ttl": "2" }, { ...TEXT, "stream-closed": "true" }),
    fc.constant({ ...TEXT, "stream-forked-from": "/v1/stream/s" }),
  ),
});

export const bareWrite: fc.Arbitrary<BareWrite> = fc.oneof(rawWrite, durableWrite);

/** Writes that succeed in every state of the world above, each a little different from the last. */
export const SURE: readonly ((turn: number) => Intent)[] = [
  (turn) => intent("kv.append", "/kv/{key}/append", { key: "sure" }, { value: `${turn};` }),
  (turn) =>
    intent(
      "queue.publish",
      "/queue/{queue}/publish",
      { queue: "sure" },
      { payload: `job ${turn}`, headers: { turn: "1", "1": "0" } },
    ),
  (turn) =>
    intent("stream.publish", "/stream/{room}/publish", { room: "sure" }, { event: "e", data: { turn } }),
  (turn) => intent("kv.set", "/kv/set", {}, { key: "sure", value: { turn, digits: 1.5 }, get: true }),
  (turn) => batchOf(SURE.slice(0, 3).map((each) => each(turn))),
  (turn) => intent("queue.consume", consumePath, { queue: "sure", consumer_id: `c${turn}` }, { count: 2 }),
];

function intent(
  command: string,
  path: string,
  inPath: Readonly<Record<string, string>>,
  fields: Readonly<Record<string, unknown>>,
): Intent {
  return { command, method: "POST", path, inPath, fields };
}
