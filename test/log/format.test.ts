import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { crc32 } from "../../log/checksum.js";
import { LogError } from "../../log/errors.js";
import {
  chainSalt,
  decodeSegmentHeader,
  encodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from "../../log/format.js";
import { basePoint, parseRecords, readHeader } from "../../log/segment-reader.js";
import { epoch, offset } from "../../log/units.js";
import { composeLog } from "../support/log-bytes.js";

const source = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

/** The lines of a source's opening comment that are indented as layout. */
function layoutLines(path: string): string[] {
  const comment = source(path).split("*/")[0]!;
  return comment.split("\n").flatMap((line) => /^ \* {3}(.*\S)\s*$/.exec(line)?.[1] ?? []);
}

const readme = source("log/README.md");
const blocks = [...readme.matchAll(/```layout (\S+)\n([\s\S]*?)```/g)].map(([, path, text]) => ({
  path: path!,
  lines: text!.trimEnd().split("\n"),
}));

const exampleHex = layoutLines("log/format.ts")
  .filter((line) => /^[0-9a-f]{8}/.test(line))
  .map((line) => line.split(/ {2,}/)[0]!.replaceAll(" ", ""))
  .join("");

describe("format", () => {
  test("the README shows the layouts that stand above the codecs", () => {
    expect(blocks.map(({ path }) => path)).toEqual([
      "log/format.ts",
      "log/format.ts",
      "log/format.ts",
      "log/offset-index.ts",
      "log/offset-index.ts",
      "log/recovery-point.ts",
    ]);
    for (const { path, lines } of blocks)
      expect(layoutLines(path)).toEqual(expect.arrayContaining(lines.map((line) => line.trimEnd())));
    for (const path of ["log/format.ts", "log/offset-index.ts"])
      for (const line of layoutLines(path))
        expect(blocks.flatMap(({ lines }) => lines.map((each) => each.trim()))).toContain(line.trim());
  });

  test("the worked example is what the codec writes and reads", () => {
    const log = composeLog({ batches: [[Buffer.from("hello")]] });
    expect(Buffer.from(log.tail.bytes).toString("hex")).toBe(exampleHex);
    const bytes = Buffer.from(exampleHex, "hex");
    const header = decodeSegmentHeader(bytes) as SegmentHeader;
    const batch = parseRecords(bytes.subarray(SEGMENT_HEADER_BYTES), basePoint(header), header, true);
    expect(batch.bad).toBeUndefined();
    expect(batch.records).toMatchObject([
      { offset: 1, timestamp: 1_700_000_000_003, kind: 3, crc: 0xb1f4f1d7 },
    ]);
    expect(Buffer.from(batch.records[0]!.body).toString()).toBe("hello");
  });

  test("the salt is the beginning of the lineage id", () => {
    expect(chainSalt("ff00000112345678".repeat(2))).toBe(0xff000001);
  });

  test("a sound header of another version is another release's file, a damaged version byte is damage", async () => {
    const log = composeLog({ batches: [] });
    const files = log.files();
    const damaged = files.own(log.tail.path);
    damaged[8] = 2;
    const handle = await files.open(log.tail.path, "read");
    await expect(readHeader(handle, "x.log")).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    new DataView(damaged.buffer).setUint32(100, crc32(damaged.subarray(0, 100), 0), true);
    const refusal = await readHeader(handle, "x.log").catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(LogError);
    expect(refusal).toMatchObject({
      code: "LOG_VERSION_UNKNOWN",
      context: { file: "x.log", found: "format version 2" },
    });
  });

  test("a header whose numbers contradict each other is refused even with a right checksum", () => {
    const header = composeLog({ batches: [] }).tail.header;
    const broken: Partial<SegmentHeader>[] = [
      { epoch: epoch(0) },
      { epochFirst: offset(2) },
      { epochFirst: offset(0) },
    ];
    for (const fields of broken)
      expect(decodeSegmentHeader(encodeSegmentHeader({ ...header, ...fields }))).toBe("range");
  });
});
