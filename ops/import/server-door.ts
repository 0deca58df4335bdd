/**
 * Requests to a server that may be away for a while, or whose replicas are: what a restart can explain (no connection, 503, an answer cut
 * short, 504: stored, and not confirmed in time) is tried again with growing pauses, up to a limit; a refusal is handed back at once.
 */
import { ImportError } from "./errors.js";

export interface DoorOptions {
  readonly url: string;
  /** How long a server may be away before the import gives up. */
  readonly patienceMs: number;
  readonly sleep: (ms: number) => Promise<void>;
  readonly now: () => number;
  readonly fetch?: typeof fetch;
  /** Told before each pause. */
  readonly onRetry?: (why: string, pauseMs: number) => void;
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const PAUSE_FIRST_MS = 100;
const PAUSE_MAX_MS = 5_000;
const ANSWER_TIMEOUT_MS = 60_000;

export class ServerDoor {
  readonly #options: DoorOptions;

  constructor(options: DoorOptions) {
    this.#options = options;
  }

  /** The answer, or undefined when it is not known whether the request was done: the caller must look. */
  async tryOnce(method: string, path: string, body?: string): Promise<Answer | { readonly unknown: string }> {
    const call = this.#options.fetch ?? fetch;
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const init = {
      method,
      headers,
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      ...(body !== undefined && { body }),
    };
    let response: Response;
    let text: string;
    try {
      response = await call(new URL(path, this.#options.url), init);
      text = await response.text();
    } catch (error) {
      return { unknown: reasonOf(error) };
    }
    const { status } = response;
    if (status === 503 || status === 504) return { unknown: `${status} ${text.slice(0, 200)}` };
    return { status, body: parsed(text, status) };
  }

  /**
   * Repeats `attempt` with growing pauses until it gives an answer.
   * @throws ImportError IMPORT_SERVER_UNAVAILABLE when the patience is used up.
   */
  async insist<T>(attempt: () => Promise<T | { readonly unknown: string }>): Promise<T> {
    const { patienceMs, sleep, now, onRetry, url } = this.#options;
    const deadline = now() + patienceMs;
    for (let pauseMs = PAUSE_FIRST_MS; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS)) {
      const result = await attempt();
      if (!isUnknown(result)) return result;
      if (now() + pauseMs > deadline) {
        const message = `${url} gave no answer for ${patienceMs} ms: ${result.unknown}`;
        throw new ImportError("IMPORT_SERVER_UNAVAILABLE", message, { url });
      }
      onRetry?.(result.unknown, pauseMs);
      await sleep(pauseMs);
    }
  }
}

function isUnknown(result: unknown): result is { readonly unknown: string } {
  return typeof result === "object" && result !== null && "unknown" in result;
}

/** `fetch` says "fetch failed"; the reason is in its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

function parsed(text: string, status: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = `the answer (${status}) is not JSON: ${text.slice(0, 100)}`;
    throw new ImportError("IMPORT_ANSWER_UNKNOWN", message, { status }, cause);
  }
}
