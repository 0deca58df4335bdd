/** The few requests that the demo makes. Every answer other than 2xx is an error, and says what the server said. */

export class StoreClient {
  constructor(readonly url: string) {}

  /** Sets all pairs in one record. */
  async setMany(pairs: readonly { readonly key: string; readonly value: unknown }[]): Promise<void> {
    await this.#post("/kv/mset", { pairs });
  }

  /** How far the log goes, and how many epochs it has had: each begins with a record of its own. */
  async logEnd(): Promise<{ readonly endOffset: number; readonly epoch: number }> {
    const { log } = await this.#answer<{ log: { end_offset: number; epoch: number } }>(
      await fetch(`${this.url}/info`),
    );
    return { endOffset: log.end_offset, epoch: log.epoch };
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

  async #post<T>(path: string, body: unknown): Promise<T> {
    const headers = { "content-type": "application/json" };
    return this.#answer(
      await fetch(this.url + path, { method: "POST", headers, body: JSON.stringify(body) }),
    );
  }

  async #answer<T>(response: Response): Promise<T> {
    const text = await response.text();
    if (!response.ok) throw new RefusedError(response.status, text);
    return JSON.parse(text) as T;
  }
}

/** The server answered, and it was no. Nothing that a second try would change. */
export class RefusedError extends Error {
  constructor(
    readonly status: number,
    text: string,
  ) {
    super(`the server answered ${status}: ${text.slice(0, 300)}`);
    this.name = "RefusedError";
  }
}
