/**
 * What nobody asked for may take in one record, about: of what a timer writes, and of what a command has to write besides. Less than the
 * least that `log.record_bytes_max` can be, for nobody could ask for less.
 */
export const ROUND_BYTES_MAX = 60_000;
