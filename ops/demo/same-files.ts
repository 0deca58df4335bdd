/** Whether data directories hold the same log, byte by byte; what is written ahead behind the last record is zeros. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** How many segment files all of them have, and how many of these are the same everywhere. */
export function compareSegments(dataDirectories: readonly string[]): {
  readonly files: number;
  readonly same: number;
} {
  const [first, ...others] = dataDirectories.map(segmentsOf);
  if (first === undefined) return { files: 0, same: 0 };
  let [files, same] = [0, 0];
  for (const [name, bytes] of first) {
    const found = others.flatMap((segments) => segments.get(name) ?? []);
    if (found.length < others.length) continue;
    files++;
    if (found.every((other) => Buffer.compare(other, bytes) === 0)) same++;
  }
  return { files, same };
}

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
