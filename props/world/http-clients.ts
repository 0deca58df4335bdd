/**
 * Concurrent clients of the real server over HTTP, each doing one call at a time on one queue, on some keys, or on both in
 * a batch, and the history of what they did and heard, across kills. `checkers/store-model.ts` judges it.
 */
import { type Answer, errorCodeOf, type HttpClient } from "../../test/support/http-client.js";
import type { Delivered, QueueInput, QueueOutput } from "../checkers/queue-model.js";
import type { BatchInput, StoreInput, StoreOutput } from "../checkers/store-model.js";
import { CallHistory } from "./call-history.js";
import type { Random } from "./fate.js";
import { httpDoor, type KeyDoor, randomKeyInput } from "./key-clients.js";
import { ACK_DEADLINE_MS, MAX_RETRIES, QUEUE, randomQueueInput } from "./queue-clients.js";

export class StoreHistory extends CallHistory<StoreInput, StoreOutput> {
  readonly keys: readonly string[];
  /** Every delivery that anybody was told of, the newest last. */
  readonly deliveries: Delivered[] = [];
  readonly #revisions = new Map<string, number>();
  #payloads = 0;

  constructor(keys: readonly string[]) {
    super();
    this.keys = keys;
  }

  begin(input: StoreInput): ReturnType<typeof this.opened> {
    return this.opened(input, {});
  }

  override answered(call: ReturnType<typeof this.opened>, output: StoreOutput): void {
    super.answered(call, output);
    if (output.on === "queue" && output.answer.type === "delivered")
      this.deliveries.push(...output.answer.messages);
    if (output.on !== "key" || call.input.on !== "key") return;
    const { answer } = output;
    if ((answer.type === "found" || answer.type === "written") && answer.revision !== undefined)
      this.#revisions.set(call.input.key, answer.revision);
  }

  freshPayload(): string {
    this.#payloads += 1;
    return `m${this.#payloads}`;
  }

  lastRevision(key: string): number {
    return this.#revisions.get(key) ?? 0;
  }

  protected override isRead(input: StoreInput): boolean {
    return input.on !== "both" && (input.call.type === "get" || input.call.type === "count");
  }
}

export class HttpClients {
  readonly #client: HttpClient;
  readonly #history: StoreHistory;
  readonly #random: Random;
  readonly #keyDoor: KeyDoor;

  constructor(client: HttpClient, history: StoreHistory, random: Random) {
    this.#client = client;
    this.#history = history;
    this.#random = random;
    this.#keyDoor = httpDoor(client);
  }

  /** Reads everything, one call after the other: what a kill has left is known before anybody changes it. */
  async audit(): Promise<void> {
    const config = { default_max_retries: MAX_RETRIES, ack_deadline_secs: ACK_DEADLINE_MS / 1000 };
    expectStatus(await this.#client.post(`/queue/${QUEUE}`, config), 200);
    const reads: StoreInput[] = this.#history.keys.map((key) => ({ on: "key", key, call: { type: "get" } }));
    for (const read of [...reads, { on: "queue", call: { type: "count" } } as const])
      if (!(await this.#call(read))) throw new Error("the server ended while it was read");
  }

  /** Resolves when every client has done its calls or has met the end of the server. */
  async run(clients: number, callsEach: number): Promise<void> {
    const serve = async (): Promise<void> => {
      for (let index = 0; index < callsEach; index += 1) if (!(await this.#call(this.#randomInput()))) return;
    };
    await Promise.all(Array.from({ length: clients }, serve));
  }

  /** Some of the nacks are of a last attempt, so that messages die. */
  #randomInput(): StoreInput {
    const random = this.#random;
    const draw = random();
    if (draw < 0.15) {
      const call = this.#randomBatch();
      if (call !== undefined) return { on: "both", call };
    }
    if (draw < 0.2) {
      const last = this.#history.deliveries.findLast(({ attempt }) => attempt > MAX_RETRIES);
      if (last !== undefined) return { on: "queue", call: { ...last, type: "nack" } };
    }
    if (draw < 0.65) return { on: "queue", call: randomQueueInput(random, this.#history) };
    const key = this.#randomKey();
    const unique = String(this.#history.calls.length);
    return { on: "key", key, call: randomKeyInput(random, unique, this.#history.lastRevision(key)) };
  }

  #randomKey(): string {
    const { keys } = this.#history;
    return keys[Math.floor(this.#random() * keys.length)] ?? "k";
  }

  /** Mostly of a delivery that is still open. */
  #randomBatch(): BatchInput | undefined {
    const { deliveries } = this.#history;
    const back = Math.floor(this.#random() * Math.min(4, deliveries.length));
    const delivery = deliveries[deliveries.length - 1 - back];
    if (delivery === undefined) return undefined;
    const { messageId, receipt } = delivery;
    const payload = this.#history.freshPayload();
    const priority = this.#random() < 0.3 ? 9 : 5;
    return { type: "batch", messageId, receipt, key: this.#randomKey(), value: payload, payload, priority };
  }

  /** False when the server has ended. */
  async #call(input: StoreInput): Promise<boolean> {
    const call = this.#history.begin(input);
    let output: StoreOutput;
    try {
      output = await this.#send(input);
    } catch (error) {
      if (!isConnectionError(error)) throw error;
      if (error.code === "ECONNREFUSED") this.#history.drop(call);
      return false;
    }
    this.#history.answered(call, output);
    return true;
  }

  async #send(input: StoreInput): Promise<StoreOutput> {
    switch (input.on) {
      case "queue":
        return { on: "queue", answer: await sendToQueue(this.#client, input.call) };
      case "both":
        return sendBatch(this.#client, input.call);
      case "key": {
        const answer = await this.#keyDoor(input.key, input.call);
        if (answer === "refused") throw new Error("the door refused");
        return { on: "key", answer };
      }
    }
  }
}

/** The connection broke, or there was nobody to connect to. Anything else is a mistake of a test or of the server. */
function isConnectionError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error && /^E(CONN|PIPE)/.test(String(error.code));
}

async function sendToQueue(client: HttpClient, input: QueueInput): Promise<QueueOutput> {
  switch (input.type) {
    case "publish": {
      const [first, ...more] = input.messages;
      const many = more.length > 0;
      const path = `/queue/${QUEUE}/publish${many ? "/batch" : ""}`;
      const told = payloadOf(await client.post(path, many ? { messages: input.messages } : { ...first }));
      const published: readonly { message_id: string }[] = many ? told.messages : [told];
      return { type: "published", ids: published.map(({ message_id }) => message_id) };
    }
    case "consume": {
      const wanted = { count: input.count, type: "string" };
      const { messages } = payloadOf(await client.post(`/queue/${QUEUE}/consume/c`, wanted));
      return { type: "delivered", messages: messages.map(deliveredOf) };
    }
    case "ack":
    case "nack": {
      const { type, messageId, receipt } = input;
      const body = { message_id: messageId, receipt, ...(type === "nack" ? { requeue: true } : {}) };
      const answer = await client.post(`/queue/${QUEUE}/${type}`, body);
      if (isNotOpen(answer)) return { type: "notOpen" };
      const { outcome, retry_count: retryCount, log_offset: offset } = payloadOf(answer);
      if (type === "ack") return { type: "acked", offset };
      return { type: "nacked", dead: outcome === "dead", retryCount, offset };
    }
    case "count": {
      const { depth, in_flight, dlq_count } = payloadOf(await client.send("GET", `/queue/${QUEUE}/stats`));
      return { type: "counted", waiting: depth, inFlight: in_flight, dead: dlq_count };
    }
    case "passDeadlines":
      throw new Error("nobody can move the clock of a process");
  }
}

async function sendBatch(client: HttpClient, batch: BatchInput): Promise<StoreOutput> {
  const { messageId, receipt, key, value, payload, priority } = batch;
  const operations = [
    { command: "kv.set", payload: { key, value } },
    { command: "queue.ack", payload: { queue: QUEUE, message_id: messageId, receipt } },
    { command: "queue.publish", payload: { queue: QUEUE, payload, priority } },
  ];
  const answer = await client.post("/batch", { operations });
  if (isNotOpen(answer)) return { on: "both", answer: "notOpen" };
  const { results, log_offset: offset } = payloadOf(answer);
  return { on: "both", answer: "done", offset, id: String(results[2].message_id) };
}

function deliveredOf(message: {
  readonly payload: string;
  readonly message_id: string;
  readonly receipt: string;
  readonly attempt: number;
}): Delivered {
  const { payload, message_id: messageId, receipt, attempt } = message;
  return { payload, messageId, receipt, attempt };
}

function isNotOpen(answer: Answer): boolean {
  return /^QUEUE_(RECEIPT_STALE|MESSAGE_NOT_FOUND)$/.test(errorCodeOf(answer) ?? "");
}

function expectStatus(answer: Answer, status: number): void {
  if (answer.status !== status) throw new Error(`unexpected answer ${answer.status}: ${answer.text}`);
}

/** The body of a success. What is in it is judged by the model. */
function payloadOf(answer: Answer): ReturnType<typeof JSON.parse> {
  expectStatus(answer, 200);
  return JSON.parse(answer.text);
}
