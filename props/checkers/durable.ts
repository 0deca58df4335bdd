/** Promise: what was told to somebody as committed, and what the log called durable, is still there after an end of the process. */
import { PromiseBroken } from "./promise-broken.js";

export interface Told {
  /** Greatest offset whose commit was answered. */
  readonly answered: number;
  /** Greatest durable offset that the log showed. */
  readonly durable: number;
}

/**
 * @param survivesPower whether what was committed must survive a power cut (`always`) or only the end of the process
 * @param end last offset found afterwards
 */
export function checkDurable(told: Told, powerWasLost: boolean, survivesPower: boolean, end: number): void {
  if (end < told.durable)
    throw new PromiseBroken("durable", `the log called ${told.durable} durable and now ends at ${end}`);
  if (powerWasLost && !survivesPower) return;
  if (end < told.answered)
    throw new PromiseBroken("durable", `offset ${told.answered} was answered and the log now ends at ${end}`);
}
