/**
 * Series that prom-client renders and somebody else counts: each reads its numbers when the page is asked for.
 * Names are built here from the prefix, so that no series can miss it.
 */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { Buckets, Cells, Tally } from "./accumulators.js";

/** Label values and the number that stands behind them. */
export type Reading = readonly [labels: Readonly<Record<string, string>>, value: number];

export class Series {
  readonly #registry: Registry;
  readonly #prefix: string;
  readonly #forgets: (() => void)[] = [];

  constructor(registry: Registry, prefix: string) {
    this.#registry = registry;
    this.#prefix = prefix;
  }

  /** The page is about to be asked for: what was read for the last one is old. */
  beginPage(): void {
    for (const forget of this.#forgets) forget();
  }

  /** Several series that show one thing share one reading of it a page. */
  oncePerPage<Value>(read: () => Value): () => Value {
    let known: { readonly value: Value } | undefined;
    this.#forgets.push(() => {
      known = undefined;
    });
    return () => {
      known ??= { value: read() };
      return known.value;
    };
  }

  /** A gauge without labels; nothing is shown while `read` gives undefined. */
  gauge(name: string, help: string, read: () => number | undefined): void {
    this.gauges(name, help, [], () => {
      const value = read();
      return value === undefined ? [] : [[{}, value]];
    });
  }

  gauges(name: string, help: string, labelNames: readonly string[], read: () => Iterable<Reading>): void {
    const gauge: Gauge = new Gauge({
      name: `${this.#prefix}_${name}`,
      help,
      labelNames,
      registers: [this.#registry],
      collect: () => {
        if (labelNames.length > 0) gauge.reset();
        else gauge.remove();
        for (const [labels, value] of read()) gauge.set({ ...labels }, value);
      },
    });
  }

  counter(name: string, help: string, read: () => number): void {
    this.counters(name, help, [], () => [[{}, read()]]);
  }

  counters(name: string, help: string, labelNames: readonly string[], read: () => Iterable<Reading>): void {
    const counter: Counter = new Counter({
      name: `${this.#prefix}_${name}`,
      help,
      labelNames,
      registers: [this.#registry],
      collect: () => {
        counter.reset();
        for (const [labels, value] of read()) counter.inc({ ...labels }, value);
      },
    });
  }

  counterCells(name: string, help: string, labelNames: readonly string[], cells: Cells<Tally>): void {
    this.counters(name, help, labelNames, () =>
      cells.rows().map(({ labels, cell }): Reading => [labelled(labelNames, labels), cell.value]),
    );
  }

  histogram(name: string, help: string, buckets: Buckets): void {
    this.#histograms(name, help, [], () => [[{}, buckets]]);
  }

  histogramCells(name: string, help: string, labelNames: readonly string[], cells: Cells<Buckets>): void {
    this.#histograms(name, help, labelNames, () =>
      cells.rows().map(({ labels, cell }): BucketReading => [labelled(labelNames, labels), cell]),
    );
  }

  #histograms(
    name: string,
    help: string,
    labelNames: readonly string[],
    read: () => Iterable<BucketReading>,
  ): void {
    new AccumulatedHistogram(this.#registry, `${this.#prefix}_${name}`, help, labelNames, read);
  }
}

type BucketReading = readonly [labels: Readonly<Record<string, string>>, buckets: Buckets];

const labelled = (names: readonly string[], values: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.map((name, index) => [name, values[index] ?? ""]));

/** prom-client has no door for ready-made bucket counts; its registry asks each metric for its values, so this answers. */
class AccumulatedHistogram extends Histogram {
  readonly #name: string;
  readonly #read: () => Iterable<BucketReading>;
  /** Knows name, help and type in the shape that the registry wants; holds no numbers. */
  readonly #plain: Histogram;

  constructor(
    registry: Registry,
    name: string,
    help: string,
    labelNames: readonly string[],
    read: () => Iterable<BucketReading>,
  ) {
    super({ name, help, labelNames, buckets: [1], registers: [registry] });
    this.#plain = new Histogram({ name, help, labelNames, buckets: [1], registers: [] });
    this.#name = name;
    this.#read = read;
  }

  override async get(): ReturnType<Histogram["get"]> {
    const values = [...this.#read()].flatMap(([labels, buckets]) => rendered(this.#name, labels, buckets));
    return { ...(await this.#plain.get()), values };
  }

  /** The registry prefers this name for the text page. */
  getForPromString(): ReturnType<Histogram["get"]> {
    return this.get();
  }
}

function rendered(name: string, labels: Readonly<Record<string, string>>, buckets: Buckets) {
  let total = 0;
  const values = buckets.bounds.map((bound, index) => {
    total += buckets.counts[index] ?? 0;
    return { metricName: `${name}_bucket`, labels: { ...labels, le: String(bound) }, value: total };
  });
  total += buckets.counts[buckets.bounds.length] ?? 0;
  return [
    ...values,
    { metricName: `${name}_bucket`, labels: { ...labels, le: "+Inf" }, value: total },
    { metricName: `${name}_sum`, labels: { ...labels }, value: buckets.sum },
    { metricName: `${name}_count`, labels: { ...labels }, value: total },
  ];
}
