/**
 * What nobody asked for may take in one record, about: of what a timer writes, and of what a command has to write besides. Less than the
 * least that `log.record_bytes_max` can be, for nobody could ask for less.
 */
export const ROUND_BYTES_MAX = 60_000;

/** The first of these names, at least one if there is any, whose events fit into `bytesMax`: each its name and `besides` bytes. */
export function namesThatFit(names: readonly string[], besides: number, bytesMax: number): readonly string[] {
  let bytes = 0;
  const end = names.findIndex((name) => {
    bytes += besides + Buffer.byteLength(name);
    return bytes > bytesMax;
  });
  return end < 0 ? names : names.slice(0, Math.max(1, end));
}
