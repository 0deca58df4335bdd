/** One record as `annals dump` shows it. Bytes that are UTF-8 are shown as text, others as base64 under another name. */
import { decodeEpochStart, EPOCH_STARTED, type LogRecord } from "../../log/index.js";
import { decodeEvents, ProjectionError, type QueueEvent, type StoreEvent } from "../../projections/index.js";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Fields of queue events that are times; 0 is none. */
const QUEUE_TIMES: ReadonlySet<string> = new Set(["availableAt", "expiresAt", "dedupUntil", "deadline"]);

export function dumpLine(record: LogRecord): Record<string, unknown> {
  const { offset, timestamp, epoch, kind, version, body, crc } = record;
  const line = { offset, time: timeText(timestamp), epoch, crc: crc.toString(16).padStart(8, "0") };
  if (kind === EPOCH_STARTED) {
    const start = decodeEpochStart(version, body);
    return { ...line, kind: "epoch.started", ...(start === undefined ? {} : { start }), events: [] };
  }
  try {
    const { events, cause } = decodeEvents(record);
    const name = events.length === 1 ? events[0]?.type : "several";
    const shown = {
      ...line,
      kind: name,
      events: events.map((event, place) => shownEvent(event, offset, place)),
    };
    return cause === undefined ? shown : { ...shown, cause };
  } catch (error) {
    // The record is whole, only its meaning is not known here: show what there is.
    if (!(error instanceof ProjectionError)) throw error;
    return { ...line, kind, version, error: error.code, bodyBase64: base64(body) };
  }
}

function shownEvent(event: StoreEvent, offset: number, place: number): Record<string, unknown> {
  if (isQueueEvent(event)) return shownQueueEvent(event, offset, place);
  if (event.type !== "kv.set") return shownFields(event);
  const { value, expiresAt, ...rest } = event;
  const expiry = expiresAt === 0 ? {} : { expiresAt: timeText(expiresAt) };
  return { ...rest, ...shownBytes("value", value), ...expiry };
}

const isQueueEvent = (event: StoreEvent): event is QueueEvent => event.type.startsWith("queue.");

/** Messages and receipts by the ids that clients know, which are the places of their events in the log. */
function shownQueueEvent(event: QueueEvent, offset: number, place: number): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(event)) {
    if (QUEUE_TIMES.has(name)) {
      if (value !== 0) shown[name] = timeText(value);
    } else if (name !== "payload" && name !== "message") shown[name] = value;
  }
  if (event.type === "queue.published") {
    return { ...shown, messageId: `${offset}-${place}`, ...shownBytes("payload", event.payload) };
  }
  if (!("message" in event)) return shown;
  // Offset 0 stands for the record itself.
  const messageId = `${event.message.offset === 0 ? offset : event.message.offset}-${event.message.place}`;
  const receipt = event.type === "queue.delivered" ? { receipt: `${offset}-${place}` } : {};
  return { ...shown, messageId, ...receipt };
}

/** Bytes may lie deeper: in the messages of a stream. */
function shownFields(fields: object): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Uint8Array) Object.assign(shown, shownBytes(name, value));
    else shown[name] = shownValue(value);
  }
  return shown;
}

function shownValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shownValue);
  return typeof value === "object" && value !== null ? shownFields(value) : value;
}

function shownBytes(name: string, value: string | Uint8Array): Record<string, string> {
  if (typeof value === "string") return { [name]: value };
  try {
    return { [name]: utf8.decode(value) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { [`${name}Base64`]: base64(value) };
  }
}

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

/** A timestamp beyond what a date can say is shown as the number it is. */
function timeText(ms: number): string | number {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : ms;
}
