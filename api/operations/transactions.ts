/**
 * The open transactions and watches of all clients: writes that wait for `exec`, and how watched keys were.
 * Nothing of them is in the log before they are executed, so a restart forgets them, as it forgets connections.
 *
 * Bounded by number and by bytes; one that nobody touched for the idle time is forgotten when room is asked for.
 */
import type { Step, Unchanged } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import type { SourceText } from "../exact.js";
import { tooMany } from "../names.js";
import type { ApiOptions } from "../options.js";
import { type Answered, type Reply, shown } from "./reply.js";

/** What a queued write takes beside its text, about. */
const WRITE_BYTES = 256;

export interface QueuedWrite {
  readonly name: string;
  readonly step: Step<Reply>;
}

/** What one client has open: watches, and from `multi` on writes. */
interface Transaction {
  readonly watched: Map<string, Unchanged>;
  /** The epoch in which the first of them was looked at. In another one the same revision may be another record's. */
  watchedIn: number | undefined;
  /** Undefined before `multi`. */
  writes: QueuedWrite[] | undefined;
  /** What the writes are about, together. */
  items: number;
  bytes: number;
  /** By the stopwatch. */
  touchedAt: number;
}

export interface OpenTransaction extends Transaction {
  writes: QueuedWrite[];
}

function isOpen(transaction: Transaction): transaction is OpenTransaction {
  return transaction.writes !== undefined;
}

export class Transactions {
  readonly #options: Pick<ApiOptions, "limits" | "stopwatch">;
  /** Longest untouched first. */
  readonly #byClient = new Map<string, Transaction>();
  #bytes = 0;

  constructor(options: Pick<ApiOptions, "limits" | "stopwatch">) {
    this.#options = options;
  }

  begin(client: string): Refusal | undefined {
    const transaction = this.#open(client);
    if (transaction.type === "refused") return transaction;
    if (transaction.value.writes !== undefined) {
      return refusal(
        "API_TRANSACTION_OPEN",
        "this client has a transaction already; exec or discard it first",
      );
    }
    transaction.value.writes = [];
    return undefined;
  }

  /** Undefined when the client has no open transaction: then the write is run at once. `items`: what it is about. */
  queue(
    client: string,
    write: QueuedWrite,
    items: number,
    source: SourceText | undefined,
    call: { readonly once: unknown },
  ): Answered | Refusal | undefined {
    const transaction = this.#touched(client);
    if (transaction?.writes === undefined) return undefined;
    if (call.once !== undefined) {
      return refusal("API_IDEMPOTENCY_KEY_INVALID", "a queued write takes no key; give one to exec");
    }
    const { batchItemsMax, transactionBytesMax } = this.#options.limits;
    if (transaction.items + items > batchItemsMax) return tooMany(transaction.items + items, batchItemsMax);
    const bytes = WRITE_BYTES + (source?.text.length ?? 0);
    if (this.#bytes + bytes > transactionBytesMax) return this.#full();
    this.#bytes += bytes;
    transaction.bytes += bytes;
    transaction.items += items;
    transaction.writes.push(write);
    return shown({ success: true, queued: true });
  }

  /** True when watching makes sense: before `multi`. */
  mayWatch(client: string): Refusal | undefined {
    if (this.#touched(client)?.writes === undefined) return undefined;
    return refusal("API_TRANSACTION_OPEN", "watch before multi: what follows is decided as one anyway");
  }

  /** A key that is watched already stays watched from the first time on. */
  watch(client: string, keys: readonly Unchanged[], epoch: number | undefined): Refusal | undefined {
    const transaction = this.#open(client);
    if (transaction.type === "refused") return transaction;
    const { watched } = transaction.value;
    const { batchItemsMax, transactionBytesMax } = this.#options.limits;
    const fresh = new Map<string, Unchanged>();
    for (const unchanged of keys) if (!watched.has(unchanged.key)) fresh.set(unchanged.key, unchanged);
    if (watched.size + fresh.size > batchItemsMax) {
      return refusal("API_BATCH_TOO_LARGE", `a client watches at most ${batchItemsMax} keys`);
    }
    let bytes = 0;
    for (const key of fresh.keys()) bytes += WRITE_BYTES + key.length;
    if (this.#bytes + bytes > transactionBytesMax) return this.#full();
    this.#bytes += bytes;
    transaction.value.bytes += bytes;
    for (const [key, unchanged] of fresh) watched.set(key, unchanged);
    transaction.value.watchedIn ??= epoch;
    return undefined;
  }

  /** Forgets the watches; what is queued stays. */
  unwatch(client: string): void {
    const transaction = this.#touched(client);
    if (transaction === undefined) return;
    if (transaction.writes === undefined) this.#forget(client);
    else {
      transaction.watched.clear();
      transaction.watchedIn = undefined;
    }
  }

  /** Takes the transaction away with its watches; undefined when there is none. */
  take(client: string): OpenTransaction | undefined {
    const transaction = this.#touched(client);
    if (transaction === undefined || !isOpen(transaction)) return undefined;
    this.#forget(client);
    return transaction;
  }

  /** What was taken is the client's again, unless it has begun another meanwhile. */
  putBack(client: string, transaction: OpenTransaction): void {
    if (this.#byClient.has(client)) return;
    this.#byClient.set(client, transaction);
    this.#bytes += transaction.bytes;
  }

  #open(client: string): { readonly type: "open"; readonly value: Transaction } | Refusal {
    const found = this.#touched(client);
    if (found !== undefined) return { type: "open", value: found };
    this.#forgetIdle();
    if (this.#byClient.size >= this.#options.limits.transactionsMax) return this.#full();
    const value: Transaction = {
      watched: new Map(),
      watchedIn: undefined,
      writes: undefined,
      items: 0,
      bytes: 0,
      touchedAt: this.#options.stopwatch(),
    };
    this.#byClient.set(client, value);
    return { type: "open", value };
  }

  #touched(client: string): Transaction | undefined {
    const found = this.#byClient.get(client);
    if (found === undefined) return undefined;
    const now = this.#options.stopwatch();
    if (found.touchedAt + this.#options.limits.transactionIdleMs <= now) {
      this.#forget(client);
      return undefined;
    }
    found.touchedAt = now;
    this.#byClient.delete(client);
    this.#byClient.set(client, found);
    return found;
  }

  #forgetIdle(): void {
    const idleSince = this.#options.stopwatch() - this.#options.limits.transactionIdleMs;
    for (const [client, { touchedAt }] of this.#byClient) {
      if (touchedAt > idleSince) return;
      this.#forget(client);
    }
  }

  #forget(client: string): void {
    this.#bytes -= this.#byClient.get(client)?.bytes ?? 0;
    this.#byClient.delete(client);
  }

  #full(): Refusal {
    this.#forgetIdle();
    return refusal("API_TRANSACTIONS_FULL", "too much is kept for open transactions; exec or discard some");
  }
}
