/**
 * What a command that a timer gives may write into one record, about: less than the least that `log.record_bytes_max` can be. Nobody could
 * ask such a command for less.
 */
export const ROUND_BYTES_MAX = 60_000;
