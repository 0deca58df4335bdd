/** What a server answers while it has no state: before the replay, before a replica's first sync, and while its log is replaced. */
import type { Past, Snapshots } from "../api/index.js";
import { BEFORE_FIRST, LogError } from "../log/index.js";

export function notYet(): LogError {
  return new LogError("LOG_REPLAYING", "the state is still being folded from the log; try again", {
    offset: BEFORE_FIRST,
  });
}

const refuse = (): Promise<never> => Promise.reject(notYet());

export const nothingYet: Snapshots & Past = {
  make: refuse,
  list: refuse,
  read: refuse,
  value: refuse,
  digest: refuse,
};
