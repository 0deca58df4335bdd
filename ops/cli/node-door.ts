/** Asks a running server what a command needs to know. */
import { errorMessage } from "../../log/index.js";
import { CliFailure, exitCodes } from "./failure.js";

const TIMEOUT_MS = 120_000;

export interface NodeAnswer {
  readonly status: number;
  readonly text: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** `X-Annals-Offset`. */
  readonly offset: number | undefined;
}

/** @throws CliFailure when there is none, or when it is no answer of ours. */
export async function askNode(
  url: string,
  path: string,
  body?: object,
  timeoutMs = TIMEOUT_MS,
): Promise<NodeAnswer> {
  const init =
    body === undefined
      ? {}
      : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer: Response;
  let text: string;
  let json: unknown;
  try {
    answer = await fetch(new URL(path, url), { ...init, signal: AbortSignal.timeout(timeoutMs) });
    text = await answer.text();
    json = JSON.parse(text);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const why = errorMessage(cause);
    throw new CliFailure(exitCodes.failed, `${url}: ${why}; check that an Annals server is there`, error);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new CliFailure(exitCodes.failed, `${url}: not an answer of an Annals server; check the address`);
  }
  const offset = answer.headers.get("x-annals-offset");
  return {
    status: answer.status,
    text,
    body: { ...json },
    offset: offset === null ? undefined : Number(offset),
  };
}
