// Every operation's contract, through the envelope and through every REST route, from one table.
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { afterEach, describe, expect, it } from "vitest";
import { errorTable } from "../../api/index.js";
import { operations } from "../../api/operations/catalog.js";
import type { Operation, RestBinding } from "../../api/operations/operation.js";
import { type OperationCase, operationCases } from "../support/operation-cases.js";
import { type Answer, TestServer } from "../support/test-server.js";

let running: TestServer | undefined;
afterEach(async () => {
  await running?.close();
  running = undefined;
});

/** Errors of the operation that no input can bring about in a small test, with the reason. */
const UNREACHED: Readonly<Record<string, readonly string[]>> = {
  // 100,001 keys: reached in `keys refuses more than it can show`, below.
  // A log without its beginning: reached in looking-back.test.ts.
  "admin.log_crc": ["LOG_OFFSET_RETIRED"],
  "admin.digest": ["LOG_OFFSET_RETIRED"],
  "kv.keys": ["API_RESULT_TOO_LARGE"],
  // A hundred open transactions: reached in the test of transactions.
  "transaction.multi": ["API_TRANSACTIONS_FULL"],
  "transaction.watch": ["API_TRANSACTIONS_FULL"],
};

function operationOf(name: string): Operation {
  const found = operations.find((operation) => operation.name === name);
  if (found === undefined) throw new Error(`no operation ${name}`);
  return found;
}

async function given(row: OperationCase): Promise<TestServer> {
  const server = await TestServer.start({
    ...(row.rules === undefined ? {} : { rules: row.rules }),
    ...(row.queueRules === undefined ? {} : { queueRules: row.queueRules }),
    ...(row.streamRules === undefined ? {} : { streamRules: row.streamRules }),
  });
  for (const [command, input] of row.given ?? []) {
    expect(await server.command(command, input)).toMatchObject({ success: true });
  }
  running = server;
  return server;
}

const inputText = (row: OperationCase) =>
  typeof row.input === "string" ? row.input : JSON.stringify(row.input);

/** The same input as a REST request: path, query or body. */
function restRequest(server: TestServer, binding: RestBinding, row: OperationCase): Promise<Answer> {
  const fields: Record<string, unknown> = JSON.parse(inputText(row));
  const inPath = [...binding.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? "");
  const path = binding.path.replace(/\{(\w+)\}/g, (_all, name) =>
    encodeURIComponent(String(fields[name] ?? "")),
  );
  if (binding.method === "POST" || binding.method === "PUT") {
    let body = inputText(row);
    // The path's fields leave the body, the digits of the rest stay as they are.
    for (const name of inPath) body = body.replace(new RegExp(`"${name}":"[^"]*",?`), "");
    const json = { "content-type": "application/json" };
    return server.request(binding.method, path, body.replace(",}", "}"), json);
  }
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields))
    if (!inPath.includes(name)) query.set(name, String(value));
  return server.request(binding.method, query.size === 0 ? path : `${path}?${query}`);
}

function withoutOffsets(payload: unknown): unknown {
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) return payload;
  const { log_offset: _offset, revision: _revision, ...rest } = payload as Record<string, unknown>;
  return Array.isArray(rest.results) ? { ...rest, results: rest.results.map(withoutOffsets) } : rest;
}

function expectPayload(row: OperationCase, operation: Operation, text: string, binding?: RestBinding): void {
  const payload: unknown = JSON.parse(text);
  if (binding?.output !== undefined) {
    expect(withoutOffsets(payload)).toEqual(row.rest ?? row.payload);
    expect(
      TypeCompiler.Compile(binding.output).Check(payload),
      `${text} is not what ${binding.path} documents`,
    ).toBe(true);
    return;
  }
  if (row.text !== undefined) expect(text).toBe(row.text);
  else expect(withoutOffsets(payload)).toEqual(row.payload);
  expect(
    TypeCompiler.Compile(operation.output).Check(payload),
    `${text} is not what ${operation.name} documents`,
  ).toBe(true);
}

describe.each(operationCases.map((row) => [`${row.operation}: ${row.says}`, row] as const))(
  "%s",
  (_name, row) => {
    const operation = operationOf(row.operation);

    it.each([operation.name, ...(operation.aliases ?? [])])("as the command %s", async (command) => {
      const server = await given(row);
      const before = server.log.endOffset;
      const body = `{"command":"${command}","request_id":"r","payload":${inputText(row)}}`;
      const answer = await server.post("/api/v1/command", body);
      expect(answer.status).toBe(200);
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
        if (row.bodyOnly === true && binding.method !== "POST" && binding.method !== "PUT") return;
        if (row.envelopeOnly === true) return;
        const server = await given(row);
        const before = server.log.endOffset;
        const answer = await restRequest(server, binding, row);
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

describe("the table of cases", () => {
  it("shows every operation succeed, and fail with each error that it documents", () => {
    for (const operation of operations.filter(({ envelope }) => envelope !== false)) {
      const rows = operationCases.filter((row) => row.operation === operation.name);
      expect(
        rows.some((row) => row.error === undefined),
        `${operation.name} never succeeds`,
      ).toBe(true);
      const reached = new Set([...rows.map((row) => row.error), ...(UNREACHED[operation.name] ?? [])]);
      const missing = operation.errors.filter((code) => !reached.has(code));
      expect(missing, `${operation.name} documents errors that no case reaches`).toEqual([]);
    }
  });
});

describe("keys", () => {
  it("refuses more than it can show", async () => {
    const server = await TestServer.start({ limits: { batchItemsMax: 200_000, bodyBytesMax: 16 << 20 } });
    const pairs = Array.from({ length: 100_001 }, (_, index) => ({ key: `k${index}`, value: "" }));
    expect((await server.post("/kv/mset", { pairs })).status).toBe(200);
    expect((await server.get("/kv/keys")).json).toMatchObject({ error_code: "API_RESULT_TOO_LARGE" });
    await server.close();
  });
});
