/**
 * One file of the simulated disk: its page cache and what of it a power cut would leave. It knows nothing of names,
 * handles, order or injected faults.
 *
 * What is modelled, after ext4 and XFS with a volatile page cache:
 * - Un-synced data is kept per 4 KiB page with every version the page went through, because writeback may have taken any
 *   of them. At a power cut each page independently is one of its versions, or torn between two neighbours at 512-byte sectors.
 * - Size changes are ordered among themselves; a power cut keeps a prefix of them. A surviving size without its data reads zeros.
 * - A cut (shrinking) is metadata: pages wholly beyond it change on disk if and only if the cut itself survives.
 * - A synced write (O_DSYNC) makes its own pages durable and the size that reaches them, not other dirty pages.
 * - After a failed sync the un-synced pages are clean: each is on the disk or not, the cache still shows it, and no later
 *   sync writes it (unless somebody dirties the page again).
 */
import type { Fate } from "./fate.js";

export const PAGE_BYTES = 4096;
export const SECTOR_BYTES = 512;

const ZERO_PAGE = new Uint8Array(PAGE_BYTES);

interface PageVersion {
  readonly content: Uint8Array;
  /** Set when a shrinking made this version; `whole`: the page lies completely beyond the new size. */
  readonly cut?: { readonly sequence: number; readonly whole: boolean };
}

interface SizeChange {
  readonly sequence: number;
  readonly size: number;
  readonly shrinks: boolean;
}

/** What power cuts did, so that a suite can assert that it was interesting. */
export interface Losses {
  pagesLost: number;
  pagesKept: number;
  pagesTorn: number;
  sizesLost: number;
  namesLost: number;
  namesKept: number;
}

export class SimulatedFile {
  readonly type = "file";
  #cache: Uint8Array = new Uint8Array(PAGE_BYTES);
  #size = 0;
  #disk: Uint8Array = new Uint8Array(PAGE_BYTES);
  #diskSize = 0;
  #sequence = 0;
  #sizes: SizeChange[] = [];
  readonly #dirty = new Map<number, PageVersion[]>();
  /** Clean pages that a failed sync left in the cache only. */
  readonly #stranded = new Set<number>();
  readonly #allocated = new Set<number>();
  /** What the disk does not give back, until it is written again. */
  readonly #bad = new Set<number>();

  get size(): number {
    return this.#size;
  }

  get allocatedBytes(): number {
    return this.#allocated.size * PAGE_BYTES;
  }

  get hasUnsynced(): boolean {
    return this.#dirty.size > 0 || this.#sizes.length > 0;
  }

  /** Bytes that `write` would newly allocate. */
  growthOf(length: number, position: number): number {
    let pages = 0;
    for (const page of pagesOf(position, position + length)) if (!this.#allocated.has(page)) pages += 1;
    return pages * PAGE_BYTES;
  }

  /** The page that holds `position` goes bad. */
  spoil(position: number): void {
    this.#bad.add(Math.floor(position / PAGE_BYTES));
  }

  /** Up to where bytes from `position` on, that are there, can be read; `position` itself when its page is bad. */
  readableTo(position: number, end: number): number {
    if (this.#bad.size === 0) return end;
    for (const page of pagesOf(position, Math.min(end, this.#size)))
      if (this.#bad.has(page)) return Math.max(position, page * PAGE_BYTES);
    return end;
  }

  read(into: Uint8Array, position: number): number {
    const end = Math.min(this.#size, position + into.length);
    if (position >= end) return 0;
    into.set(this.#cache.subarray(position, end));
    return end - position;
  }

  write(bytes: Uint8Array, position: number): void {
    if (bytes.length === 0) return;
    const end = position + bytes.length;
    this.#cache = grown(this.#cache, end);
    this.#cache.set(bytes, position);
    if (end > this.#size) this.#resize(end, false);
    for (const page of pagesOf(position, end)) {
      this.#allocated.add(page);
      this.#bad.delete(page);
      this.#stranded.delete(page);
      this.#addVersion(page, { content: pageOf(this.#cache, page).slice() });
    }
  }

  truncate(size: number): void {
    if (size === this.#size) return;
    const before = this.#size;
    this.#cache = grown(this.#cache, size);
    if (size > before) {
      this.#resize(size, false);
      return;
    }
    this.#cache.fill(0, size, before);
    this.#resize(size, true);
    const sequence = this.#sequence;
    for (const page of pagesOf(size, before)) {
      const whole = page * PAGE_BYTES >= size;
      if (whole) this.#allocated.delete(page);
      if (whole) this.#bad.delete(page);
      this.#stranded.delete(page);
      const content = whole ? ZERO_PAGE : pageOf(this.#cache, page).slice();
      this.#addVersion(page, { content, cut: { sequence, whole } });
    }
  }

  /** Everything in the cache is durable. */
  sync(): void {
    for (const [page, versions] of this.#dirty) this.#writeBack(page, latest(versions));
    this.#dirty.clear();
    this.#sizes = [];
    this.#setDiskSize(this.#size);
  }

  /** The second half of an O_DSYNC write: its own pages, every cut before it, and the size that reaches its end. */
  syncRange(from: number, end: number): void {
    for (const page of pagesOf(from, end)) {
      const versions = this.#dirty.get(page);
      if (versions === undefined) continue;
      this.#writeBack(page, latest(versions));
      this.#dirty.delete(page);
    }
    for (const page of [...this.#dirty.keys()]) this.#settleCuts(page, this.#sequence);
    const shrunk = this.#sizes.findLast((change) => change.shrinks)?.size ?? this.#diskSize;
    this.#setDiskSize(Math.min(this.#size, Math.max(shrunk, end)));
    this.#sizes =
      this.#size > this.#diskSize ? [{ sequence: this.#sequence, size: this.#size, shrinks: false }] : [];
  }

  /** What Linux does when writeback fails: the pages are clean, whether or not they reached the disk. */
  failSync(fate: Fate): void {
    for (const [page, versions] of [...this.#dirty]) {
      if (versions.some((version) => version.cut !== undefined)) continue;
      if (fate.survives()) this.#writeBack(page, latest(versions));
      else this.#stranded.add(page);
      this.#dirty.delete(page);
    }
  }

  /** The cache may forget clean pages at any time; what a failed sync stranded there is then gone. */
  evictStranded(fate: Fate): void {
    for (const page of [...this.#stranded]) {
      if (fate.coin()) continue;
      this.#cache = grown(this.#cache, (page + 1) * PAGE_BYTES);
      this.#disk = grown(this.#disk, (page + 1) * PAGE_BYTES);
      this.#cache.set(pageOf(this.#disk, page), page * PAGE_BYTES);
      this.#stranded.delete(page);
    }
  }

  /** The power goes: afterwards cache and disk are the same, and the file is what the disk held. */
  losePower(fate: Fate, losses: Losses): void {
    const kept = this.#survivingSizes(fate);
    const last = this.#sizes[kept - 1];
    losses.sizesLost += this.#sizes.length - kept;
    const sequence = last?.sequence ?? -1;
    for (const [page, versions] of this.#dirty) {
      const content = this.#survivingPage(page, versions, sequence, fate, losses);
      if (content !== undefined) this.#writeBack(page, content);
    }
    this.#setDiskSize(last?.size ?? this.#diskSize);
    this.#dirty.clear();
    this.#stranded.clear();
    this.#sizes = [];
    this.#size = this.#diskSize;
    this.#cache = this.#disk.slice();
    this.#allocated.clear();
    for (const page of pagesOf(0, this.#size)) this.#allocated.add(page);
  }

  #survivingSizes(fate: Fate): number {
    let kept = 0;
    while (kept < this.#sizes.length && fate.survives()) kept += 1;
    return kept;
  }

  /** The content that the disk has for a dirty page after the cut, or undefined if it kept what it had. */
  #survivingPage(
    page: number,
    versions: readonly PageVersion[],
    sequence: number,
    fate: Fate,
    losses: Losses,
  ): Uint8Array | undefined {
    let floor = -1;
    let ceiling = versions.length - 1;
    for (const [index, { cut }] of versions.entries()) {
      if (cut === undefined) continue;
      if (cut.sequence <= sequence) floor = index;
      else if (cut.whole) {
        ceiling = index - 1;
        break;
      }
    }
    const candidates = ceiling - floor;
    const chosen = candidates > 0 && fate.survives() ? ceiling - skewed(fate, candidates) : floor;
    const content = versions[chosen]?.content;
    const next = chosen < ceiling ? versions[chosen + 1] : undefined;
    if (next !== undefined && fate.survives()) {
      losses.pagesTorn += 1;
      return torn(content ?? pageOf(grown(this.#disk, (page + 1) * PAGE_BYTES), page), next.content, fate);
    }
    if (chosen === versions.length - 1) losses.pagesKept += 1;
    else losses.pagesLost += 1;
    return content;
  }

  #settleCuts(page: number, sequence: number): void {
    const versions = this.#dirty.get(page);
    if (versions === undefined) return;
    const index = versions.findLastIndex(({ cut }) => cut !== undefined && cut.sequence <= sequence);
    const settled = versions[index];
    if (settled === undefined) return;
    this.#writeBack(page, settled.content);
    if (index === versions.length - 1) this.#dirty.delete(page);
    else versions.splice(0, index + 1);
  }

  #resize(size: number, shrinks: boolean): void {
    this.#size = size;
    this.#sequence += 1;
    this.#sizes.push({ sequence: this.#sequence, size, shrinks });
  }

  #addVersion(page: number, version: PageVersion): void {
    const versions = this.#dirty.get(page);
    if (versions === undefined) this.#dirty.set(page, [version]);
    else versions.push(version);
  }

  #writeBack(page: number, content: Uint8Array): void {
    this.#disk = grown(this.#disk, (page + 1) * PAGE_BYTES);
    this.#disk.set(content, page * PAGE_BYTES);
  }

  /** Beyond its end the disk holds zeros, so that a later extension reads zeros. */
  #setDiskSize(size: number): void {
    this.#disk = grown(this.#disk, size);
    this.#disk.fill(0, size);
    this.#diskSize = size;
  }
}

function* pagesOf(from: number, end: number): Generator<number> {
  if (end <= from) return;
  const last = Math.floor((end - 1) / PAGE_BYTES);
  for (let page = Math.floor(from / PAGE_BYTES); page <= last; page += 1) yield page;
}

function pageOf(bytes: Uint8Array, page: number): Uint8Array {
  return bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
}

function latest(versions: readonly PageVersion[]): Uint8Array {
  return versions.at(-1)?.content ?? ZERO_PAGE;
}

/** Whole pages, at least `size` bytes, doubling. */
function grown(bytes: Uint8Array, size: number): Uint8Array {
  if (bytes.length >= size) return bytes;
  const pages = Math.ceil(Math.max(size, bytes.length * 2) / PAGE_BYTES);
  const larger = new Uint8Array(pages * PAGE_BYTES);
  larger.set(bytes);
  return larger;
}

/** 0 half of the time, else anything below `end`: the newest version is the likeliest. */
function skewed(fate: Fate, end: number): number {
  return fate.coin() ? 0 : fate.below(end);
}

/** A page in which some sectors are `before` and some `after`: the first ones, the last ones, or any. */
function torn(before: Uint8Array, after: Uint8Array, fate: Fate): Uint8Array {
  const page = before.slice();
  const sectors = PAGE_BYTES / SECTOR_BYTES;
  const border = 1 + fate.below(sectors - 1);
  const shape = fate.below(3);
  for (let sector = 0; sector < sectors; sector += 1) {
    const written = shape === 0 ? sector < border : shape === 1 ? sector >= border : fate.coin();
    const from = sector * SECTOR_BYTES;
    if (written) page.set(after.subarray(from, from + SECTOR_BYTES), from);
  }
  return page;
}
