/**
 * One queue as a list of messages: the simplest thing that could be called a queue. Ids and receipts are the store's own; the
 * model only remembers them. Time passes for a message when something looks at the whole queue: consume, due, a publish that
 * needs room.
 */
import type { NewMessage, QueueConfig, QueueRejectionCode } from "../../projections/index.js";

type State = "waiting" | "delayed" | "in_flight" | "dead" | "acked" | "purged" | "expired";

export interface ModelMessage {
  readonly order: number;
  readonly message: NewMessage;
  readonly priority: number;
  readonly maxRetries: number;
  id: string;
  state: State;
  retryCount: number;
  availableAt: number;
  expiresAt: number;
  deadline: number;
  consumer: string;
  receipt: string;
  died: number;
  /** Since the publish or since it came back from the dead. */
  deliveries: number;
}

export type Refused = { readonly refused: QueueRejectionCode };

export class QueueModel {
  now: number;
  readonly config: QueueConfig;
  messages: ModelMessage[] = [];
  counts = { published: 0, consumed: 0, acked: 0, nacked: 0, timedOut: 0, deadLettered: 0, deadRequeued: 0 };
  #order = 0;
  #deaths = 0;
  #keys = new Map<string, { message: ModelMessage; until: number }>();

  constructor(now: number, config: QueueConfig) {
    this.now = now;
    this.config = config;
  }

  in(...states: State[]): ModelMessage[] {
    return this.messages.filter(({ state }) => states.includes(state));
  }

  /** The messages that the store must name in its answer, and whether each is a duplicate. */
  publish(all: readonly NewMessage[]): { message: ModelMessage; duplicate: boolean }[] | Refused {
    const before = new Map(this.#keys);
    const answers = all.map((message) => {
      const use = message.dedupKey === undefined ? undefined : this.#keys.get(message.dedupKey);
      if (use !== undefined && use.until > this.now) return { message: use.message, duplicate: true };
      const published = this.#published(message);
      if (message.dedupKey !== undefined && this.config.dedupWindowMs > 0) {
        this.#keys.set(message.dedupKey, { message: published, until: this.now + this.config.dedupWindowMs });
      }
      return { message: published, duplicate: false };
    });
    const fresh = answers.filter(({ duplicate }) => !duplicate).map(({ message }) => message);
    if (this.#isFull(fresh.length)) {
      this.#keys = before;
      return { refused: "QUEUE_FULL" };
    }
    this.messages.push(...fresh);
    this.counts.published += fresh.length;
    return answers;
  }

  /** Whether there is no room for so many more, not even where time has passed: that shows then. */
  #isFull(more: number): boolean {
    const depth = this.in("waiting", "delayed", "in_flight").length + more;
    if (more === 0 || depth <= this.config.maxDepth) return false;
    const freed = this.due().filter((message) => ["dead", "expired"].includes(this.#fate(message)));
    if (depth - freed.length > this.config.maxDepth) return true;
    this.passTime();
    return false;
  }

  #published(message: NewMessage): ModelMessage {
    const { config, now } = this;
    const ttl = message.ttlMs ?? config.messageTtlMs;
    const delay = message.delayMs ?? 0;
    return {
      order: this.#order++,
      message,
      priority: message.priority ?? config.priority,
      maxRetries: message.maxRetries ?? config.maxRetries,
      id: "",
      state: delay > 0 ? "delayed" : "waiting",
      retryCount: 0,
      availableAt: delay > 0 ? now + delay : 0,
      expiresAt: ttl > 0 ? now + ttl : 0,
      deadline: 0,
      consumer: "",
      receipt: "",
      died: 0,
      deliveries: 0,
    };
  }

  /** The messages that the store must deliver, in order. */
  consume(consumer: string, count: number, deadlineMs: number | undefined): ModelMessage[] {
    this.passTime();
    const { prefetchLimit, ackDeadlineMs } = this.config;
    const held = this.in("in_flight").filter((message) => message.consumer === consumer).length;
    const room = prefetchLimit === 0 ? count : Math.min(count, Math.max(0, prefetchLimit - held));
    const chosen = this.inOrder().slice(0, room);
    for (const message of chosen) {
      message.state = "in_flight";
      message.consumer = consumer;
      message.deadline = this.now + (deadlineMs ?? ackDeadlineMs);
      message.deliveries++;
      this.counts.consumed++;
    }
    return chosen;
  }

  inOrder(): ModelMessage[] {
    return this.in("waiting").sort((a, b) => b.priority - a.priority || a.order - b.order);
  }

  /** The message whose open delivery is meant. */
  open(id: string, receipt: string | undefined): ModelMessage | Refused {
    const message = this.in("in_flight").find((each) => each.id === id && each.deadline > this.now);
    if (message !== undefined && (receipt === undefined || receipt === message.receipt)) return message;
    return { refused: receipt === undefined ? "QUEUE_MESSAGE_NOT_FOUND" : "QUEUE_RECEIPT_STALE" };
  }

  ack(message: ModelMessage): void {
    message.state = "acked";
    this.counts.acked++;
  }

  /** As if it had not been delivered; that it was is counted. */
  giveBack(message: ModelMessage): void {
    message.state = "waiting";
    message.availableAt = 0;
    message.deliveries--;
  }

  nack(message: ModelMessage, requeue: boolean, delayMs: number | undefined): void {
    if (requeue) this.#fail(message, "nacked", delayMs);
    else {
      message.retryCount++;
      this.counts.nacked++;
      this.#die(message);
    }
  }

  purge(...states: ("waiting" | "delayed" | "dead")[]): number {
    const gone = this.in(...states);
    for (const message of gone) message.state = "purged";
    return gone.length;
  }

  dead(): ModelMessage[] {
    return this.in("dead").sort((a, b) => a.died - b.died);
  }

  requeueDead(letters: readonly ModelMessage[]): Refused | undefined {
    if (this.#isFull(letters.length)) return { refused: "QUEUE_FULL" };
    for (const message of letters) {
      Object.assign(message, { state: "waiting", retryCount: 0, expiresAt: 0, deliveries: 0 });
      this.counts.deadRequeued++;
    }
    return undefined;
  }

  /** Messages that a time has passed for, soonest first. */
  due(): ModelMessage[] {
    const at = (message: ModelMessage): number => {
      if (message.state === "in_flight") return message.deadline;
      const times = [message.expiresAt, message.state === "delayed" ? message.availableAt : 0];
      return Math.min(...times.filter((time) => time > 0));
    };
    return this.in("waiting", "delayed", "in_flight")
      .filter((message) => at(message) <= this.now)
      .sort((a, b) => at(a) - at(b) || a.order - b.order);
  }

  passTime(limit = Number.POSITIVE_INFINITY): number {
    const due = this.due().slice(0, limit);
    for (const message of due) {
      if (message.state === "in_flight") this.#fail(message, "timedOut", undefined);
      else message.state = this.#fate(message);
    }
    return due.length;
  }

  /** What time makes of a message that is due. */
  #fate(message: ModelMessage): State {
    if (message.state === "in_flight" && message.retryCount + 1 > message.maxRetries) return "dead";
    if (message.expiresAt > 0 && message.expiresAt <= this.now) return "expired";
    return "waiting";
  }

  #fail(message: ModelMessage, by: "nacked" | "timedOut", delayMs: number | undefined): void {
    const fate = this.#fate(message);
    if (fate === "expired") {
      message.state = fate;
      return;
    }
    message.retryCount++;
    this.counts[by]++;
    if (fate === "dead") {
      this.#die(message);
      return;
    }
    const { type, delayMs: base, maxDelayMs } = this.config.backoff;
    const backoff = type === "exponential" ? base * 2 ** (message.retryCount - 1) : base;
    const delay = delayMs ?? (type === "none" ? 0 : type === "fixed" ? base : Math.min(maxDelayMs, backoff));
    message.state = delay === 0 ? "waiting" : "delayed";
    message.availableAt = delay === 0 ? 0 : this.now + delay;
  }

  #die(message: ModelMessage): void {
    message.state = "dead";
    message.died = this.#deaths++;
    this.counts.deadLettered++;
  }
}
