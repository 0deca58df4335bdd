/** Cases of replication: what is told, and what is commanded. */
import type { ErrorCode } from "../../../api/index.js";
import { type OperationCase, set } from "./case.js";

const refused = (code: ErrorCode) => ({ refused: { type: "refused", code, message: "told to" } as const });

const NODE_TWO = "b".repeat(32);
const status = {
  role: "master",
  master_offset: 1,
  node_id: "a".repeat(32),
  name: "one",
  listen: "127.0.0.1:15501",
  http: "http://127.0.0.1:15500",
  epoch: 3,
  lineage_id: "e".repeat(32),
  fenced: null,
  refuses_writes: null,
  divergences: 0,
  damage: {
    known: [{ first: 1, file: "log/1.log", words: "zeros", since: 1_700_000_000 }],
    quarantines: 2,
    refetched_segments: 3,
    owes_since: 1_700_000_001,
    mending: "a primary",
    comparisons: 4,
    mismatches: 1,
    last_compared: 1_700_000_002,
    mismatch_offset: 7,
    master: "zeros there",
  },
  twins: [
    {
      id: NODE_TWO,
      name: "two",
      stays: "10.0.0.2:40000",
      refused: "10.0.0.3:40000",
      refused_at: 1_700_000_000,
    },
  ],
  listed: true,
  replicas: [
    {
      id: NODE_TWO,
      name: "two",
      address: "127.0.0.1:15502",
      http: null,
      offset: 7,
      lag_operations: 2,
      lag_bytes: 300,
      lag_ms: 5,
      status: "in_sync",
      connected: true,
      connected_at: 1_700_000_000,
      last_heartbeat: 1_700_000_001,
    },
  ],
  peers: [{ id: NODE_TWO, name: "two", address: "127.0.0.1:15502", http: null, follows: null }],
};
const promoted = {
  success: true,
  role: "master",
  epoch: 4,
  lineage_id: "f".repeat(32),
  offset: 1,
  reached: ["two"],
  not_reached: [],
  may_be_lost: 2,
  verified_from: 1,
  warnings: [],
};
const tripped = [
  {
    link: "db1:15501",
    tripped: true,
    failures: 5,
    lastError: "LOG_RECORD_BAD",
    trippedAt: 1_700_000_000_500,
  },
  { link: "db2:15501", tripped: false, failures: 1, lastError: undefined, trippedAt: undefined },
];

const commands: readonly (readonly [string, object, readonly ErrorCode[]])[] = [
  [
    "replication.promote",
    {},
    [
      ...(["REPLICATION_BETTER_REPLICA", "REPLICATION_NOT_ALL_REACHED", "REPLICATION_ROLE_WRONG"] as const),
      ...(["REPLICATION_CHANGING", "REPLICATION_NOT_READY", "REPLICATION_FENCED"] as const),
      "REPLICATION_LOG_DAMAGED",
      "REPLICATION_LOG_FAILED",
    ],
  ],
  [
    "replication.follow",
    { address: "db1:15501" },
    ["API_ADDRESS_INVALID", "REPLICATION_CHANGING", "REPLICATION_CIRCLE"],
  ],
  ["replication.resync", {}, ["REPLICATION_ROLE_WRONG", "REPLICATION_CHANGING"]],
  [
    "replication.switchover",
    { to: "two" },
    [
      ...(["API_NODE_UNKNOWN", "REPLICATION_NOT_READY", "REPLICATION_ROLE_WRONG"] as const),
      ...(["REPLICATION_CHANGING", "REPLICATION_NOT_CONFIRMED", "REPLICATION_FENCED"] as const),
      ...(["REPLICATION_NOT_ALL_REACHED", "REPLICATION_BETTER_REPLICA"] as const),
      "REPLICATION_HANDOVER_UNKNOWN",
    ],
  ],
  [
    "replication.forget",
    { node: "three" },
    [
      ...(["API_NODE_UNKNOWN", "REPLICATION_ROLE_WRONG", "REPLICATION_CHANGING"] as const),
      "REPLICATION_FENCED",
    ],
  ],
  ["replication.breakers", {}, []],
  ["replication.reset_breakers", {}, ["API_LINK_UNKNOWN"]],
  ["replication.diverged", {}, []],
];

export const replicationCases: readonly OperationCase[] = [
  { operation: "replication.status", says: "of a primary", given: [set("a", 1)], input: {}, payload: status },
  { operation: "replication.promote", says: "promotes", input: {}, payload: promoted },
  {
    operation: "replication.promote",
    says: "promotes by force",
    input: { force: true },
    payload: { ...promoted, not_reached: ["three"] },
  },
  {
    operation: "replication.follow",
    says: "follows",
    input: { address: "[::1]:15501" },
    payload: { success: true, role: "replica", address: "[::1]:15501" },
  },
  {
    operation: "replication.switchover",
    says: "hands over",
    input: { to: "two" },
    payload: {
      success: true,
      to: "two",
      epoch: 4,
      offset: 1,
      held_ms: 12,
      repointed: ["two"],
      not_repointed: [],
    },
  },
  {
    operation: "replication.forget",
    says: "strikes off",
    input: { node: "three" },
    payload: { success: true, node: "three" },
  },
  {
    operation: "replication.resync",
    says: "begins",
    input: {},
    payload: { success: true, begun: true },
  },
  {
    operation: "replication.breakers",
    says: "those that are tripped",
    replication: { tripped },
    input: {},
    payload: {
      count: 1,
      tripped: [{ link: "db1:15501", failures: 5, last_error: "LOG_RECORD_BAD", tripped_at: 1_700_000_000 }],
    },
  },
  {
    operation: "replication.reset_breakers",
    says: "all",
    replication: { tripped },
    input: {},
    payload: { success: true, reset: 2 },
  },
  {
    operation: "replication.reset_breakers",
    says: "one, by its documented name",
    replication: { tripped },
    input: { agent_id: "db1:15501" },
    payload: { success: true, reset: 1 },
  },
  {
    operation: "replication.diverged",
    says: "lists",
    input: {},
    payload: {
      count: 1,
      diverged: [
        {
          directory: "diverged/1700000000000-5-9-0f3c9a1e",
          first_offset: 5,
          last_offset: 9,
          records: 5,
          bytes: 1234,
          kept_at: 1_700_000_000,
        },
      ],
    },
  },
  ...commands.flatMap(([operation, input, codes]): OperationCase[] => [
    { operation, says: "on a node that stands alone", replication: "off", input, error: "API_DISABLED" },
    ...codes.map((code) => ({
      operation,
      says: `refused: ${code}`,
      replication: refused(code),
      input,
      error: code,
    })),
  ]),
];
