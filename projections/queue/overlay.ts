/**
 * The queues as they will be when the events of a batch's earlier operations are in the log: its own facts over those of the view
 * below, which it never changes. What the batch publishes is counted, charged and remembered by its key, but cannot be asked
 * for by id: it has none before the record has its offset. So no event of the batch speaks of it either.
 */
import { BEFORE_FIRST, type Offset, unreachable } from "../../log/index.js";
import { payloadBytesOf } from "./codec.js";
import type {
  EventRef,
  MessageBody,
  MessageEvent,
  MessageHead,
  MessagePublished,
  MessageState,
  QueueConfig,
  QueueEvent,
  QueueHead,
  QueueView,
} from "./contract.js";
import { headersBytesOf } from "./decisions.js";
import { keyChargeOf } from "./dedup-keys.js";
import { idOf } from "./ids.js";
import { chargeOf } from "./message-table.js";

export interface QueueOverlay {
  readonly view: QueueView;
  /** `place`: that of the event in the batch's record, from 0. */
  apply(event: QueueEvent, place: number): void;
}

export function queueOverlay(below: QueueView): QueueOverlay {
  const view = new OverlaidQueues(below);
  return { view, apply: (event, place) => view.apply(event, place) };
}

const COUNTER_OF = {
  waiting: "waiting",
  delayed: "delayed",
  in_flight: "inFlight",
  dead: "dead",
} as const satisfies Record<MessageState, keyof QueueHead>;

type Count = (typeof COUNTER_OF)[MessageState];

interface KeyInBatch {
  readonly ref: EventRef;
  readonly until: number;
}

/** What the batch has done to one queue. */
class TouchedQueue {
  readonly name: string;
  readonly config: QueueConfig;
  readonly lastOffset: Offset;
  readonly counts: Record<Count, number>;
  // Made when they are asked for: a publish, which is most of what batches do, needs none of them.
  #messages: Map<string, MessageHead | undefined> | undefined;
  #held: Map<string, number> | undefined;
  #died: Map<string, MessageHead> | undefined;
  #keys: Map<string, KeyInBatch> | undefined;
  #emptied: Set<MessageState> | undefined;
  /** No letter of the queue below that died up to there is dead any more. */
  deadPast: EventRef | undefined;

  constructor(head: QueueHead) {
    this.name = head.name;
    this.config = head.config;
    this.lastOffset = head.lastOffset;
    const { waiting, delayed, inFlight, dead } = head;
    this.counts = { waiting, delayed, inFlight, dead };
  }

  get head(): QueueHead {
    return { name: this.name, config: this.config, lastOffset: this.lastOffset, ...this.counts };
  }

  /** Of the queue below, by id, as they are now; undefined = gone. */
  get messages(): Map<string, MessageHead | undefined> {
    this.#messages ??= new Map();
    return this.#messages;
  }

  /** More (or fewer) open deliveries of a consumer than below. */
  get held(): Map<string, number> {
    this.#held ??= new Map();
    return this.#held;
  }

  /** Dead since the batch, in order of their death. */
  get died(): Map<string, MessageHead> {
    this.#died ??= new Map();
    return this.#died;
  }

  get keys(): Map<string, KeyInBatch> {
    this.#keys ??= new Map();
    return this.#keys;
  }

  /** States that nothing of the queue below is in any more: purged, or the queue is a new one. */
  get emptied(): Set<MessageState> {
    this.#emptied ??= new Set();
    return this.#emptied;
  }
}

class OverlaidQueues implements QueueView {
  readonly isBatch = true;
  readonly #below: QueueView;
  /** undefined = deleted. */
  readonly #touched = new Map<string, TouchedQueue | undefined>();
  /** Queues whose namesake below is not meant any more: deleted, perhaps created again. */
  readonly #replaced = new Set<string>();
  #queueCount: number;
  #memoryBytes: number;
  #requeuedDead = 0;

  constructor(below: QueueView) {
    this.#below = below;
    this.#queueCount = below.queueCount;
    this.#memoryBytes = below.memoryBytes;
  }

  get lastListChange(): Offset {
    return this.#below.lastListChange;
  }

  get queueCount(): number {
    return this.#queueCount;
  }

  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  get requeuedDead(): number {
    return this.#requeuedDead;
  }

  queue(name: string): QueueHead | undefined {
    return this.#touched.has(name) ? this.#touched.get(name)?.head : this.#below.queue(name);
  }

  message(name: string, ref: EventRef): MessageHead | undefined {
    if (this.#replaced.has(name)) return undefined;
    const touched = this.#touched.get(name);
    const id = idOf(ref);
    if (touched?.messages.has(id)) return touched.messages.get(id);
    const message = this.#below.message(name, ref);
    return message !== undefined && touched?.emptied.has(message.state) ? undefined : message;
  }

  body(name: string, ref: EventRef): MessageBody | undefined {
    return this.message(name, ref) === undefined ? undefined : this.#below.body(name, ref);
  }

  published(name: string, dedupKey: string, now: number): EventRef | undefined {
    const own = this.#touched.get(name)?.keys.get(dedupKey);
    if (own !== undefined) return own.until > now ? own.ref : undefined;
    return this.#replaced.has(name) ? undefined : this.#below.published(name, dedupKey, now);
  }

  heldBy(name: string, consumer: string): number {
    const below = this.#replaced.has(name) ? 0 : this.#below.heldBy(name, consumer);
    return below + (this.#touched.get(name)?.held.get(consumer) ?? 0);
  }

  first(): Iterable<MessageHead> {
    return [];
  }

  /** Nothing that the batch has touched is due at the time of the batch. */
  due(name: string, now: number, limit: number): readonly MessageHead[] {
    return this.#untouched(name, limit, (more) => this.#below.due(name, now, more));
  }

  dueQueues(): readonly string[] {
    return [];
  }

  deadLetters(name: string, limit: number, after?: EventRef): readonly MessageHead[] {
    const below = this.#deadBelow(name, limit, after);
    if (below.length === limit) return below;
    // Those that died in the batch come last.
    const letters = [...below];
    for (const letter of this.#touched.get(name)?.died.values() ?? []) {
      letters.push(letter);
      if (letters.length === limit) break;
    }
    return letters;
  }

  /** Many operations may each ask for a few: what the first ones took is not walked past again. */
  #deadBelow(name: string, limit: number, after: EventRef | undefined): readonly MessageHead[] {
    if (this.#replaced.has(name)) return [];
    const touched = this.#touched.get(name);
    if (touched === undefined) return this.#below.deadLetters(name, limit, after);
    if (touched.emptied.has("dead")) return [];
    const found: MessageHead[] = [];
    let from = after ?? touched.deadPast;
    for (;;) {
      const page = this.#below.deadLetters(name, limit, from);
      for (const letter of page) {
        from = letter.death?.ref;
        if (!touched.messages.has(idOf(letter.ref))) found.push(letter);
        else if (after === undefined && found.length === 0) touched.deadPast = from;
        if (found.length === limit) return found;
      }
      if (page.length < limit) return found;
    }
  }

  #untouched(
    name: string,
    limit: number,
    ask: (limit: number) => readonly MessageHead[],
  ): readonly MessageHead[] {
    if (this.#replaced.has(name)) return [];
    const touched = this.#touched.get(name);
    if (touched === undefined) return ask(limit);
    return ask(limit + touched.messages.size)
      .filter(({ ref, state }) => !touched.messages.has(idOf(ref)) && !touched.emptied.has(state))
      .slice(0, limit);
  }

  apply(event: QueueEvent, place: number): void {
    if (event.type === "queue.created") {
      const { queue: name, config } = event;
      const head = { name, config, lastOffset: BEFORE_FIRST, waiting: 0, delayed: 0, inFlight: 0, dead: 0 };
      this.#touched.set(name, new TouchedQueue(head));
      this.#replaced.add(name);
      this.#queueCount++;
      return;
    }
    const queue = this.#touch(event.queue);
    if (queue === undefined) return;
    switch (event.type) {
      case "queue.deleted":
        this.#touched.set(event.queue, undefined);
        this.#replaced.add(event.queue);
        this.#queueCount--;
        break;
      case "queue.published":
        this.#publish(queue, event, place);
        break;
      case "queue.purged":
        empty(queue, "waiting");
        empty(queue, "delayed");
        break;
      case "queue.dead_purged":
        empty(queue, "dead");
        break;
      default:
        if (event.type === "queue.dead_requeued") this.#requeuedDead++;
        this.#applyToMessage(queue, event, place);
    }
  }

  #touch(name: string): TouchedQueue | undefined {
    if (this.#touched.has(name)) return this.#touched.get(name);
    const head = this.#below.queue(name);
    const touched = head && new TouchedQueue(head);
    this.#touched.set(name, touched);
    return touched;
  }

  #publish(queue: TouchedQueue, event: MessagePublished, place: number): void {
    queue.counts[event.availableAt === 0 ? "waiting" : "delayed"]++;
    this.#memoryBytes += chargeOf(payloadBytesOf(event.payload), headersBytesOf(event.headers));
    if (event.dedupKey === "") return;
    this.#memoryBytes += keyChargeOf(event.dedupKey);
    queue.keys.set(event.dedupKey, { ref: { offset: BEFORE_FIRST, place }, until: event.dedupUntil });
  }

  #applyToMessage(queue: TouchedQueue, event: MessageEvent, place: number): void {
    const before = this.message(queue.name, event.message);
    if (before === undefined) return;
    const after = changed(before, event, { offset: BEFORE_FIRST, place });
    queue.counts[COUNTER_OF[before.state]]--;
    if (after !== undefined) queue.counts[COUNTER_OF[after.state]]++;
    hold(queue, before, -1);
    hold(queue, after, 1);
    const id = idOf(event.message);
    queue.messages.set(id, after);
    if (after?.state === "dead") queue.died.set(id, after);
    else queue.died.delete(id);
  }
}

function hold(queue: TouchedQueue, message: MessageHead | undefined, by: 1 | -1): void {
  const { consumer } = message?.delivery ?? {};
  if (consumer !== undefined) queue.held.set(consumer, (queue.held.get(consumer) ?? 0) + by);
}

function empty(queue: TouchedQueue, state: MessageState): void {
  queue.counts[COUNTER_OF[state]] = 0;
  queue.emptied.add(state);
  for (const [id, message] of queue.messages) {
    if (message?.state === state) queue.messages.set(id, undefined);
  }
  if (state === "dead") queue.died.clear();
}

/** The message after the event; undefined = gone. `at` is the event's own place. */
function changed(message: MessageHead, event: MessageEvent, at: EventRef): MessageHead | undefined {
  const { delivery, death: _death, ...rest } = message;
  switch (event.type) {
    case "queue.acked":
    case "queue.expired":
      return undefined;
    case "queue.delivered":
      return {
        ...rest,
        state: "in_flight",
        delivery: { receipt: at, consumer: event.consumer, deadline: event.deadline },
      };
    case "queue.requeued": {
      const { retryCount, availableAt } = event;
      return { ...rest, state: availableAt === 0 ? "waiting" : "delayed", retryCount, availableAt };
    }
    case "queue.died":
      return {
        ...rest,
        state: "dead",
        retryCount: event.retryCount,
        death: { reason: event.reason, at: 0, ref: at },
      };
    case "queue.deadline_extended":
      return delivery === undefined
        ? message
        : { ...rest, delivery: { ...delivery, deadline: event.deadline } };
    case "queue.released":
      return { ...rest, state: "waiting", availableAt: 0 };
    case "queue.dead_requeued":
      return { ...rest, state: "waiting", retryCount: 0, availableAt: 0, expiresAt: 0 };
    default:
      return unreachable(event);
  }
}
