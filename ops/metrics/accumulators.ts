/**
 * Counters and histograms for the hot path: a few array operations per observation. prom-client's own `inc` and
 * `observe` sort and join labels on every call (about a microsecond with labels), which is more than a whole GET may
 * cost here; so the numbers are kept in these, and prom-client only renders them when somebody scrapes.
 */

/** A histogram without labels: counts per bucket, and the sum. */
export class Buckets {
  readonly bounds: readonly number[];
  /** One per bound, not cumulative; the last one counts what is above all bounds. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds, counts } = this;
    let index = 0;
    while (index < bounds.length && value > (bounds[index] ?? 0)) index++;
    counts[index] = (counts[index] ?? 0) + 1;
    this.sum += value;
  }
}

/** A number that grows. */
export class Tally {
  value = 0;
}

/** The label value under which everything is counted that comes after the last free place. */
export const OVERFLOW_LABEL = "other";

interface Row<Cell> {
  readonly labels: readonly string[];
  readonly cell: Cell;
}

/**
 * Cells by a tuple of label values, found by nested maps (no joined strings). Bounded: past `cellsMax` new tuples share
 * one cell, so that no caller can grow the page without limit. Once all places are taken, those of names that are gone are
 * given up as soon as they were shown.
 */
export class Cells<Cell> {
  readonly #depth: number;
  readonly #make: () => Cell;
  readonly #cellsMax: number;
  readonly #root: Level<Cell> = new Map();
  readonly #isThere: () => ((first: string) => boolean) | undefined;
  #rows: Row<Cell>[] = [];
  #overflow: Cell | undefined;

  /** `isThere`: whether the first label names something that there still is; undefined: nobody knows now. */
  constructor(
    depth: number,
    make: () => Cell,
    cellsMax = 1000,
    isThere: () => ((first: string) => boolean) | undefined = () => undefined,
  ) {
    this.#depth = depth;
    this.#make = make;
    this.#cellsMax = cellsMax;
    this.#isThere = isThere;
  }

  at(first: string, second = "", third = ""): Cell {
    const found = this.#root.get(first)?.get(second)?.get(third);
    return found ?? this.#add(first, second, third);
  }

  /** To be shown. */
  rows(): readonly Row<Cell>[] {
    const shown = this.#rows;
    if (shown.length >= this.#cellsMax) this.#giveUpGone();
    return shown;
  }

  #giveUpGone(): void {
    const isThere = this.#isThere();
    if (isThere === undefined) return;
    const isKept = (name: string): boolean => name === "" || isThere(name);
    this.#rows = this.#rows.filter(
      ({ labels: [first = ""], cell }) => cell === this.#overflow || isKept(first),
    );
    for (const first of [...this.#root.keys()]) if (!isKept(first)) this.#root.delete(first);
  }

  #add(first: string, second: string, third: string): Cell {
    if (this.#rows.length >= this.#cellsMax) {
      this.#overflow ??= this.#insert([OVERFLOW_LABEL, OVERFLOW_LABEL, OVERFLOW_LABEL]);
      return this.#overflow;
    }
    const cell = this.#insert([first, second, third]);
    const level = this.#root.get(first) ?? new Map<string, Map<string, Cell>>();
    this.#root.set(first, level);
    const leaf = level.get(second) ?? new Map<string, Cell>();
    level.set(second, leaf);
    leaf.set(third, cell);
    return cell;
  }

  #insert(labels: readonly string[]): Cell {
    const cell = this.#make();
    this.#rows.push({ labels: labels.slice(0, this.#depth), cell });
    return cell;
  }
}

type Level<Cell> = Map<string, Map<string, Map<string, Cell>>>;
