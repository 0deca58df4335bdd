/** The log as the doors see it: there from the first moment, and the same one when another takes its place. */
import type { ApiOptions } from "../api/index.js";
import {
  BEFORE_FIRST,
  type EpochEntry,
  type EventLog,
  type LogMark,
  type Offset,
  offset,
} from "../log/index.js";
import { notYet } from "./not-yet.js";

type LogSource = ApiOptions["log"];

export class LateLog implements LogSource {
  #log: EventLog | undefined;

  open(log: EventLog): void {
    this.#log = log;
  }

  get committedOffset(): Offset {
    return this.#log?.committedOffset ?? BEFORE_FIRST;
  }

  get durableOffset(): Offset {
    return this.#log?.durableOffset ?? BEFORE_FIRST;
  }

  get endOffset(): Offset {
    return this.#log?.endOffset ?? BEFORE_FIRST;
  }

  get firstOffset(): Offset {
    return this.#log?.firstOffset ?? FIRST;
  }

  get epochs(): readonly EpochEntry[] {
    return this.#log?.epochs ?? [];
  }

  async markAt(at: Offset): Promise<LogMark> {
    if (this.#log === undefined) throw notYet();
    return this.#log.markAt(at);
  }
}

const FIRST = offset(1);
