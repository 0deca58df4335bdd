/**
 * Removes what no manifest names any more: pieces of a tail that was sealed since, what left an archive by its rules, and what was
 * half written when a server was killed. An object goes when it has had no name for so long that nobody can be about to use it: neither a restore that began with an
 * older manifest nor a backup that found it there.
 */
import { eachArchiveManifest } from "./archive-chain.js";
import { BackupError } from "./errors.js";
import { ARCHIVE, parseObject, SEGMENTS, SNAPSHOTS } from "./layout.js";
import type { Manifest } from "./manifest.js";
import type { ObjectStore } from "./object-store.js";
import { eachBackup } from "./repository.js";

export interface SweepOptions {
  readonly holder: string;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  readonly graceMs: number;
}

export class ArchiveSweep {
  readonly #store: ObjectStore;
  readonly #options: SweepOptions;
  #unnamedSince = new Map<string, number>();

  constructor(store: ObjectStore, options: SweepOptions) {
    this.#store = store;
    this.#options = options;
  }

  /**
   * How many objects were removed. Not while somebody makes or prunes backups: what they have sent has no name yet.
   * @throws BackupError; BACKUP_LOCKED, and when a manifest cannot be read, for nobody knows what it names.
   */
  async run(): Promise<number> {
    const lock = await this.#store.lock(this.#options.holder);
    try {
      return await this.#run();
    } finally {
      await lock.release();
    }
  }

  async #run(): Promise<number> {
    const { stopwatch, graceMs } = this.#options;
    // Before the manifests: what is put meanwhile may be named by one that comes later still.
    const present: string[] = [];
    for (const prefix of [SEGMENTS, SNAPSHOTS, ARCHIVE])
      for await (const { name } of this.#store.list(prefix)) if (needsName(name)) present.push(name);
    const named = await this.#named();
    const now = stopwatch();
    const unnamed = present.filter((name) => !named.has(name));
    this.#unnamedSince = new Map(unnamed.map((name) => [name, this.#unnamedSince.get(name) ?? now]));
    let removed = 0;
    for (const [name, since] of this.#unnamedSince) {
      if (now - since < graceMs) continue;
      await this.#store.remove(name);
      this.#unnamedSince.delete(name);
      removed += 1;
    }
    return removed;
  }

  async #named(): Promise<Set<string>> {
    const named = new Set<string>();
    const add = (read: Manifest | BackupError): void => {
      if (read instanceof BackupError) throw read;
      for (const { name } of read.files) named.add(name);
    };
    for await (const { read } of eachBackup(this.#store)) add(read);
    for await (const { read } of eachArchiveManifest(this.#store)) add(read);
    return named;
  }
}

/** What is there because somebody names it, or is about to. */
function needsName(name: string): boolean {
  const kind = parseObject(name)?.kind;
  return kind === "segment" || kind === "snapshot" || kind === "temporary";
}
