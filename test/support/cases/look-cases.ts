/** Cases of the fingerprints of log and state. */
import { createHash } from "node:crypto";
import { NOW, type OperationCase, set } from "./case.js";

const EMPTY = createHash("sha256").digest("hex");
const HASH = /^[0-9a-f]{64}$/;
const mark = { time: NOW, epoch: 1, lineage_id: "0".repeat(32), cluster_id: expectHex(32) };

function expectHex(digits: number): unknown {
  return {
    asymmetricMatch: (value: unknown) =>
      typeof value === "string" && value.length === digits && /^[0-9a-f]*$/.test(value),
  };
}
const anyCrc = {
  asymmetricMatch: (value: unknown) => Number.isInteger(value) && Number(value) < 2 ** 32,
};
const aDigest = {
  asymmetricMatch: (value: unknown) => typeof value === "string" && HASH.test(value) && value !== EMPTY,
};
const digests = { kv: aDigest, queue: EMPTY, stream: aDigest, idempotency: EMPTY, all: aDigest };

export const lookCases: readonly OperationCase[] = [
  {
    operation: "admin.log_crc",
    says: "of the last record",
    given: [set("a", 1), set("b", 2)],
    input: {},
    payload: { offset: 2, crc: anyCrc, ...mark, first_offset: 1, end_offset: 2 },
  },
  {
    operation: "admin.log_crc",
    says: "of an earlier one",
    given: [set("a", 1), set("b", 2)],
    input: { offset: 1 },
    payload: { offset: 1, crc: anyCrc, ...mark, first_offset: 1, end_offset: 2 },
  },
  {
    operation: "admin.digest",
    says: "at the end",
    given: [set("a", 1)],
    input: {},
    payload: { offset: 1, crc: anyCrc, ...mark, digests },
  },
  {
    operation: "admin.digest",
    says: "at an earlier offset",
    given: [set("a", 1), set("b", 1)],
    input: { offset: 1 },
    payload: { offset: 1, crc: anyCrc, ...mark, digests },
  },
  ...["admin.log_crc", "admin.digest"].flatMap((operation): OperationCase[] => [
    {
      operation,
      says: "beyond the end",
      given: [set("a", 1)],
      input: { offset: 2 },
      error: "LOG_OFFSET_BEYOND_END",
      details: { first_offset: 1, end_offset: 1 },
    },
    {
      operation,
      says: "of what retention removed",
      given: [set("a", 1), set("b", 1), set("c", 1)],
      firstOffset: 3,
      input: { offset: 2 },
      error: "LOG_OFFSET_RETIRED",
      details: { first_offset: 3, end_offset: 3 },
    },
    {
      operation,
      says: "of an empty log",
      input: {},
      error: "API_AT_BEFORE_FIRST",
      details: { first_offset: 1, end_offset: 0 },
    },
  ]),
];
