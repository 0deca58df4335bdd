/** What the tests of durable streams say to a server: a stream by its name, offsets and bodies as they come. */
import type { Answer, TestServer } from "./test-server.js";

export interface Page extends Answer {
  readonly next: string;
  readonly upToDate: boolean;
  readonly closed: boolean;
}

export const TEXT = { "content-type": "text/plain" };
export const JSON_TYPE = { "content-type": "application/json" };

export class StreamClient {
  readonly path: string;

  constructor(
    readonly server: TestServer,
    name: string,
  ) {
    this.path = `/v1/stream/${name}`;
  }

  create(headers: Record<string, string> = TEXT, body?: string): Promise<Page> {
    return this.#ask("PUT", "", body, headers);
  }

  append(body: string | Uint8Array, headers: Record<string, string> = TEXT): Promise<Page> {
    return this.#ask("POST", "", body, headers);
  }

  close(): Promise<Page> {
    return this.#ask("POST", "", undefined, { "stream-closed": "true" });
  }

  head(): Promise<Page> {
    return this.#ask("HEAD", "");
  }

  delete(): Promise<Page> {
    return this.#ask("DELETE", "");
  }

  read(offset = "-1", query = "", headers: Record<string, string> = {}): Promise<Page> {
    return this.#ask("GET", `?offset=${encodeURIComponent(offset)}${query}`, undefined, headers);
  }

  longPoll(offset: string): Promise<Page> {
    return this.read(offset, "&live=long-poll");
  }

  /** Every page from an offset to the end. */
  async pages(from = "-1"): Promise<Page[]> {
    const pages: Page[] = [];
    for (let offset = from; ; ) {
      const page = await this.read(offset);
      if (page.status !== 200) throw new Error(`${page.status}: ${page.text}`);
      pages.push(page);
      if (page.upToDate) return pages;
      offset = page.next;
    }
  }

  async text(from = "-1"): Promise<string> {
    return (await this.pages(from)).map(({ text }) => text).join("");
  }

  async #ask(
    method: string,
    query: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Page> {
    const answer = await this.server.request(method, this.path + query, body, headers);
    return {
      ...answer,
      next: answer.headers.get("stream-next-offset") ?? "",
      upToDate: answer.headers.get("stream-up-to-date") === "true",
      closed: answer.headers.get("stream-closed") === "true",
    };
  }
}

/** The three headers of a producer. */
export function producer(id: string, epoch: number, seq: number): Record<string, string> {
  return { "producer-id": id, "producer-epoch": String(epoch), "producer-seq": String(seq) };
}
