/** One record as `annals dump` shows it. Bytes that are UTF-8 are shown as text, others as base64 under another name. */
import { EPOCH_STARTED, type LogRecord } from "../../log/index.js";
import { decodeEvents, ProjectionError, type StoreEvent } from "../../projections/index.js";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function dumpLine(record: LogRecord): Record<string, unknown> {
  const { offset, timestamp, epoch, kind, version, body, crc } = record;
  const line = { offset, time: timeText(timestamp), epoch, crc: crc.toString(16).padStart(8, "0") };
  if (kind === EPOCH_STARTED) return { ...line, kind: "epoch.started", events: [] };
  try {
    const { events, cause } = decodeEvents(record);
    const name = events.length === 1 ? events[0]?.type : "several";
    const shown = { ...line, kind: name, events: events.map(shownEvent) };
    return cause === undefined ? shown : { ...shown, cause };
  } catch (error) {
    // The record is whole, only its meaning is not known here: show what there is.
    if (!(error instanceof ProjectionError)) throw error;
    return { ...line, kind, version, error: error.code, bodyBase64: base64(body) };
  }
}

function shownEvent(event: StoreEvent): Record<string, unknown> {
  if (event.type !== "kv.set") return { ...event };
  const { value, expiresAt, ...rest } = event;
  const expiry = expiresAt === 0 ? {} : { expiresAt: timeText(expiresAt) };
  return { ...rest, ...shownValue(value), ...expiry };
}

function shownValue(value: string | Uint8Array): { value: string } | { valueBase64: string } {
  if (typeof value === "string") return { value };
  try {
    return { value: utf8.decode(value) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { valueBase64: base64(value) };
  }
}

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

/** A timestamp beyond what a date can say is shown as the number it is. */
function timeText(ms: number): string | number {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : ms;
}
