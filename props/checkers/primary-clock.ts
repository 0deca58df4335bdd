/** Promise: a replica that hears of its primary goes by the primary's clock, wherever its own stands. */
import { PromiseBroken } from "./promise-broken.js";

export interface TimeShown {
  readonly node: string;
  /** Ms since 1970; undefined before anything was heard. */
  readonly shown: number | undefined;
}

/** A heartbeat is that old at most, as far as the network is whole. */
const OLD_MS_MAX = 1000;

export function checkPrimaryClock(primaryNow: number, replicas: readonly TimeShown[]): void {
  for (const { node, shown } of replicas)
    if (shown === undefined || Math.abs(shown - primaryNow) > OLD_MS_MAX)
      throw new PromiseBroken("primary's clock", `${node} shows ${shown}, the primary's clock ${primaryNow}`);
}
