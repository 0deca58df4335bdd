/** What the doors report: requests by route, operations by name, refusals by code. */
import type { ApiObserver } from "../../api/index.js";
import { Buckets, Cells, OVERFLOW_LABEL, Tally } from "./accumulators.js";
import type { Series } from "./series.js";

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]);
/** As documented, so that dashboards' quantiles keep their meaning. */
const HTTP_SECONDS = [0.001, 0.01, 0.1, 1, 10];
const OPERATION_SECONDS = [0.00001, 0.0001, 0.001, 0.01, 0.1, 1];
/** Documented names of operations that are called otherwise in commands. */
const DOCUMENTED_NAMES: Readonly<Record<string, string>> = { del: "delete" };

export class ApiSeries implements ApiObserver {
  readonly #requests = new Cells(3, () => new Tally());
  readonly #requestSeconds = new Cells(2, () => new Buckets(HTTP_SECONDS));
  readonly #operations = new Cells(2, () => new Tally());
  readonly #operationSeconds = new Cells(1, () => new Buckets(OPERATION_SECONDS));
  readonly #rejected = new Cells(1, () => new Tally(), 200);
  #openConnections: () => number = () => 0;

  constructor(series: Series) {
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
      "requests_rejected_total",
      "Requests refused, by error code",
      ["code"],
      this.#rejected,
    );
  }

  countConnections(count: () => number): void {
    this.#openConnections = count;
  }

  requestFinished(method: string, route: string, status: number, durationMs: number): void {
    const known = METHODS.has(method) ? method : OVERFLOW_LABEL;
    this.#requests.at(known, route, STATUS_TEXTS[status] ?? OVERFLOW_LABEL).value++;
    this.#requestSeconds.at(known, route).observe(durationMs / 1000);
  }

  operationFinished(operation: string, status: "success" | "error", durationMs: number): void {
    const name = operationLabel(operation);
    if (name === undefined) return;
    this.#operations.at(name, status).value++;
    this.#operationSeconds.at(name).observe(durationMs / 1000);
  }

  requestRejected(code: string): void {
    this.#rejected.at(code).value++;
  }
}

/** Index = status: the label's text without a conversion per request. */
const STATUS_TEXTS: readonly string[] = Array.from({ length: 600 }, (_, status) => String(status));

const labels = new Map<string, string | undefined>();

/**
 * `kv.del` → `delete`; undefined for what is no key-value operation (health, info), which the HTTP series count.
 * Names come from the API's own table, so the map stays small.
 */
function operationLabel(operation: string): string | undefined {
  if (labels.has(operation)) return labels.get(operation);
  const bare = /^(?:kv|key)\.(.+)$/.exec(operation)?.[1];
  const label = bare === undefined ? undefined : (DOCUMENTED_NAMES[bare] ?? bare);
  labels.set(operation, label);
  return label;
}
