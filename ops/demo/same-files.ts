/** Whether data directories hold the same log, byte by byte; what is written ahead behind the last record is zeros. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * How many segment files there are, and how many of these are the same everywhere. A file that a log lacks is not, unless it lies before
 * the log's first: retention, or a full sync, lets logs begin at different segments.
 */
export function compareSegments(dataDirectories: readonly string[]): {
  readonly files: number;
  readonly same: number;
} {
  const logs = dataDirectories.map(segmentsOf);
  const names = new Set(logs.flatMap((segments) => [...segments.keys()]));
  const isSame = (name: string): boolean => {
    const found = logs
      .filter((segments) => name >= (firstOf(segments) ?? ""))
      .map((segments) => segments.get(name));
    return found.every((bytes) => bytes !== undefined && found[0]?.equals(bytes) === true);
  };
  return { files: names.size, same: [...names].filter(isSame).length };
}

/** Names have all the same length, so they are in the order of their offsets. */
const firstOf = (segments: ReadonlyMap<string, Buffer>): string | undefined => [...segments.keys()].sort()[0];

function segmentsOf(dataDirectory: string): Map<string, Buffer> {
  const directory = join(dataDirectory, "log");
  const names = readdirSync(directory).filter((name) => /^\d{20}\.log$/.test(name));
  return new Map(names.map((name) => [name, withoutZeros(readFileSync(join(directory, name)))]));
}

function withoutZeros(bytes: Buffer): Buffer {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return bytes.subarray(0, end);
}
