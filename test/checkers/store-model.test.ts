/** The joint specification of a queue and keys for the linearizability checker, tested on histories whose verdict is known. */
import { describe, expect, test } from "vitest";
import { checkLinearizable } from "../../props/checkers/linearizability.js";
import {
  type BatchInput,
  checkStoreLinearizable,
  type StoreCall,
  type StoreInput,
  type StoreOutput,
  storeModel,
} from "../../props/checkers/store-model.js";

const call = (began: number, ended: number, input: StoreInput, output?: StoreOutput): StoreCall => ({
  began,
  ended,
  input,
  output,
});
const get: StoreInput = { on: "key", key: "k", call: { type: "get" } };
const set = (value: string): StoreInput => ({ on: "key", key: "k", call: { type: "set", value } });
const found = (value: string, revision: number): StoreOutput => ({
  on: "key",
  answer: { type: "found", value, revision },
});
const absent: StoreOutput = { on: "key", answer: { type: "absent" } };
const written = (revision: number): StoreOutput => ({ on: "key", answer: { type: "written", revision } });
const publish = (payload: string): StoreInput => ({
  on: "queue",
  call: { type: "publish", messages: [{ payload, priority: 5 }] },
});
const published = (offset: number): StoreOutput => ({
  on: "queue",
  answer: { type: "published", ids: [`${offset}-0`] },
});
const consume: StoreInput = { on: "queue", call: { type: "consume", count: 1 } };
const delivered = (payload: string, messageId: string, at: number): StoreOutput => ({
  on: "queue",
  answer: { type: "delivered", messages: [{ payload, messageId, receipt: `${at}-0`, attempt: 1 }] },
});
const count: StoreInput = { on: "queue", call: { type: "count" } };
const counted = (waiting: number, inFlight: number): StoreOutput => ({
  on: "queue",
  answer: { type: "counted", waiting, inFlight, dead: 0 },
});
const ack: StoreInput = { on: "queue", call: { type: "ack", messageId: "1-0", receipt: "2-0" } };
const acked = (offset: number): StoreOutput => ({ on: "queue", answer: { type: "acked", offset } });
const parts: BatchInput = {
  type: "batch",
  messageId: "1-0",
  receipt: "2-0",
  key: "k",
  value: "v",
  payload: "b",
  priority: 5,
};
const batch: StoreInput = { on: "both", call: parts };
const done = (offset: number): StoreOutput => ({ on: "both", answer: "done", offset, id: `${offset}-2` });
const notOpen: StoreOutput = { on: "both", answer: "notOpen" };

/** One message, in flight. */
const first = [call(1, 2, publish("a"), published(1)), call(3, 4, consume, delivered("a", "1-0", 2))];

const good: Record<string, readonly StoreCall[]> = {
  "a batch, all of it": [
    ...first,
    call(5, 6, batch, done(3)),
    call(7, 8, get, found("v", 3)),
    call(9, 10, count, counted(1, 0)),
    call(11, 12, consume, delivered("b", "3-2", 4)),
  ],
  "an unanswered batch that happened": [
    ...first,
    call(5, 6, batch),
    call(7, 8, get, found("v", 3)),
    call(9, 10, count, counted(1, 0)),
  ],
  "an unanswered batch that did not": [
    ...first,
    call(5, 6, batch),
    call(7, 8, get, absent),
    call(9, 10, count, counted(0, 1)),
    call(11, 12, ack, acked(3)),
  ],
  "a refused batch, nothing of it": [
    ...first,
    call(5, 6, ack, acked(3)),
    call(7, 8, batch, notOpen),
    call(9, 10, get, absent),
    call(11, 12, count, counted(0, 0)),
  ],
  "an unanswered set that happened": [call(1, 2, set("x")), call(3, 4, get, found("x", 1))],
  "changes at the same time, their offsets in either order": [
    call(1, 4, set("x"), written(2)),
    call(2, 3, publish("a"), published(1)),
  ],
};

const bad: Record<string, readonly StoreCall[]> = {
  "an unanswered batch of which only the key is there": [
    ...first,
    call(5, 6, batch),
    call(7, 8, get, found("v", 3)),
    call(9, 10, count, counted(0, 1)),
  ],
  "an unanswered batch of which only the message is there": [
    ...first,
    call(5, 6, batch),
    call(7, 8, get, absent),
    call(9, 10, consume, delivered("b", "3-2", 4)),
  ],
  "an unanswered batch whose ack alone was forgotten": [
    ...first,
    call(5, 6, batch),
    call(7, 8, get, found("v", 3)),
    call(9, 10, count, counted(1, 1)),
  ],
  "a refused batch that has set the key": [
    ...first,
    call(5, 6, ack, acked(3)),
    call(7, 8, batch, notOpen),
    call(9, 10, get, found("v", 4)),
  ],
  "a batch by a receipt that was used": [...first, call(5, 6, ack, acked(3)), call(7, 8, batch, done(4))],
  "an answered set that a restart has forgotten": [call(1, 2, set("x"), written(1)), call(3, 4, get, absent)],
  "an answered publish that a restart has forgotten": [
    call(1, 2, publish("a"), published(1)),
    call(3, 4, count, counted(0, 0)),
  ],
  "an acked message that comes again": [
    ...first,
    call(5, 6, ack, acked(3)),
    call(7, 8, consume, delivered("a", "1-0", 4)),
  ],
  "an unanswered set that happens after the restart": [
    call(1, 2, set("x")),
    call(3, 4, get, absent),
    call(5, 6, get, found("x", 1)),
  ],
  "an offset given to two changes": [
    call(1, 2, set("x"), written(1)),
    call(3, 4, publish("a"), published(1)),
  ],
  "a later change with a smaller offset": [
    call(1, 2, publish("a"), published(2)),
    call(3, 4, set("x"), written(1)),
  ],
};

describe("the model of a queue and keys", () => {
  for (const [name, history] of Object.entries(good))
    test(`takes ${name}`, () => {
      expect(checkLinearizable(storeModel(1), history)).toEqual({ type: "linearizable" });
      checkStoreLinearizable(history, 1);
    });

  for (const [name, history] of Object.entries(bad))
    test(`refuses ${name}`, () => {
      expect(checkLinearizable(storeModel(1), history).type).toBe("broken");
      expect(() => checkStoreLinearizable(history, 1)).toThrow("linearizable");
    });
});
