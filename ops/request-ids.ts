/**
 * Ids for requests that brought none: the start of the process by chance, the request by number. Unique across restarts,
 * and a tenth of the price of a UUID, which every request would pay.
 */

/** `start` must be new for every process, e.g. random hex digits. */
export function requestIds(start: string): () => string {
  let count = 0;
  return () => {
    count += 1;
    return `${start}-${count.toString(36)}`;
  };
}
