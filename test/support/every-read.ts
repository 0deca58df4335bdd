/**
 * The cases of every operation that reads keys, queues, streams or the log, put to a primary and to its replica: the two must answer the
 * same. What tells of a node itself (`ofNow`: health, figures, its role) is no such read.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { expect, vi } from "vitest";
import { operations } from "../../api/operations/catalog.js";
import type { Operation, RestBinding } from "../../api/operations/operation.js";
import { NOW } from "./cases/case.js";
import type { Answer } from "./http-client.js";
import { type OperationCase, operationCases } from "./operation-cases.js";
import { askEnvelope, askRest, goesThrough, inputText } from "./operation-doors.js";
import { type SetNode, tokenOf } from "./replica-set.js";

/** They tell of this moment of the log, which both have. */
const OF_THE_LOG = new Set(["admin.log_crc", "admin.digest"]);

export const sharedReads: readonly Operation[] = operations.filter(
  ({ name, kind, ofNow }) => kind === "read" && (ofNow !== true || OF_THE_LOG.has(name)),
);

/** Of servers that run with the rules and limits that they have. */
const needsNothingElse = (row: OperationCase): boolean =>
  [row.rules, row.queueRules, row.streamRules, row.limits, row.firstOffset].every(
    (each) => each === undefined,
  );

/** As with everything that is waited for: what differs so long stays different. */
const SAME_MS = 100_000;

/** Counted by whoever is asked, or by when: of these only that they are there, and are what is documented, can be the same. */
const OWN_NUMBERS = /"(gets|hits|misses|hit_rate|ttl|ttl_ms)":[\d.]+/g;

export class ReadsOfTwo {
  readonly #primary: SetNode;
  readonly #replica: SetNode;
  /** Of the newest write. */
  #token = "0";

  /** The primary allows `kv.flushdb`. */
  constructor(primary: SetNode, replica: SetNode) {
    this.#primary = primary;
    this.#replica = replica;
  }

  /** Puts all cases of an operation to both, through the envelope and each of its routes. */
  async expectSame(operation: Operation): Promise<void> {
    const doors = [undefined, ...operation.rest];
    const answered = new Set<RestBinding | undefined>();
    for (const row of operationCases) {
      if (row.operation !== operation.name || !needsNothingElse(row)) continue;
      const input = await this.#given(row);
      for (const door of doors) {
        if (door !== undefined && !goesThrough(row, door)) continue;
        const { status, text } = await this.#same(operation, door, input);
        if (row.error !== undefined) continue;
        expect(status, text).toBe(200);
        answered.add(door);
        if (door === undefined) expectDocumented(operation, text);
      }
    }
    expect([...answered], `${operation.name} was answered through each door`).toHaveLength(doors.length);
  }

  /** Brings about what the case begins with. Its input, as it reads here and now. */
  async #given(row: OperationCase): Promise<string> {
    if (row.given === undefined) return inputText(row);
    await this.#write("kv.flushdb", "{}");
    for (const queue of await this.#names("queue.list", "queues"))
      await this.#write("queue.delete", JSON.stringify({ queue }));
    for (const room of await this.#names("stream.list", "rooms"))
      await this.#write("stream.delete", JSON.stringify({ room }));
    // In the cases a message has the offset that it has in a log which begins with them, and it is always the same time.
    const before = Number.parseInt(this.#token, 10);
    const ahead = Date.now() - NOW;
    const placed = (text: string): string =>
      text
        .replace(/"(\d+)-(\d+)"/g, (_all, at, index) => `"${before + Number(at)}-${index}"`)
        .replace(/\b17000\d{8}\b/g, (ms) => String(Number(ms) + ahead));
    for (const [command, input] of row.given) {
      const read = sharedReads.find(({ name }) => name === command);
      // Who has read is counted where it was.
      if (read !== undefined) await this.#same(read, undefined, JSON.stringify(input));
      else await this.#write(command, placed(JSON.stringify(input)));
    }
    return placed(inputText(row));
  }

  async #write(command: string, input: string): Promise<void> {
    const answer = await askEnvelope(this.#primary, command, input);
    expect(JSON.parse(answer.text), command).toMatchObject({ success: true });
    this.#token = tokenOf(answer);
  }

  async #names(command: string, field: string): Promise<readonly string[]> {
    const { text } = await askEnvelope(this.#primary, command, "{}");
    return JSON.parse(text).payload[field];
  }

  /** Asked again where they differ: the primary may have gone on by itself, when a delay or a deadline was over. */
  async #same(operation: Operation, door: RestBinding | undefined, input: string): Promise<Answer> {
    const headers = { "x-annals-min-offset": this.#token, "x-request-id": "r" };
    const ask = (node: SetNode): Promise<Answer> =>
      door === undefined
        ? askEnvelope(node, operation.name, input, headers)
        : askRest(node, door, input, headers);
    const both = async () => {
      const [there, here] = await Promise.all([ask(this.#primary), ask(this.#replica)]);
      expect(compared(here), `${operation.name} ${input}`).toEqual(compared(there));
      return here;
    };
    return vi.waitFor(both, { timeout: SAME_MS });
  }
}

function compared({ status, headers, text }: Answer): unknown {
  const { date: _date, "content-length": _length, ...told } = headers;
  return [status, told, text.replace(OWN_NUMBERS, '"$1":0')];
}

function expectDocumented({ name, output }: Operation, text: string): void {
  expect(TypeCompiler.Compile(output).Check(JSON.parse(text).payload), `${name}: ${text}`).toBe(true);
}
