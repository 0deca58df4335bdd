/** The few requests that the demo makes. Every answer other than 2xx is an error, and says what the server said. */

export interface TakenJob {
  readonly message_id: string;
  readonly receipt: string;
  readonly payload: string;
}

export interface QueueTotals {
  readonly depth: number;
  readonly delayed: number;
  readonly in_flight: number;
  readonly dlq_count: number;
  readonly published: number;
  readonly consumed: number;
  readonly acked: number;
  readonly timed_out: number;
  readonly dead_lettered: number;
  readonly purged: number;
  readonly expired: number;
}

/** A write's name in the envelope, and its input. */
export interface BatchPart {
  readonly command: string;
  readonly payload: unknown;
}

export interface EventsPage {
  readonly events: readonly { readonly offset: number; readonly data: readonly number[] }[];
  readonly next_offset: number;
  readonly end_offset: number;
}

export class StoreClient {
  /** `acks`: how many replicas must have a write on disk before it is answered; undefined: as the server is configured. */
  constructor(
    readonly url: string,
    readonly acks?: number,
  ) {}

  /** Sets all pairs in one record. */
  async setMany(pairs: readonly { readonly key: string; readonly value: unknown }[]): Promise<void> {
    await this.#post("/kv/mset", { pairs });
  }

  /** How far the log goes. */
  async logEnd(): Promise<{ readonly endOffset: number }> {
    const { log } = await this.#answer<{ log: { end_offset: number } }>(await fetch(`${this.url}/info`));
    return { endOffset: log.end_offset };
  }

  async getMany(keys: readonly string[]): Promise<readonly unknown[]> {
    const { values } = await this.#post<{ values: unknown[] }>("/kv/mget", { keys });
    return values;
  }

  /** All keys with this prefix, a page at a time. */
  async *keys(prefix: string): AsyncGenerator<readonly string[]> {
    let cursor: string | null = "";
    while (cursor !== null) {
      const query = new URLSearchParams({ prefix, limit: "1000", ...(cursor !== "" && { cursor }) });
      const page: { keys: string[]; cursor: string | null } = await this.#answer(
        await fetch(`${this.url}/kv/scan?${query}`),
      );
      yield page.keys;
      cursor = page.cursor;
    }
  }

  async createQueue(queue: string, settings: Readonly<Record<string, number>>): Promise<void> {
    await this.#post(`/queue/${queue}`, settings);
  }

  /** Waits for the first job, takes what is there. */
  async consume(
    queue: string,
    wanted: { readonly consumer: string; readonly count: number; readonly waitSecs: number },
  ): Promise<readonly TakenJob[]> {
    const { consumer, count, waitSecs } = wanted;
    const { messages } = await this.#post<{ messages: TakenJob[] }>(`/queue/${queue}/consume/${consumer}`, {
      count,
      wait_secs: waitSecs,
      type: "string",
    });
    return messages;
  }

  /** Each for itself; one whose delivery is not open any more is passed over. */
  async ackMany(queue: string, taken: readonly TakenJob[]): Promise<void> {
    const messages = taken.map(({ message_id, receipt }) => ({ message_id, receipt }));
    await this.#post(`/queue/${queue}/ack/batch`, { messages });
  }

  async queueTotals(queue: string): Promise<QueueTotals> {
    return this.#answer(await fetch(`${this.url}/queue/${queue}/stats`));
  }

  async createRoom(room: string): Promise<void> {
    await this.#send("PUT", `/stream/${room}`, {});
  }

  /** Does all of them as one, once, however often the same is sent with this key; tells whether it was done before. */
  async batchOnce(key: string, operations: readonly BatchPart[]): Promise<{ readonly repeated: boolean }> {
    const response = await fetch(`${this.url}/batch`, {
      method: "POST",
      headers: { ...this.#headers, "idempotency-key": key },
      body: JSON.stringify({ operations }),
    });
    await this.#answer(response);
    return { repeated: response.headers.has("idempotent-replayed") };
  }

  async eventsFrom(room: string, offset: number): Promise<EventsPage> {
    const query = new URLSearchParams({ from_offset: String(offset), limit: "500" });
    return this.#answer(await fetch(`${this.url}/stream/${room}/consume/demo?${query}`));
  }

  get #headers(): Record<string, string> {
    const acks = this.acks === undefined ? {} : { "x-annals-acks": String(this.acks) };
    return { "content-type": "application/json", ...acks };
  }

  async #post<T>(path: string, body: unknown): Promise<T> {
    return this.#send("POST", path, body);
  }

  async #send<T>(method: string, path: string, body: unknown): Promise<T> {
    const init = { method, headers: this.#headers, body: JSON.stringify(body) };
    return this.#answer(await fetch(this.url + path, init));
  }

  async #answer<T>(response: Response): Promise<T> {
    const text = await response.text();
    if (!response.ok) throw new RefusedError(response.status, text);
    return JSON.parse(text) as T;
  }
}

/** The server answered, and it was no. */
export class RefusedError extends Error {
  /** A node of a set refused as what it is just now; nothing else would a second try change. */
  readonly mayPass: boolean;

  constructor(
    readonly status: number,
    text: string,
  ) {
    super(`the server answered ${status}: ${text.slice(0, 300)}`);
    this.name = "RefusedError";
    this.mayPass = codeIn(text).startsWith("REPLICATION_");
  }
}

function codeIn(text: string): string {
  try {
    const { error_code: code } = JSON.parse(text) as { error_code?: unknown };
    return String(code);
  } catch {
    return "";
  }
}
