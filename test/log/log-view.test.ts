import { describe, expect, test } from "vitest";
import { type LogView, openLogView } from "../../log/index.js";
import { offset } from "../../log/units.js";
import { bodyOf, type ComposedLog, composeLog, DIRECTORY } from "../support/log-bytes.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";

const batches = [0, 1, 2, 3, 4, 5].map((b) => [bodyOf(60, 2 * b + 1), bodyOf(60, 2 * b + 2)]);
/** Twelve records in three segments: 1 to 4, 5 to 8, 9 to 12. */
const twelve = (): ComposedLog => composeLog({ batches, rollBefore: [2, 4], zerosAhead: 100 });

const open = (files: MemoryFileSystem, last?: number): Promise<LogView> =>
  openLogView(files, DIRECTORY, last === undefined ? {} : { last: offset(last) });

async function offsets(view: LogView, from: number, last?: number): Promise<number[]> {
  const read: number[] = [];
  const options = last === undefined ? {} : { last: offset(last) };
  for await (const batch of view.read(offset(from), options)) read.push(...batch.map((r) => r.offset));
  return read;
}

const range = (first: number, last: number): number[] =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);

describe("log view", () => {
  test("ends where it was told to, or at the last whole record, and reads from anywhere before", async () => {
    for (const indexes of [true, false]) {
      for (const last of [undefined, ...range(1, 12)]) {
        const view = await open(twelve().files({ indexes }), last);
        const end = last ?? 12;
        expect([view.firstOffset, view.endOffset]).toEqual([1, end]);
        for (const from of range(1, end + 1)) expect(await offsets(view, from)).toEqual(range(from, end));
        expect(await offsets(view, 2, 100)).toEqual(range(2, end));
        expect(await offsets(view, 2, 3)).toEqual(range(2, Math.min(3, end)));
        expect(() => view.read(offset(end + 2))).toThrow(
          expect.objectContaining({ code: "LOG_OFFSET_BEYOND_END" }),
        );
      }
    }
  });

  test("opens although retention removes a segment between its name and a look at it", async () => {
    const log = twelve();
    const files = log.files();
    const [first] = log.segments;
    const listed = files.list.bind(files);
    files.list = async (directory) => {
      const names = await listed(directory);
      files.list = listed;
      await files.remove(first!.path);
      return names;
    };
    const view = await open(files);
    expect([view.firstOffset, view.endOffset]).toEqual([5, 12]);
  });

  test("finds the first record of a time, within the view", async () => {
    const log = twelve();
    const view = await open(log.files(), 10);
    const time = (at: number): number => log.records[at - 1]!.timestamp;
    for (const at of range(1, 10)) {
      expect(await view.offsetAt(time(at))).toBe(at);
      expect(await view.offsetAt(time(at) + 1)).toBe(at + 1);
    }
    expect(await view.offsetAt(time(12))).toBe(11);
  });

  test("tells identity and epochs of what it shows", async () => {
    const log = composeLog({ batches, rollBefore: [2, 4], epochBefore: [4] });
    const files = log.files();
    const { clusterId, nodeId } = log.tail.header;
    files.put(`${DIRECTORY}/identity.json`, Buffer.from(JSON.stringify({ clusterId, nodeId })));
    expect(await open(files, 8)).toMatchObject({
      identity: { clusterId, nodeId },
      epochs: [{ epoch: 1, first: 1 }],
    });
    expect((await open(files)).epochs).toMatchObject([
      { epoch: 1, first: 1 },
      { epoch: 2, first: 9 },
    ]);
  });

  test("a directory without a log is empty", async () => {
    const view = await open(new MemoryFileSystem());
    expect([view.firstOffset, view.endOffset, view.epochs]).toEqual([1, 0, []]);
    expect(await view.offsetAt(5)).toBe(1);
  });

  test("leaves every byte as it is", async () => {
    const files = twelve().files({ indexes: false });
    const all = (): unknown =>
      files.paths.map((path) => [path, Buffer.from(files.get(path)).toString("hex")]);
    const before = all();
    expect(await offsets(await open(files), 2)).toEqual(range(2, 12));
    expect(all()).toEqual(before);
  });

  test("refuses an end that the log does not have", async () => {
    await expect(open(twelve().files(), 13)).rejects.toMatchObject({ code: "LOG_OFFSET_BEYOND_END" });
  });

  test("an unfinished write behind the last whole record is not in it", async () => {
    const log = twelve();
    const files = log.files();
    const last = log.records[11]!;
    const bytes = files.own(log.segments[last.segment]!.path);
    bytes.fill(0, last.end - 5, last.end);
    expect((await open(files)).endOffset).toBe(11);
  });

  test("shows what lies before damage, and refuses to be opened beyond it", async () => {
    const log = twelve();
    for (const at of [2, 6, 10]) {
      const files = log.files();
      const record = log.records[at - 1]!;
      files.own(log.segments[record.segment]!.path)[record.end - 1]! ^= 1;
      expect(await offsets(await open(files, at - 1), 1)).toEqual(range(1, at - 1));
      const beyond = async (): Promise<unknown> => offsets(await open(files, at), 1);
      await expect(beyond()).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    }
  });

  test("says that retention has removed what is asked for", async () => {
    const log = twelve();
    const files = log.files();
    const early = await open(files);
    await files.remove(log.segments[0]!.path);
    const late = await open(files);
    expect(late.firstOffset).toBe(5);
    await expect(offsets(late, 3)).rejects.toMatchObject({ code: "LOG_OFFSET_RETIRED" });
    await expect(offsets(early, 3)).rejects.toMatchObject({ code: "LOG_OFFSET_RETIRED" });
    expect(await offsets(early, 5)).toEqual(range(5, 12));
  });
});
