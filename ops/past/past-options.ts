/** The API's options for one look at a past state: no process stands behind it, so what tells of one says nothing. */
import type { ApiLimits, ApiOptions } from "../../api/index.js";
import type { LogReader } from "../../log/index.js";
import type { PastStore } from "../../projections/index.js";

export interface PastFacts {
  readonly version: string;
  readonly limits: ApiLimits;
  readonly queuesEnabled: boolean;
  /** A number in [0, 1). */
  readonly random: () => number;
}

const nothing = (): void => undefined;

export function pastOptions(store: PastStore, log: LogReader, facts: PastFacts): ApiOptions {
  const { version, limits, queuesEnabled, random } = facts;
  const { offset: end } = store;
  return {
    version,
    limits,
    queuesEnabled,
    random,
    store,
    log: {
      firstOffset: log.firstOffset,
      endOffset: end,
      committedOffset: end,
      durableOffset: end,
      epochs: log.epochs,
      markAt: (at) => log.markAt(at),
    },
    past: undefined,
    role: () => "standalone",
    now: () => store.time,
    stopwatch: () => 0,
    newRequestId: () => "",
    health: { live: () => true, readiness: () => [], draining: () => false },
    observer: {
      requestFinished: nothing,
      operationFinished: nothing,
      eventsPublished: nothing,
      requestRejected: nothing,
      countWaiting: nothing,
    },
    metrics: async () => ({ contentType: "text/plain", text: "" }),
    info: () => ({}),
    logger: { info: nothing, warn: nothing, error: nothing },
    corsOrigins: [],
  };
}
