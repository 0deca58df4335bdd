/**
 * Every write that there is, once, in an order in which all of them succeed: what is written to is there, what is acknowledged
 * was delivered before. A step without a key prepares the next one.
 */
import type { BareWrite, Intent } from "./keyed-requests.js";

export interface KeyedWrite {
  readonly intent: Intent;
  readonly keyed: boolean;
}

function keyed(
  command: string,
  method: Intent["method"],
  path: string,
  inPath: Intent["inPath"] = {},
  fields: Intent["fields"] = {},
): KeyedWrite {
  return { intent: { command, method, path, inPath, fields }, keyed: true };
}

const unkeyed = (...all: Parameters<typeof keyed>): KeyedWrite => ({ ...keyed(...all), keyed: false });

const key = (name: string) => ({ key: name });
const queue = { queue: "new" };
const room = { room: "new" };
const consume = (consumer: string) =>
  keyed("queue.consume", "POST", "/queue/{queue}/consume/{consumer_id}", { ...queue, consumer_id: consumer });
const publish = (payload: string) =>
  keyed("queue.publish", "POST", "/queue/{queue}/publish", queue, { payload, headers: { b: "2", "1": "9" } });
const delivery = { message_id: "$message", receipt: "$receipt" };
const client = { client_id: "a client" };

/** Of the first of these writes: the queues and rooms that `KeyedClients` begin with are made before it. */
const FIRST_REVISION = 7;

const keys: readonly KeyedWrite[] = [
  keyed("kv.set", "POST", "/kv/set", {}, { key: "n", value: "1", get: true }),
  keyed("kv.set", "POST", "/kv/set", {}, { key: "n", value: "never", nx: true }),
  keyed("kv.incr", "POST", "/kv/{key}/incr", key("n"), { amount: 2 }),
  keyed("kv.decr", "POST", "/kv/{key}/decr", key("n")),
  keyed("kv.append", "POST", "/kv/{key}/append", key("text"), { value: "some" }),
  keyed("kv.setrange", "POST", "/kv/{key}/setrange", key("text"), { offset: 2, value: "x" }),
  keyed("kv.getset", "POST", "/kv/{key}/getset", key("text"), { value: { b: 1.5, "1": "é" } }),
  keyed("kv.getset", "POST", "/kv/{key}/getset", key("text"), { value: "last" }),
  keyed(
    "kv.mset",
    "POST",
    "/kv/mset",
    {},
    {
      pairs: [
        { key: "x", value: 1 },
        { key: "y", value: [2] },
      ],
    },
  ),
  keyed("kv.msetnx", "POST", "/kv/msetnx", {}, { pairs: [{ key: "z", value: 1 }] }),
  keyed("kv.expire", "POST", "/key/{key}/expire", key("x"), { ttl: 100 }),
  keyed("kv.persist", "POST", "/key/{key}/persist", key("x")),
  keyed("key.copy", "POST", "/key/{key}/copy", key("x"), { destination: "x2" }),
  keyed("key.rename", "POST", "/key/{key}/rename", key("x2"), { destination: "x3" }),
  keyed("key.renamenx", "POST", "/key/{key}/renamenx", key("x3"), { destination: "x4" }),
  keyed("kv.del", "DELETE", "/kv/del/{key}", key("x4")),
  keyed("kv.mdel", "POST", "/kv/mdel", {}, { keys: ["y", "z"] }),
  keyed("kv.revert", "POST", "/kv/{key}/revert", key("n"), { revision: FIRST_REVISION }),
  keyed("kv.restore", "POST", "/kv/restore", {}, { pattern: "n", at: FIRST_REVISION }),
];

const queues: readonly KeyedWrite[] = [
  keyed("queue.create", "POST", "/queue/{name}", { name: "new" }, { default_max_retries: 1 }),
  publish("one"),
  publish("two"),
  keyed("queue.publish_batch", "POST", "/queue/{queue}/publish/batch", queue, {
    messages: [{ payload: [1, 2], priority: 9 }, { payload: "three" }],
  }),
  consume("first"),
  keyed("queue.extend", "POST", "/queue/{queue}/extend", queue, { ...delivery, ack_deadline_secs: 60 }),
  keyed("queue.ack", "POST", "/queue/{queue}/ack", queue, delivery),
  consume("second"),
  keyed("queue.ack_batch", "POST", "/queue/{queue}/ack/batch", queue, { messages: [delivery, delivery] }),
  consume("third"),
  keyed("queue.nack", "POST", "/queue/{queue}/nack", queue, { ...delivery, requeue: false }),
  keyed("queue.dlq_requeue", "POST", "/queue/{queue}/dlq/requeue", queue),
  consume("fourth"),
  unkeyed("queue.nack", "POST", "/queue/{queue}/nack", queue, { ...delivery, requeue: false }),
  keyed("queue.dlq_purge", "POST", "/queue/{queue}/dlq/purge", queue),
  keyed("queue.purge", "POST", "/queue/{queue}/purge", queue),
  keyed("queue.delete", "DELETE", "/queue/{queue}", queue),
];

const rooms: readonly KeyedWrite[] = [
  keyed("stream.create", "POST", "/stream/{room}", room, { max_events: 10 }),
  keyed("stream.get_or_create", "PUT", "/stream/{room}", room),
  keyed("stream.publish", "POST", "/stream/{room}/publish", room, { event: "e", data: { digits: 1.0 } }),
  keyed("stream.publish_batch", "POST", "/stream/{room}/publish/batch", room, {
    events: [
      { event: "e", data: 1 },
      { event: "f", data: "x" },
    ],
  }),
  keyed("stream.trim", "POST", "/stream/{room}/trim", room, { before_offset: 2 }),
  keyed("stream.delete", "DELETE", "/stream/{room}", room),
];

const several: readonly KeyedWrite[] = [
  keyed(
    "batch",
    "POST",
    "/batch",
    {},
    {
      operations: [
        { command: "kv.incr", payload: { key: "n", amount: "9007199254740993" } },
        { command: "stream.get_or_create", payload: { room: "batched" } },
      ],
    },
  ),
  unkeyed("transaction.multi", "POST", "/transaction/multi", {}, client),
  unkeyed("kv.incr", "POST", "/kv/{key}/incr", key("n"), client),
  keyed("transaction.exec", "POST", "/transaction/exec", {}, client),
  keyed("restore_point.create", "POST", "/restore-points", {}, { name: "before-the-flush" }),
  keyed("kv.flushdb", "POST", "/kv/flushdb"),
];

export const everyWrite: readonly KeyedWrite[] = [...keys, ...queues, ...rooms, ...several];

const TEXT = { "content-type": "text/plain" };
const stream = "/v1/stream/new";

/** Through the doors whose bodies are the contents themselves. */
export const everyBareWrite: readonly BareWrite[] = [
  {
    method: "PUT",
    path: "/kv/raw",
    text: "first",
    headers: { "content-type": "text/html", "x-annals-ttl": "60" },
  },
  { method: "PUT", path: "/kv/raw", text: "", headers: { "if-match": "*" } },
  { method: "DELETE", path: "/kv/raw", text: "", headers: {} },
  { method: "PUT", path: stream, text: "created", headers: { ...TEXT, "stream-ttl": "60" } },
  { method: "PUT", path: stream, text: "not again", headers: { ...TEXT, "stream-ttl": "60" } },
  { method: "POST", path: stream, text: "appended", headers: { ...TEXT, "stream-seq": "1" } },
  {
    method: "POST",
    path: stream,
    text: "by a producer",
    headers: { ...TEXT, "producer-id": "p", "producer-epoch": "0", "producer-seq": "0" },
  },
  { method: "PUT", path: `${stream}/fork`, text: "", headers: { ...TEXT, "stream-forked-from": stream } },
  { method: "POST", path: `${stream}/fork`, text: "last", headers: { ...TEXT, "stream-closed": "true" } },
  { method: "DELETE", path: `${stream}/fork`, text: "", headers: {} },
];
