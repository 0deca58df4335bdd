/** Every key-value operation as a value, by name. Deciders change, readers ask; both run through `Store`. */

import { restore, revert } from "./decide-back.js";
import { increment } from "./decide-counter.js";
import {
  copy,
  deleteKey,
  deleteMany,
  expire,
  flush,
  persist,
  rename,
  renameIfAbsent,
} from "./decide-keys.js";
import { append, setRange } from "./decide-range.js";
import { getSet, set, setMany, setManyIfAbsent } from "./decide-set.js";
import * as readers from "./readers.js";

export const kv = {
  set,
  delete: deleteKey,
  deleteMany,
  increment,
  setMany,
  setManyIfAbsent,
  expire,
  persist,
  append,
  setRange,
  getSet,
  rename,
  renameIfAbsent,
  copy,
  flush,
  revert,
  restore,
  get: readers.get,
  exists: readers.exists,
  getMany: readers.getMany,
  scan: readers.scan,
  entries: readers.entries,
  chain: readers.chain,
  size: readers.size,
  ttl: readers.ttl,
  getRange: readers.getRange,
  length: readers.length,
  type: readers.type,
  randomKey: readers.randomKey,
  stats: readers.stats,
} as const;
