/** The settings of the continuous archive. Credentials of a bucket come from the environment and are no settings. */
import type { Setting } from "./setting.js";

export const archiveSettings = {
  "archive.url": {
    kind: "text",
    default: "",
    // No other scheme, no file of another host, and no bucket without a name.
    pattern:
      /^(?:(?![a-z][a-z0-9+.-]+:)|file:\/(?!\/)|file:\/\/(?:localhost)?\/|s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?=[/?]|$))[^\0]*$/i,
    expected: "a directory, or a file:// or s3:// address",
    why: "Where the log is archived continuously: a directory outside of `data_dir`, a `file://` address, or `s3://bucket/prefix?endpoint=&region=`. Empty: nowhere. One server for each archive.",
  },
  "archive.interval_secs": {
    kind: "number",
    default: 60,
    min: 1,
    max: 86_400,
    unit: "s",
    why: "How often the end of the log is archived, at least; sealed segments go at once. The most that is lost with the disk.",
  },
  "archive.keep_days": {
    kind: "number",
    default: 0,
    min: 0,
    max: 36_500,
    unit: "days",
    why: "Every moment of the last so many days stays restorable from the archive; what is older goes, if a snapshot allows it. 0: nothing goes by age.",
  },
  "archive.keep_snapshots": {
    kind: "number",
    default: 0,
    min: 0,
    max: 100_000,
    why: "So many snapshots, and everything since the oldest of them, stay in the archive. 0: nothing goes by their number. With `archive.keep_days` both must allow it.",
  },
} satisfies Record<string, Setting>;
