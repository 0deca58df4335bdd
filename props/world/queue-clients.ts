/**
 * Concurrent clients of one queue of a store, each doing one call at a time, and the history of what they did and heard.
 * `checkers/queue-model.ts` judges it. A client keeps the receipts that it was given, also those that it has used or that a
 * deadline has taken from it, and tries them again.
 */
import {
  asIs,
  type Context,
  type Decider,
  type OpenedStore,
  type Outcome,
  queue,
} from "../../projections/index.js";
import type { Delivered, QueueInput, QueueOutput } from "../checkers/queue-model.js";
import { CallHistory } from "./call-history.js";
import type { Random } from "./fate.js";

export const QUEUE = "jobs";
export const MAX_RETRIES = 1;
export const ACK_DEADLINE_MS = 600_000;

export class QueueHistory extends CallHistory<QueueInput, QueueOutput> {
  /** Every delivery that anybody was told of, the newest last. */
  readonly deliveries: Delivered[] = [];
  /** The clock has been moved past every deadline, and nobody has heard yet that they passed: no client may begin before. */
  deadlinesOver = false;
  #payloads = 0;

  begin(input: QueueInput): ReturnType<typeof this.opened> {
    return this.opened(input, {});
  }

  override answered(call: ReturnType<typeof this.opened>, output: QueueOutput): void {
    super.answered(call, output);
    if (output.type === "passed") this.deadlinesOver = false;
    if (output.type === "delivered") this.deliveries.push(...output.messages);
  }

  freshPayload(): string {
    this.#payloads += 1;
    return `m${this.#payloads}`;
  }

  protected override isRead({ type }: QueueInput): boolean {
    return type === "count";
  }
}

export interface QueueClientsOptions {
  readonly store: OpenedStore;
  readonly history: QueueHistory;
  readonly now: () => number;
  readonly random: Random;
  readonly clients: number;
  readonly callsEach: number;
  /** False once the process has ended: answers that come later were never heard. */
  readonly alive: () => boolean;
}

/** Makes the queue, unless it is there, lets the deadlines pass that are over, then runs the clients. */
export async function runQueueClients(options: QueueClientsOptions): Promise<void> {
  const { history, random, alive } = options;
  const door = queueDoor(options.store, options.now);
  const call = async (input: QueueInput): Promise<boolean> => {
    const begun = history.begin(input);
    const output = await door(input);
    if (!alive()) return false;
    history.answered(begun, output);
    return true;
  };
  await createQueue(options.store, options.now);
  if (!alive()) return;
  if (history.deadlinesOver && !(await call({ type: "passDeadlines" }))) return;
  const serve = async (): Promise<void> => {
    for (let index = 0; index < options.callsEach && alive(); index += 1)
      if (!(await call(randomQueueInput(random, history)))) return;
  };
  await Promise.all(Array.from({ length: options.clients }, serve));
}

/** What a client may know when it chooses its next call. */
export interface QueueKnowledge {
  /** The newest last. */
  readonly deliveries: readonly Delivered[];
  freshPayload(): string;
}

export function randomQueueInput(random: Random, history: QueueKnowledge): QueueInput {
  const draw = random();
  const fresh = () => ({ payload: history.freshPayload(), priority: random() < 0.3 ? 9 : 5 });
  if (draw < 0.3) return { type: "publish", messages: random() < 0.3 ? [fresh(), fresh()] : [fresh()] };
  if (draw < 0.6) return { type: "consume", count: random() < 0.3 ? 2 : 1 };
  if (draw < 0.7) return { type: "count" };
  const { deliveries } = history;
  const back = Math.floor(random() * Math.min(8, deliveries.length));
  const delivery = deliveries[deliveries.length - 1 - back];
  if (delivery === undefined) return { type: "count" };
  const { messageId, receipt } = delivery;
  return { type: draw < 0.87 ? "ack" : "nack", messageId, receipt };
}

const contextAt = (now: number): Context => ({ now, random: 0.5, cause: { command: "test" } });

async function createQueue(store: OpenedStore, now: () => number): Promise<void> {
  const config = { maxRetries: MAX_RETRIES, ackDeadlineMs: ACK_DEADLINE_MS };
  await store.execute(queue.create, { queue: QUEUE, config }, contextAt(now()), asIs);
}

/** What callers of the queue hear. */
function queueDoor(store: OpenedStore, now: () => number): (input: QueueInput) => Promise<QueueOutput> {
  const run = async <Command, Answer>(
    decide: Decider<Command, Answer>,
    command: Command,
  ): Promise<Outcome<Answer>> => store.execute(decide, command, contextAt(now()), asIs);
  const done = <Answer>(outcome: Outcome<Answer>): Answer => {
    if (outcome.type === "done") return outcome.answer;
    throw new Error(`unexpected refusal ${outcome.code}: ${outcome.message}`);
  };
  return async (input) => {
    switch (input.type) {
      case "publish": {
        const messages = input.messages.map(({ payload, priority }) => ({
          payload: Buffer.from(payload),
          priority,
        }));
        const { messages: published } = done(await run(queue.publishMany, { queue: QUEUE, messages }));
        return { type: "published", ids: published.map(({ messageId }) => messageId) };
      }
      case "consume": {
        const command = { queue: QUEUE, consumer: "c", count: input.count };
        const { messages } = done(await run(queue.consume, command));
        return { type: "delivered", messages: messages.map(deliveredOf) };
      }
      case "ack": {
        const { messageId, receipt } = input;
        const outcome = await run(queue.ack, { queue: QUEUE, messageId, receipt });
        if (isNotOpen(outcome)) return { type: "notOpen" };
        done(outcome);
        return { type: "acked", offset: offsetOf(outcome) };
      }
      case "nack": {
        const { messageId, receipt } = input;
        const outcome = await run(queue.nack, { queue: QUEUE, messageId, receipt });
        if (isNotOpen(outcome)) return { type: "notOpen" };
        const answer = done(outcome);
        return {
          type: "nacked",
          dead: answer.outcome === "dead",
          retryCount: answer.retryCount,
          offset: offsetOf(outcome),
        };
      }
      case "passDeadlines":
        return { type: "passed", count: done(await run(queue.due, { limit: 1_000 })).passed };
      case "count": {
        const outcome = await store.query(queue.stats, { queue: QUEUE }, contextAt(now()), asIs);
        const { waiting, inFlight, dead } = done(outcome);
        return { type: "counted", waiting, inFlight, dead };
      }
    }
  };
}

const offsetOf = (outcome: Outcome<unknown>): number => (outcome.type === "done" ? outcome.offset : 0);

function deliveredOf(message: {
  readonly payload: Uint8Array;
  readonly messageId: string;
  readonly receipt: string;
  readonly attempt: number;
}): Delivered {
  const { payload, messageId, receipt, attempt } = message;
  return { payload: Buffer.from(payload).toString(), messageId, receipt, attempt };
}

function isNotOpen(outcome: Outcome<unknown>): boolean {
  if (outcome.type === "done") return false;
  return outcome.code === "QUEUE_RECEIPT_STALE" || outcome.code === "QUEUE_MESSAGE_NOT_FOUND";
}
