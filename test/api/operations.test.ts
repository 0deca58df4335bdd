// Every operation's contract, through the envelope and through every REST route, from one table.
import type { TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { commonErrors } from "../../api/documented-errors.js";
import { errorTable } from "../../api/index.js";
import { operations } from "../../api/operations/catalog.js";
import type { Operation, RestBinding } from "../../api/operations/operation.js";
import { undescribed, undescribedRequest } from "../support/described.js";
import { type OperationCase, operationCases } from "../support/operation-cases.js";
import { askEnvelope, askRest, goesThrough, inputText, unreachedBy } from "../support/operation-doors.js";
import { TestServer } from "../support/test-server.js";

/** Servers that every case before has left as it was given them, by what was given. */
const unchanged = new Map<unknown, TestServer>();
/** Those of which that isn't said. */
const changed: TestServer[] = [];
const closeAll = (servers: Iterable<TestServer>): Promise<unknown> =>
  Promise.all([...servers].map((server) => server.close()));
afterEach(() => closeAll(changed.splice(0)));
afterAll(() => closeAll(unchanged.values()));

function operationOf(name: string): Operation {
  const found = operations.find((operation) => operation.name === name);
  if (found === undefined) throw new Error(`no operation ${name}`);
  return found;
}

/** What is given to a case, and so to every other case that is given the same. */
function givenTo(row: OperationCase): unknown {
  const { rules, queueRules, streamRules, limits, replication, firstOffset } = row;
  return JSON.stringify([rules, queueRules, streamRules, limits, replication, firstOffset, row.given]);
}

async function given(row: OperationCase): Promise<TestServer> {
  const found = unchanged.get(givenTo(row));
  // What is refused, or reads, leaves the state as it was; many are put to it, so it had better.
  const reads = row.error !== undefined || operationOf(row.operation).kind === "read";
  // Transactions are no state of the store: one is over when it was executed, however that ended.
  const leavesAsWas = reads && !row.operation.startsWith("transaction.");
  if (found !== undefined && leavesAsWas) return found;
  const server = await TestServer.start({
    ...(row.rules === undefined ? {} : { rules: row.rules }),
    ...(row.queueRules === undefined ? {} : { queueRules: row.queueRules }),
    ...(row.streamRules === undefined ? {} : { streamRules: row.streamRules }),
    ...(row.limits === undefined ? {} : { limits: row.limits }),
    ...(row.replication === undefined ? {} : { replication: row.replication }),
  });
  if (leavesAsWas) unchanged.set(givenTo(row), server);
  else changed.push(server);
  for (const [command, input] of row.given ?? []) {
    expect(await server.command(command, input)).toMatchObject({ success: true });
  }
  if (row.firstOffset !== undefined) {
    Object.defineProperty(server.log, "firstOffset", { value: row.firstOffset });
  }
  return server;
}

function withoutOffsets(payload: unknown): unknown {
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) return payload;
  const { log_offset: _offset, revision: _revision, ...rest } = payload as Record<string, unknown>;
  return Array.isArray(rest.results) ? { ...rest, results: rest.results.map(withoutOffsets) } : rest;
}

const checks = new Map<TSchema, TypeCheck<TSchema>>();

function isOf(schema: TSchema, payload: unknown): boolean {
  const check = checks.get(schema) ?? TypeCompiler.Compile(schema);
  checks.set(schema, check);
  return check.Check(payload);
}

function expectPayload(row: OperationCase, operation: Operation, text: string, binding?: RestBinding): void {
  const payload: unknown = JSON.parse(text);
  if (binding?.output !== undefined) {
    expect(withoutOffsets(payload)).toEqual(row.rest ?? row.payload);
    expect(isOf(binding.output, payload), `${text} is not what ${binding.path} documents`).toBe(true);
    return;
  }
  if (row.text !== undefined) expect(text).toBe(row.text);
  else expect(withoutOffsets(payload)).toEqual(row.payload);
  expect(isOf(operation.output, payload), `${text} is not what ${operation.name} documents`).toBe(true);
}

describe.each(operationCases.map((row) => [`${row.operation}: ${row.says}`, row] as const))(
  "%s",
  (_name, row) => {
    const operation = operationOf(row.operation);

    it.each([operation.name, ...(operation.aliases ?? [])])("as the command %s", async (command) => {
      const server = await given(row);
      const before = server.log.endOffset;
      const answer = await askEnvelope(server, command, inputText(row));
      expect(answer.status).toBe(200);
      expect(undescribed("POST", "/api/v1/command", answer)).toBeUndefined();
      if (row.error !== undefined) {
        const code = row.error as keyof typeof errorTable;
        const expected = {
          success: false,
          request_id: "r",
          payload: null,
          error_code: code,
          code: errorTable[code].status,
          ...row.details,
        };
        expect(answer.json).toEqual({ ...expected, error: expect.any(String), ...row.details });
        expect(server.log.endOffset).toBe(before);
        return;
      }
      expect(answer.json).toMatchObject({ success: true, request_id: "r", error: null });
      expectPayload(
        row,
        operation,
        answer.text.slice(answer.text.indexOf('"payload":') + 10, -',"error":null}'.length),
      );
      if (operation.kind === "write") expect(answer.headers.get("x-annals-offset")).toMatch(/^\d+$/);
    });

    it.each(operation.rest.map((binding) => [`${binding.method} ${binding.path}`, binding] as const))(
      "as %s",
      async (_route, binding) => {
        if (!goesThrough(row, binding)) return;
        const server = await given(row);
        const before = server.log.endOffset;
        const answer = await askRest(server, binding, inputText(row));
        expect(undescribed(binding.method, binding.path, answer)).toBeUndefined();
        if (row.error !== undefined) {
          const code = row.error as keyof typeof errorTable;
          expect(answer.json).toMatchObject({
            error_code: code,
            code: errorTable[code].status,
            ...row.details,
          });
          expect(answer.status).toBe(errorTable[code].status);
          expect(server.log.endOffset).toBe(before);
          return;
        }
        expect(answer.status).toBe(200);
        expect(answer.headers.get("content-type")).toBe("application/json; charset=utf-8");
        if (operation.name === "kv.get" && row.payload === null) {
          expect(answer.text).toBe('{"error":"Key not found"}');
          return;
        }
        expectPayload(row, operation, answer.text, binding);
        if (operation.kind === "write") expect(answer.headers.get("x-annals-offset")).toMatch(/^\d+$/);
      },
    );
  },
);

describe("the description of the envelope", () => {
  const asks = {
    write: { idempotency_key: "k", acks: "quorum", min_offset: "1@00000000" },
    read: { min_offset: 1, at: "2026-01-31T12:00:00Z" },
    now: { min_offset: 1 },
  };

  it.each([
    ["kv.set", { key: "a", value: 1 }, asks.write],
    ["kv.get", { key: "a" }, asks.read],
    ["info", {}, asks.now],
  ])("has what may be asked beside %s", (command, payload, beside) => {
    const request = { command, request_id: "r", payload };
    const described = (body: object) => undescribedRequest("POST", "/api/v1/command", body);
    expect(described({ ...request, ...beside })).toBeUndefined();
    expect(described({ ...request, nonsense: 1 })).toBeDefined();
    const others = Object.entries({ ...asks.write, ...asks.read }).filter(([name]) => !(name in beside));
    for (const [name, value] of others) expect(described({ ...request, [name]: value }), name).toBeDefined();
  });
});

describe("the table of cases", () => {
  it("shows every operation succeed, and fail with each error that it documents, through each door", () => {
    expect(unreachedBy(operationCases, operations)).toEqual([]);
  });

  it("shows no error that is not documented where it comes from", () => {
    for (const row of operationCases.filter(({ error }) => error !== undefined)) {
      const operation = operationOf(row.operation);
      // A batch is refused as its part is; which errors those are stands at the part.
      const parts = row.details !== undefined && "operation_index" in row.details;
      const documented = [...operation.errors, ...commonErrors(operation, undefined)];
      if (!parts) expect(documented, `${row.operation}: ${row.says}`).toContain(row.error);
    }
  });

  it("is found wanting when an error, a success or one door of it is missing", () => {
    const [operation] = operations.filter(({ name }) => name === "queue.consume");
    const rows = operationCases.filter((row) => row.operation === "queue.consume");
    const wanting = (some: readonly OperationCase[]) => unreachedBy(some, [operation!]);
    expect(wanting(rows)).toEqual([]);
    const refused = rows.filter(({ error }) => error !== "QUEUE_LIMIT_INVALID");
    expect(wanting(refused)).toHaveLength(3);
    expect(wanting(rows.filter(({ error }) => error !== undefined))).toHaveLength(3);
    const inEnvelope = rows.map((row) => ({ ...row, envelopeOnly: true as const }));
    expect(wanting(inEnvelope)).toHaveLength(2 * (1 + operation!.errors.length));
    const inBodies = rows.map((row) => ({ ...row, bodyOnly: true as const }));
    expect(wanting(inBodies)).toHaveLength(1 + operation!.errors.length);
    expect(unreachedBy(rows, [{ ...operation!, errors: [...operation!.errors, "API_NOT_BUILT"] }])).toEqual([
      "queue.consume in the envelope: API_NOT_BUILT",
      "queue.consume at GET /queue/{queue}/consume/{consumer_id}: API_NOT_BUILT",
      "queue.consume at POST /queue/{queue}/consume/{consumer_id}: API_NOT_BUILT",
    ]);
  });
});
