/** The double on which the projections are tested keeps the promises of every event log. */
import { describeEventLog } from "../support/event-log-contract.js";
import { MemoryLog } from "../support/memory-log.js";

describeEventLog("in memory", async () => {
  const log = new MemoryLog();
  return { log, dispose: () => log.close() };
});
