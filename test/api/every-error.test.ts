/**
 * The errors that every operation documents because of what it is (it takes fields, reads, writes, is about queues): each
 * is brought about through the envelope and through every REST route, and changes nothing: the same request then succeeds.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { commonErrors, LOOK_BACK, OF_A_CLIENT } from "../../api/documented-errors.js";
import type { ErrorCode, Refusal } from "../../api/index.js";
import { operations } from "../../api/operations/catalog.js";
import { type Operation, pathFields, type RestBinding, takesBody } from "../../api/operations/operation.js";
import { LogError } from "../../log/index.js";
import type { OpenedStore, Store } from "../../projections/index.js";
import { MemoryLog } from "../support/memory-log.js";
import { type OperationCase, operationCases } from "../support/operation-cases.js";
import { askEnvelope, askRest, goesThrough, inputText, pathWith } from "../support/operation-doors.js";
import { type Answer, TestServer } from "../support/test-server.js";

const BODY_BYTES_MAX = 4_096;
type Fields = Readonly<Record<string, unknown>>;
type Headers = Readonly<Record<string, string>>;

/** They never ask the store, so they fail with nothing of it. */
const WITHOUT_STORE = new Set([
  ...["info", "admin.log_crc", "admin.digest"],
  ...["transaction.multi", "transaction.discard", "transaction.unwatch"],
  ...["replication.status", "replication.promote", "replication.follow", "replication.resync"],
  ...["replication.breakers", "replication.reset_breakers", "replication.diverged"],
  ...["replication.switchover", "replication.forget"],
]);
const STORE_ERRORS: readonly ErrorCode[] = ["API_INTERNAL", "LOG_REPLAYING"];

/** One operation at one door, and all that can go wrong there. */
class Door {
  readonly reached = new Set<ErrorCode>();
  readonly log = new MemoryLog();
  /** What the node refuses the next requests with. */
  refusal: Refusal | undefined;
  #server: TestServer | undefined;
  #broken: Error | undefined;
  #keys = 0;

  constructor(
    readonly operation: Operation,
    readonly binding: RestBinding | undefined,
    readonly row: OperationCase,
  ) {}

  get server(): TestServer {
    if (this.#server === undefined) throw new Error("not started");
    return this.#server;
  }

  get withBody(): boolean {
    return this.binding === undefined || takesBody(this.binding);
  }

  async start(): Promise<void> {
    const { rules, queueRules, streamRules } = this.row;
    this.#server = await TestServer.start({
      log: this.log,
      ...(rules && { rules }),
      ...(queueRules && { queueRules }),
      ...(streamRules && { streamRules }),
      limits: { bodyBytesMax: BODY_BYTES_MAX, writesInFlightMax: 2, minOffsetWaitMs: 1 },
      wrapStore: (store) => breakable(store, () => this.#broken),
    });
    await this.#given();
  }

  async #given(): Promise<void> {
    for (const [command, input] of this.row.given ?? [])
      expect(await this.server.command(command, input)).toMatchObject({ success: true });
  }

  /** What is executed, if this is about a transaction: it is over when it was executed, however that ended. */
  async #transactionAgain(): Promise<void> {
    if (this.operation.name !== "transaction.exec" || this.server.draining) return;
    await this.#withoutTransaction();
    await this.#given();
  }

  async #withoutTransaction(): Promise<void> {
    if (this.operation.name !== "transaction.exec") return;
    await this.server.command("transaction.discard", JSON.parse(inputText(this.row)));
  }

  async close(): Promise<void> {
    await this.#server?.close();
  }

  async ask(headers: Headers = {}, fields?: Fields, server = this.server): Promise<Answer> {
    await this.#transactionAgain();
    return this.#send(headers, fields, server);
  }

  /** The same request once more: the client has begun nothing else since. */
  async repeat(headers: Headers): Promise<Answer> {
    await this.#withoutTransaction();
    return this.#send(headers, undefined, this.server);
  }

  #send(headers: Headers, fields: Fields | undefined, server: TestServer): Promise<Answer> {
    this.server.replication.refusal = this.refusal;
    const text = fields === undefined ? inputText(this.row) : JSON.stringify(fields);
    const json = this.withBody ? { "content-type": "application/json", ...headers } : headers;
    if (this.binding === undefined) return askEnvelope(server, this.operation.name, text, json);
    return askRest(server, this.binding, text, json);
  }

  /** The request's body is these bytes. */
  askRaw(body: string | Uint8Array, headers: Headers = {}): Promise<Answer> {
    const path =
      this.binding === undefined
        ? "/api/v1/command"
        : pathWith(this.binding, JSON.parse(inputText(this.row)));
    const json = { "content-type": "application/json", ...headers };
    return this.server.request(this.binding?.method ?? "POST", path, body, json);
  }

  freshKey(): Headers {
    this.#keys += 1;
    return { "idempotency-key": `key-${this.#keys}` };
  }

  /** The request of the case, of a moment. */
  async askAt(at: string, server = this.server): Promise<Answer> {
    const text = inputText(this.row);
    if (this.binding === undefined) {
      const body = `{"command":"${this.operation.name}","request_id":"r","at":"${at}","payload":${text}}`;
      return server.post("/api/v1/command", body);
    }
    const fields: Fields = JSON.parse(text);
    if (!this.withBody) return askRest(server, this.binding, JSON.stringify({ ...fields, at }));
    return askRest(server, { ...this.binding, path: `${this.binding.path}?at=${at}` }, text);
  }

  async whileBroken(error: Error, ask: () => Promise<Answer>): Promise<Answer> {
    this.#broken = error;
    const answer = await ask();
    this.#broken = undefined;
    return answer;
  }

  expectCode(answer: Answer, code: ErrorCode): void {
    expect(answer.json, `${code}: ${answer.text}`).toMatchObject({ error_code: code });
    expectHistory(answer);
    this.reached.add(code);
  }
}

/** Every answer says which history it is of. */
function expectHistory({ headers }: Answer): void {
  expect([headers.get("x-annals-epoch"), headers.get("x-annals-lineage")]).toEqual(["1", "00000000"]);
}

function breakable(store: OpenedStore, broken: () => Error | undefined): Store {
  const whole = (): OpenedStore => {
    const error = broken();
    if (error !== undefined) throw error;
    return store;
  };
  return {
    execute: (...write) => whole().execute(...write),
    query: (...read) => whole().query(...read),
    bodies: (plan) => whole().bodies(plan),
    records: (first, last) => whole().records(first, last),
    wakes: store.wakes,
    onReached: (...wait) => whole().onReached(...wait),
    get offset() {
      return store.offset;
    },
    close: () => store.close(),
  };
}

/** A case that succeeds at this door, and whose request is small. */
function sampleOf(operation: Operation, binding: RestBinding | undefined): OperationCase {
  const found = operationCases.find(
    (row) =>
      row.operation === operation.name &&
      row.error === undefined &&
      (binding === undefined || goesThrough(row, binding)) &&
      inputText(row).length < BODY_BYTES_MAX / 2,
  );
  if (found === undefined) throw new Error(`${operation.name} has no case to begin with`);
  return found;
}

const LACKING = { past: { past: "off" }, queues: { queuesEnabled: false } } as const;
const lacking = new Map<keyof typeof LACKING, TestServer>();

/** A server that has a room switched off. It only ever refuses, so one does for all doors. */
async function without(room: keyof typeof LACKING): Promise<TestServer> {
  const server = lacking.get(room) ?? (await TestServer.start(LACKING[room]));
  if (!lacking.has(room)) await server.command("kv.set", { key: "a", value: 1 });
  lacking.set(room, server);
  return server;
}

async function wrongFields(door: Door): Promise<void> {
  const { operation, binding } = door;
  const fields: Fields = JSON.parse(inputText(door.row));
  door.expectCode(await door.ask({}, { ...fields, nonsense: "1" }), "API_FIELD_UNKNOWN");
  const inPath = binding === undefined ? [] : pathFields(binding.path);
  const required = [...(operation.input.required ?? []), ...(binding?.required ?? [])];
  for (const name of required.filter((each) => !inPath.includes(each))) {
    const { [name]: _left, ...others } = fields;
    door.expectCode(await door.ask({}, others), "API_FIELD_MISSING");
  }
  if (OF_A_CLIENT.has(operation.name) && binding !== undefined) {
    door.expectCode(await door.ask({}, {}), "API_FIELD_MISSING");
  }
  if (binding === undefined) {
    const { name: command } = operation;
    door.expectCode(await door.askRaw(JSON.stringify({ command, payload: fields })), "API_FIELD_MISSING");
  }
  if (door.withBody) door.expectCode(await door.askRaw("[]"), "API_FIELD_INVALID");
  const check = TypeCompiler.Compile(operation.input);
  for (const name of Object.keys(operation.input.properties).filter((each) => !inPath.includes(each))) {
    // In a query everything is text.
    const wrong = (door.withBody ? ["neither", 7] : ["neither"]).map((value) => ({
      ...fields,
      [name]: value,
    }));
    for (const each of wrong.filter((one) => !check.Check(one)))
      door.expectCode(await door.ask({}, each), "API_FIELD_INVALID");
    if (door.withBody) continue;
    const twice = `${pathWith(door.binding!, fields)}?${name}=1&${name}=1`;
    door.expectCode(await door.server.request(binding!.method, twice), "API_FIELD_INVALID");
  }
}

async function wrongBodies(door: Door): Promise<void> {
  if (!door.withBody) return;
  door.expectCode(await door.askRaw('{"a":'), "API_JSON_INVALID");
  door.expectCode(await door.askRaw(`{"a":${"[".repeat(99)}${"]".repeat(99)}}`), "API_JSON_TOO_DEEP");
  door.expectCode(await door.askRaw(Buffer.from([0x7b, 0xff, 0x7d])), "API_TEXT_INVALID");
  door.expectCode(await door.askRaw(`{"a":"${"x".repeat(BODY_BYTES_MAX)}"}`), "API_BODY_TOO_LARGE");
  door.expectCode(await door.askRaw("{}", { "content-type": "text/plain" }), "API_CONTENT_TYPE_UNSUPPORTED");
  door.expectCode(
    await door.askRaw("{}", { "content-encoding": "gzip" }),
    "API_CONTENT_ENCODING_UNSUPPORTED",
  );
}

async function wrongTimes(door: Door): Promise<void> {
  door.server.draining = true;
  door.expectCode(
    await door.ask(door.operation.whileDraining ? { "x-annals-min-offset": "1000000" } : {}),
    "API_DRAINING",
  );
  door.server.draining = false;
  if (WITHOUT_STORE.has(door.operation.name)) return;
  const bug = await door.whileBroken(new TypeError("a bug"), () => door.ask());
  door.expectCode(bug, "API_INTERNAL");
  const replaying = new LogError("LOG_REPLAYING", "the state is still being loaded");
  door.expectCode(await door.whileBroken(replaying, () => door.ask()), "LOG_REPLAYING");
}

async function wrongOffsets(door: Door): Promise<void> {
  door.expectCode(await door.ask({ "x-annals-min-offset": "soon" }), "API_MIN_OFFSET_INVALID");
  door.expectCode(await door.ask({ "x-annals-min-offset": "1000000" }), "API_MIN_OFFSET_TIMEOUT");
  door.expectCode(await door.ask({ "x-annals-min-offset": "1@ffffffff" }), "API_LINEAGE_LOST");
}

const PAST_ERRORS = [
  ...(["API_PAST_BUSY", "API_PAST_FAILED", "API_PAST_TIMEOUT", "API_PAST_TOO_FAR"] as const),
  ...(["API_PAST_TOO_LARGE", "LOG_OFFSET_RETIRED", "SNAPSHOT_MISSING"] as const),
];

async function wrongMoments(door: Door): Promise<void> {
  const { operation } = door;
  const hasPast = operation.kind === "read" && operation.ofNow !== true;
  if (hasPast) {
    door.expectCode(await door.askAt("yesterday"), "API_AT_INVALID");
    door.expectCode(await door.askAt("0"), "API_AT_BEFORE_FIRST");
    door.expectCode(await door.askAt("1000000"), "LOG_OFFSET_BEYOND_END");
  } else {
    door.expectCode(await door.askAt("1"), "API_AT_UNSUPPORTED");
  }
  if (!hasPast && !LOOK_BACK.has(operation.name)) return;
  const look = (): Promise<Answer> => (hasPast ? door.askAt("1") : door.ask());
  for (const code of PAST_ERRORS) {
    door.server.refusePast = { type: "refused", code, message: "told to" };
    door.expectCode(await look(), code);
  }
  door.server.refusePast = undefined;
  expect((await look()).text).not.toContain("API_PAST");
  const off = await without("past");
  door.expectCode(await (hasPast ? door.askAt("1", off) : door.ask({}, undefined, off)), "API_DISABLED");
}

async function wrongWrites(door: Door, used: Headers): Promise<void> {
  door.expectCode(await door.ask(used), "IDEMPOTENCY_KEY_REUSED");
  door.expectCode(await door.ask({ "idempotency-key": "two words" }), "API_IDEMPOTENCY_KEY_INVALID");
  door.expectCode(await door.ask({ "if-match": '"1"' }), "API_PRECONDITION_UNSUPPORTED");
  door.expectCode(await door.ask({ "if-none-match": "*" }), "API_PRECONDITION_UNSUPPORTED");
  for (const code of ["LOG_BUSY", "LOG_DISK_FULL", "LOG_FAILED", "LOG_RECORD_TOO_LARGE"] as const) {
    door.log.refuse(new LogError(code, "the log was told to refuse"));
    // With a key, since then a write that changes nothing asks for a record, too.
    door.expectCode(await door.ask(door.freshKey()), code);
  }
  door.log.refuse(undefined);
  const { idempotency } = door.server.rules;
  const { bytesMax } = idempotency;
  Object.assign(idempotency, { bytesMax: 1 });
  door.expectCode(await door.ask(door.freshKey()), "IDEMPOTENCY_ANSWER_TOO_LARGE");
  Object.assign(idempotency, { bytesMax });
  await wrongNode(door);
}

const ELSEWHERE = [
  ...(["REPLICATION_CHANGING", "REPLICATION_FENCED", "REPLICATION_LAGGING"] as const),
  ...(["REPLICATION_READ_ONLY", "REPLICATION_TOO_FEW_REPLICAS"] as const),
  ...(["REPLICATION_FORWARD_FAILED"] as const),
];

async function wrongNode(door: Door): Promise<void> {
  door.expectCode(await door.ask({ "x-annals-acks": "most" }), "API_ACKS_INVALID");
  for (const code of ELSEWHERE) {
    door.refusal = { type: "refused", code, message: "told to" };
    door.expectCode(await door.ask(door.freshKey()), code);
    door.server.replication.refusal = undefined;
  }
  door.refusal = undefined;
}

/** In an open transaction, where there is no room for it. */
async function unqueueable(door: Door): Promise<void> {
  const { limits } = door.server;
  const { batchItemsMax, transactionBytesMax } = limits;
  const fields: Fields = { ...JSON.parse(inputText(door.row)), client_id: "full" };
  expect(await door.server.command("transaction.multi", { client_id: "full" })).toMatchObject({
    success: true,
  });
  Object.assign(limits, { transactionBytesMax: 0 });
  door.expectCode(await door.ask({}, fields), "API_TRANSACTIONS_FULL");
  Object.assign(limits, { transactionBytesMax, batchItemsMax: 0 });
  door.expectCode(await door.ask({}, fields), "API_BATCH_TOO_LARGE");
  Object.assign(limits, { batchItemsMax });
  await door.server.command("transaction.discard", { client_id: "full" });
}

/** The request itself, while the log is slow. It succeeds in the end, so this comes last. */
async function slowWrite(door: Door): Promise<Answer> {
  const key = door.freshKey();
  const { log, server } = door;
  const before = log.endOffset;
  log.hold();
  const first = door.ask(key);
  await expect.poll(() => log.endOffset, { interval: 2 }).toBe(before + 1);
  door.expectCode(await door.repeat(key), "IDEMPOTENCY_IN_PROGRESS");
  const other = server.post("/kv/set", { key: "filler", value: 1 });
  await expect.poll(() => log.endOffset, { interval: 2 }).toBe(before + 2);
  door.expectCode(await door.ask(), "API_OVERLOADED");
  log.release();
  expect((await other).status).toBe(200);
  await first;
  // A repeat changes nothing, and is gated as the first one was.
  const unconfirmed = { type: "refused", code: "REPLICATION_NOT_CONFIRMED", message: "told to" } as const;
  server.replication.unconfirmed = unconfirmed;
  door.expectCode(await door.repeat({ ...key, "x-annals-acks": "1" }), unconfirmed.code);
  server.replication.unconfirmed = undefined;
  return first;
}

async function switchedOff(door: Door): Promise<void> {
  door.expectCode(await door.ask({}, undefined, await without("queues")), "API_DISABLED");
}

const doors = operations
  .filter(({ envelope }) => envelope !== false)
  .flatMap((operation) =>
    [undefined, ...operation.rest].map((binding) => {
      const at = binding === undefined ? "the envelope" : `${binding.method} ${binding.path}`;
      return [operation.name, at, operation, binding] as const;
    }),
  );

let open: Door | undefined;
afterEach(async () => {
  await open?.close();
});
afterAll(async () => {
  for (const server of lacking.values()) await server.close();
});

describe.each(doors)("%s at %s", (_name, _at, operation, binding) => {
  it("answers each documented error of its kind, and changes nothing by it", async () => {
    const door = new Door(operation, binding, sampleOf(operation, binding));
    open = door;
    await door.start();
    const used = door.freshKey();
    expect((await door.server.post("/kv/set", { key: "other", value: 1 }, used)).status).toBe(200);
    const before = door.log.endOffset;
    await wrongFields(door);
    await wrongBodies(door);
    await wrongTimes(door);
    await wrongOffsets(door);
    if (operation.kind === "write") await wrongWrites(door, used);
    if (operation.prepare !== undefined) await unqueueable(door);
    await wrongMoments(door);
    expect(door.log.endOffset).toBe(before);
    const answer = await (operation.kind === "read" ? door.ask() : slowWrite(door));
    expect(answer.status, answer.text).toBe(200);
    expect(answer.text).not.toContain("error_code");
    expectHistory(answer);
    if (operation.name.startsWith("queue.")) await switchedOff(door);
    const documented = commonErrors(operation, binding);
    const unsaid = new Set(
      [...door.reached].filter((code) => ![...documented, ...operation.errors].includes(code)),
    );
    expect(unsaid).toEqual(new Set());
    const missing = documented.filter((code) => !door.reached.has(code));
    expect(missing).toEqual(WITHOUT_STORE.has(operation.name) ? STORE_ERRORS : []);
  });
});
