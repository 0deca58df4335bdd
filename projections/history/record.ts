/** Records as history reads them: one of them, and what did it. */
import { assert, LogError, type LogRecord, type Offset } from "../../log/index.js";
import type { Cause, StoreEvent } from "../decision.js";
import { decodeEvents } from "../events.js";
import type { RecordCause, RecordSource } from "./contract.js";

/** A record with everything that it says. */
export interface ReadRecord {
  readonly record: LogRecord;
  readonly events: readonly StoreEvent[];
  readonly cause: RecordCause;
}

/** The record at `at`, which is committed; undefined when retention has removed it. @throws LogError LOG_CORRUPT. */
export async function readRecord(source: RecordSource, at: Offset): Promise<ReadRecord | undefined> {
  try {
    for await (const [record] of source.records(at, at)) {
      assert(record?.offset === at, "a read of one record gives that record");
      return decoded(record);
    }
  } catch (error) {
    if (isRetired(error)) return undefined;
    throw error;
  }
  assert(false, `record ${at} is committed`);
}

export function decoded(record: LogRecord): ReadRecord {
  const { events, cause } = decodeEvents(record);
  return { record, events, cause: causeOf(cause, events) };
}

export function isRetired(error: unknown): boolean {
  return error instanceof LogError && error.code === "LOG_OFFSET_RETIRED";
}

function causeOf(cause: Cause | undefined, events: readonly StoreEvent[]): RecordCause {
  for (const event of events) {
    if (event.type === "idempotency.answered") return { ...cause, idempotencyKey: event.key };
  }
  return cause ?? {};
}
