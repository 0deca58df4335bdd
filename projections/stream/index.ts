/** Every stream operation as a value, by name. Deciders change, readers ask; both run through `Store`. */
import { append, publish } from "./decide-append.js";
import { create, deleteStream, getOrCreate, sweep, touch, trim } from "./decide-create.js";
import * as readers from "./readers.js";

export const stream = {
  create,
  getOrCreate,
  append,
  publish,
  delete: deleteStream,
  touch,
  trim,
  sweep,
  read: readers.read,
  consume: readers.consume,
  head: readers.head,
  stats: readers.stats,
  list: readers.list,
} as const;
