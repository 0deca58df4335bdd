/** The queue's specification for the linearizability checker, tested on histories whose verdict is known. */
import { describe, expect, test } from "vitest";
import { checkLinearizable } from "../../props/checkers/linearizability.js";
import {
  type QueueCall,
  type QueueInput,
  type QueueOutput,
  queueModel,
} from "../../props/checkers/queue-model.js";

const call = (began: number, ended: number, input: QueueInput, output?: QueueOutput): QueueCall => ({
  began,
  ended,
  input,
  output,
});
const open = Number.POSITIVE_INFINITY;
const publish = (payload: string, priority = 5): QueueInput => ({
  type: "publish",
  messages: [{ payload, priority }],
});
const published = (offset: number): QueueOutput => ({ type: "published", ids: [`${offset}-0`] });
const consume: QueueInput = { type: "consume", count: 1 };
const nothing: QueueOutput = { type: "delivered", messages: [] };
const delivered = (payload: string, from: number, at: number, attempt = 1): QueueOutput => ({
  type: "delivered",
  messages: [{ payload, messageId: `${from}-0`, receipt: `${at}-0`, attempt }],
});
const ack = (from: number, at: number): QueueInput => ({
  type: "ack",
  messageId: `${from}-0`,
  receipt: `${at}-0`,
});
const nack = (from: number, at: number): QueueInput => ({ ...ack(from, at), type: "nack" }) as QueueInput;
const acked = (offset: number): QueueOutput => ({ type: "acked", offset });
const nacked = (offset: number, retryCount = 1, dead = false): QueueOutput => ({
  type: "nacked",
  dead,
  retryCount,
  offset,
});
const notOpen: QueueOutput = { type: "notOpen" };

const first = [call(1, 2, publish("a"), published(1)), call(3, 4, consume, delivered("a", 1, 2))];

const good: Record<string, readonly QueueCall[]> = {
  "publish, consume, ack": [...first, call(5, 6, ack(1, 2), acked(3))],
  "the greater priority first": [
    call(1, 2, publish("a"), published(1)),
    call(3, 4, publish("b", 9), published(2)),
    call(5, 6, consume, delivered("b", 2, 3)),
  ],
  "a delivery of what was published without an answer": [
    call(1, open, publish("a")),
    call(2, 3, consume, delivered("a", 1, 2)),
  ],
  "a message gone with an unanswered consume": [
    call(1, 2, publish("a"), published(1)),
    call(3, open, consume),
    call(4, 5, consume, nothing),
  ],
  "the second attempt after a nack": [
    ...first,
    call(5, 6, nack(1, 2), nacked(3)),
    call(7, 8, consume, delivered("a", 1, 4, 2)),
  ],
  "an old receipt that does nothing": [
    ...first,
    call(5, 6, nack(1, 2), nacked(3)),
    call(7, 8, ack(1, 2), notOpen),
  ],
  "deadlines that pass": [
    ...first,
    call(5, 6, { type: "passDeadlines" }, { type: "passed", count: 1 }),
    call(7, 8, consume, delivered("a", 1, 4, 2)),
  ],
};

const bad: Record<string, readonly QueueCall[]> = {
  "a message lost": [call(1, 2, publish("a"), published(1)), call(3, 4, consume, nothing)],
  "a message delivered twice at once": [...first, call(5, 6, consume, delivered("a", 1, 3))],
  "priorities the wrong way round": [
    call(1, 2, publish("a"), published(1)),
    call(3, 4, publish("b", 9), published(2)),
    call(5, 6, consume, delivered("a", 1, 3)),
  ],
  "an attempt forgotten": [
    ...first,
    call(5, 6, nack(1, 2), nacked(3)),
    call(7, 8, consume, delivered("a", 1, 4, 1)),
  ],
  "a requeue lost": [...first, call(5, 6, nack(1, 2), nacked(3)), call(7, 8, consume, nothing)],
  "an ack taken back": [
    ...first,
    call(5, 6, ack(1, 2), acked(3)),
    call(7, 8, consume, delivered("a", 1, 4, 2)),
  ],
  "an ack by an old receipt": [...first, call(5, 6, nack(1, 2), nacked(3)), call(7, 8, ack(1, 2), acked(4))],
  "offsets that go back": [call(1, 2, publish("a"), published(5)), call(3, 4, publish("b"), published(4))],
  "a count that is wrong": [
    ...first,
    call(5, 6, { type: "count" }, { type: "counted", waiting: 1, inFlight: 0, dead: 0 }),
  ],
  "a death before its time": [...first, call(5, 6, nack(1, 2), nacked(3, 1, true))],
};

describe("linearizability checker, of a queue", () => {
  for (const [name, history] of Object.entries(good))
    test(`accepts ${name}`, () =>
      expect(checkLinearizable(queueModel(2), history).type).toBe("linearizable"));
  for (const [name, history] of Object.entries(bad))
    test(`refuses ${name}`, () => expect(checkLinearizable(queueModel(2), history).type).toBe("broken"));
});
