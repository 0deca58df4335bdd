/** What the doors report: requests by route, operations by name, refusals by code. */
import { type ApiObserver, DURABLE_STREAMS, type WaitingCounts } from "../../api/index.js";
import { Buckets, Cells, OVERFLOW_LABEL, Tally } from "./accumulators.js";
import type { Series } from "./series.js";

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]);
/** As documented, so that dashboards' quantiles keep their meaning. */
const HTTP_SECONDS = [0.001, 0.01, 0.1, 1, 10];
const OPERATION_SECONDS = [0.00001, 0.0001, 0.001, 0.01, 0.1, 1];
const QUEUE_SECONDS = [0.0001, 0.001, 0.01, 0.1, 1, 10];
/** Most queues with series of their own, times operations and status; what comes later is counted under one label. */
const QUEUE_CELLS_MAX = 5000;
/** As for queues: rooms times operations and status, rooms times types of events. */
const STREAM_CELLS_MAX = 5000;
/** A type of event is a client's own text of any length; a longer one is no label, and is counted with those that find no place. */
const EVENT_TYPE_LENGTH_MAX = 128;
/** Documented names of operations that are called otherwise in commands. */
const DOCUMENTED_NAMES: Readonly<Record<string, string>> = { del: "delete" };

const NOBODY: WaitingCounts = { queue: 0, streamPoll: 0, streamEvents: 0 };

/** The names that there are; undefined while nobody knows. */
export interface SubjectNames {
  readonly queues: () => ReadonlySet<string> | undefined;
  readonly rooms: () => ReadonlySet<string> | undefined;
}

export class ApiSeries implements ApiObserver {
  readonly #requests = new Cells(3, () => new Tally());
  readonly #requestSeconds = new Cells(2, () => new Buckets(HTTP_SECONDS));
  readonly #operations = new Cells(2, () => new Tally());
  readonly #operationSeconds = new Cells(1, () => new Buckets(OPERATION_SECONDS));
  readonly #queueOperations: Cells<Tally>;
  readonly #queueSeconds: Cells<Buckets>;
  readonly #streamOperations: Cells<Tally>;
  readonly #streamEvents: Cells<Tally>;
  readonly #transactions = new Cells(2, () => new Tally());
  readonly #transactionSeconds = new Cells(1, () => new Buckets(OPERATION_SECONDS));
  readonly #rejected = new Cells(1, () => new Tally(), 200);
  #openConnections: () => number = () => 0;
  #waiting: () => WaitingCounts = () => NOBODY;

  constructor(series: Series, names: SubjectNames) {
    const isQueue = () => namedIn(names.queues());
    const isRoom = () => namedIn(names.rooms());
    this.#queueOperations = new Cells(3, () => new Tally(), QUEUE_CELLS_MAX, isQueue);
    this.#queueSeconds = new Cells(2, () => new Buckets(QUEUE_SECONDS), undefined, isQueue);
    this.#streamOperations = new Cells(3, () => new Tally(), STREAM_CELLS_MAX, isRoom);
    this.#streamEvents = new Cells(2, () => new Tally(), STREAM_CELLS_MAX, isRoom);
    const route = ["method", "path"];
    series.counterCells("http_requests_total", "Requests answered", [...route, "status"], this.#requests);
    series.histogramCells(
      "http_request_duration_seconds",
      "Time from the first byte of a request to its answer",
      route,
      this.#requestSeconds,
    );
    series.gauges("http_connections", "Open connections", ["type"], () => [
      [{ type: "http" }, this.#openConnections()],
    ]);
    series.gauges(
      "requests_waiting",
      "Requests that wait for something to arrive: consumers (queue), long polls and server-sent events of durable streams",
      ["type"],
      () => {
        const { queue, streamPoll, streamEvents } = this.#waiting();
        return [
          [{ type: "queue" }, queue],
          [{ type: "stream_poll" }, streamPoll],
          [{ type: "stream_events" }, streamEvents],
        ];
      },
    );
    this.#addOperations(series);
    series.counterCells(
      "requests_rejected_total",
      "Requests refused before any operation ran, by error code",
      ["code"],
      this.#rejected,
    );
  }

  #addOperations(series: Series): void {
    series.counterCells(
      "kv_operations_total",
      "Key-value operations run, through whatever door",
      ["operation", "status"],
      this.#operations,
    );
    series.histogramCells(
      "kv_operation_duration_seconds",
      "Time of a key-value operation, until what it tells is committed",
      ["operation"],
      this.#operationSeconds,
    );
    series.counterCells(
      "queue_operations_total",
      "Queue operations run, through whatever door; the label is empty where there is no such queue, or nobody looked for it",
      ["queue", "operation", "status"],
      this.#queueOperations,
    );
    series.histogramCells(
      "queue_operation_duration_seconds",
      "Time of a queue operation, until what it tells is committed, without the time that a consumer asked to wait",
      ["queue", "operation"],
      this.#queueSeconds,
    );
    series.counterCells(
      "stream_operations_total",
      `Stream operations run, through whatever door; the label is empty where there is no such room, or nobody looked for it; all durable streams (/v1/stream/) are ${DURABLE_STREAMS}, as their names are without bound`,
      ["room", "operation", "status"],
      this.#streamOperations,
    );
    series.counterCells(
      "stream_events_total",
      `Events published since the start; those of all durable streams are ${DURABLE_STREAMS} and have no type`,
      ["room", "event_type"],
      this.#streamEvents,
    );
    series.counterCells(
      "transaction_operations_total",
      "Batches, and steps of transactions, run through whatever door",
      ["operation", "status"],
      this.#transactions,
    );
    series.histogramCells(
      "transaction_operation_duration_seconds",
      "Time of a batch, or of a step of a transaction, until what it tells is committed",
      ["operation"],
      this.#transactionSeconds,
    );
  }

  countConnections(count: () => number): void {
    this.#openConnections = count;
  }

  countWaiting(count: () => WaitingCounts): void {
    this.#waiting = count;
  }

  requestFinished(method: string, route: string, status: number, durationMs: number): void {
    const known = METHODS.has(method) ? method : OVERFLOW_LABEL;
    this.#requests.at(known, route, STATUS_TEXTS[status] ?? OVERFLOW_LABEL).value++;
    this.#requestSeconds.at(known, route).observe(durationMs / 1000);
  }

  operationFinished(operation: string, status: "success" | "error", durationMs: number, subject = ""): void {
    const label = operationLabel(operation);
    if (label === undefined) return;
    if (label.family === "queue") {
      this.#queueOperations.at(subject, label.name, status).value++;
      this.#queueSeconds.at(subject, label.name).observe(durationMs / 1000);
    } else if (label.family === "stream") {
      this.#streamOperations.at(subject, label.name, status).value++;
    } else if (label.family === "transaction") {
      this.#transactions.at(label.name, status).value++;
      this.#transactionSeconds.at(label.name).observe(durationMs / 1000);
    } else {
      this.#operations.at(label.name, status).value++;
      this.#operationSeconds.at(label.name).observe(durationMs / 1000);
    }
  }

  eventsPublished(room: string, eventType: string, count: number): void {
    const type = eventType.length > EVENT_TYPE_LENGTH_MAX ? OVERFLOW_LABEL : eventType;
    this.#streamEvents.at(room, type).value += count;
  }

  requestRejected(code: string): void {
    this.#rejected.at(code).value++;
  }
}

function namedIn(names: ReadonlySet<string> | undefined): ((name: string) => boolean) | undefined {
  return names && ((name) => name === DURABLE_STREAMS || names.has(name));
}

/** Index = status: the label's text without a conversion per request. */
const STATUS_TEXTS: readonly string[] = Array.from({ length: 600 }, (_, status) => String(status));

type Family = "kv" | "queue" | "stream" | "transaction";

interface OperationLabel {
  readonly family: Family;
  readonly name: string;
}
const labels = new Map<string, OperationLabel | undefined>();

/** By what comes before the dot, if there is one. */
const FAMILIES: Readonly<Record<string, Family>> = {
  kv: "kv",
  key: "kv",
  queue: "queue",
  stream: "stream",
  transaction: "transaction",
  batch: "transaction",
};

/**
 * `kv.del` → `delete` of kv, `batch` → itself, of transaction; undefined for what has no series of its own (health, info), which the HTTP series count.
 * Names come from the API's own table, so the map stays small.
 */
function operationLabel(operation: string): OperationLabel | undefined {
  if (labels.has(operation)) return labels.get(operation);
  const dot = operation.indexOf(".");
  const family = FAMILIES[dot < 0 ? operation : operation.slice(0, dot)];
  const bare = operation.slice(dot + 1);
  const label = family === undefined ? undefined : { family, name: DOCUMENTED_NAMES[bare] ?? bare };
  labels.set(operation, label);
  return label;
}
