/**
 * The names of the simulated disk: a tree of directories whose changes are durable only after a sync of the directory.
 * At a power cut the un-synced changes survive per name and in order: a change survives only if every earlier one of the
 * same names did. A rename within one directory is atomic; one across directories is two changes.
 */
import type { Fate } from "./fate.js";
import { type Losses, SimulatedFile } from "./simulated-file.js";
import { systemError } from "./system-error.js";

export class SimulatedDirectory {
  readonly type = "directory";
  readonly entries = new Map<string, Entry>();
  readonly durable = new Map<string, Entry>();
}

export type Entry = SimulatedFile | SimulatedDirectory;

interface NameChange {
  readonly directory: SimulatedDirectory;
  /** Undefined = the name goes. */
  readonly names: ReadonlyMap<string, Entry | undefined>;
}

export interface Place {
  readonly directory: SimulatedDirectory;
  readonly name: string;
}

export class SimulatedDirectories {
  readonly #root = new SimulatedDirectory();
  #unsynced: NameChange[] = [];

  /** The entry at `path`, or undefined. */
  find(path: string): Entry | undefined {
    let entry: Entry | undefined = this.#root;
    for (const name of partsOf(path)) {
      if (entry?.type !== "directory") return undefined;
      entry = entry.entries.get(name);
    }
    return entry;
  }

  file(path: string, systemCall: string): SimulatedFile {
    const entry = this.find(path);
    if (entry === undefined) throw systemError("ENOENT", systemCall, path);
    if (entry.type === "directory") throw systemError("EISDIR", systemCall, path);
    return entry;
  }

  directory(path: string, systemCall: string): SimulatedDirectory {
    const entry = this.find(path);
    if (entry === undefined) throw systemError("ENOENT", systemCall, path);
    if (entry.type === "file") throw systemError("ENOTDIR", systemCall, path);
    return entry;
  }

  create(path: string): SimulatedFile {
    const { directory, name } = this.#place(path, "open");
    if (directory.entries.has(name)) throw systemError("EEXIST", "open", path);
    const file = new SimulatedFile();
    this.#change(directory, new Map([[name, file]]));
    return file;
  }

  remove(path: string): void {
    this.file(path, "unlink");
    const { directory, name } = this.#place(path, "unlink");
    this.#change(directory, new Map([[name, undefined]]));
  }

  rename(from: string, to: string): void {
    const entry = this.find(from);
    if (entry === undefined) throw systemError("ENOENT", "rename", from);
    const source = this.#place(from, "rename");
    const target = this.#place(to, "rename");
    if (target.directory.entries.get(target.name)?.type === "directory")
      throw systemError("EISDIR", "rename", to);
    if (source.directory === target.directory) {
      if (source.name === target.name) return;
      const names = new Map<string, Entry | undefined>([
        [source.name, undefined],
        [target.name, entry],
      ]);
      this.#change(source.directory, names);
      return;
    }
    this.#change(target.directory, new Map([[target.name, entry]]));
    this.#change(source.directory, new Map([[source.name, undefined]]));
  }

  /** A second name for the same file. */
  link(from: string, to: string): void {
    const file = this.file(from, "link");
    const { directory, name } = this.#place(to, "link");
    if (directory.entries.has(name)) throw systemError("EEXIST", "link", to);
    this.#change(directory, new Map([[name, file]]));
  }

  /** How many names a file has. */
  linksOf(file: SimulatedFile): number {
    let links = 0;
    for (const directory of this.#directories("entries"))
      for (const entry of directory.entries.values()) if (entry === file) links += 1;
    return links;
  }

  /** Creates what is missing of `path`, each name durable before the next, that of the lowest one there included. */
  makeDirectory(path: string): void {
    this.#makeLevels(path, Number.POSITIVE_INFINITY, true);
  }

  /** The same, ended in the middle: only some levels are made, the last one perhaps not durably. */
  makeDirectoryInPart(path: string, fate: Fate): void {
    const missing = partsOf(path).length;
    this.#makeLevels(path, fate.below(missing + 1), fate.coin());
  }

  #makeLevels(path: string, most: number, lastSynced: boolean): void {
    let parent = this.#root;
    let directory = this.#root;
    let made = 0;
    for (const name of partsOf(path)) {
      let entry = directory.entries.get(name);
      if (entry?.type === "file") throw systemError("ENOTDIR", "mkdir", path);
      if (entry === undefined) {
        if (made === 0) this.sync(parent);
        if (made === most) return;
        made += 1;
        entry = new SimulatedDirectory();
        this.#change(directory, new Map([[name, entry]]));
        if (made < most || lastSynced) this.sync(directory);
      }
      parent = directory;
      directory = entry;
    }
    if (made === 0 && lastSynced) this.sync(parent);
  }

  sync(directory: SimulatedDirectory): void {
    this.#unsynced = this.#unsynced.filter((change) => {
      if (change.directory !== directory) return true;
      applyDurably(change);
      return false;
    });
  }

  losePower(fate: Fate, losses: Losses): void {
    const stopped = new Map<SimulatedDirectory, Set<string>>();
    for (const change of this.#unsynced) {
      const gone = stopped.get(change.directory) ?? new Set();
      stopped.set(change.directory, gone);
      const names = [...change.names.keys()];
      if (!names.some((name) => gone.has(name)) && fate.survives()) {
        applyDurably(change);
        losses.namesKept += 1;
      } else {
        for (const name of names) gone.add(name);
        losses.namesLost += 1;
      }
    }
    this.#unsynced = [];
    for (const directory of this.#directories("durable")) {
      directory.entries.clear();
      for (const [name, entry] of directory.durable) directory.entries.set(name, entry);
    }
    for (const file of this.files()) file.losePower(fate, losses);
  }

  /** Every file that has a name, once. */
  files(): Set<SimulatedFile> {
    const files = new Set<SimulatedFile>();
    for (const directory of this.#directories("entries"))
      for (const entry of directory.entries.values()) if (entry.type === "file") files.add(entry);
    return files;
  }

  #directories(view: "entries" | "durable"): SimulatedDirectory[] {
    const found = [this.#root];
    for (const directory of found)
      for (const entry of directory[view].values()) if (entry.type === "directory") found.push(entry);
    return found;
  }

  #place(path: string, systemCall: string): Place {
    const parts = partsOf(path);
    const name = parts.pop();
    if (name === undefined) throw systemError("EISDIR", systemCall, path);
    return { directory: this.directory(`/${parts.join("/")}`, systemCall), name };
  }

  #change(directory: SimulatedDirectory, names: ReadonlyMap<string, Entry | undefined>): void {
    for (const [name, entry] of names) setName(directory.entries, name, entry);
    this.#unsynced.push({ directory, names });
  }
}

function applyDurably(change: NameChange): void {
  for (const [name, entry] of change.names) setName(change.directory.durable, name, entry);
}

function setName(names: Map<string, Entry>, name: string, entry: Entry | undefined): void {
  if (entry === undefined) names.delete(name);
  else names.set(name, entry);
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "");
}
