/**
 * Clients that send writes with idempotency keys, and hold every answer against the list of those that the store must still
 * know. Restarts, power cuts and the clock are theirs, too.
 */
import { expect } from "vitest";
import { MemoryLog } from "../../test/support/memory-log.js";
import { type Answer, TestServer } from "../../test/support/test-server.js";
import { type Kept, KeptAnswers } from "../model/kept-answers.js";
import { type Delivery, type KeyedRequest, requestOf, SURE, send } from "./keyed-requests.js";

export interface Attempt {
  readonly key: string;
  readonly request: KeyedRequest;
}

/** What an answer told for good: everything but what is made up for each answer. */
export interface Told {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string>>;
}

const OF_EACH_ANSWER = new Set(["date", "x-request-id", "connection", "keep-alive", "idempotent-replayed"]);

export function toldBy({ status, text, headers }: Answer): Told {
  const told = [...headers].filter(([name]) => !OF_EACH_ANSWER.has(name));
  return { status, text, headers: Object.fromEntries(told.sort()) };
}

const isReplay = (answer: Answer): boolean => answer.headers.get("idempotent-replayed") === "true";

/** The code of a refusal, whatever door told it; undefined for success. */
function codeOf({ json }: Answer): string | undefined {
  const code: unknown =
    typeof json === "object" && json !== null ? Reflect.get(json, "error_code") : undefined;
  return typeof code === "string" ? code : undefined;
}

export const emptyCounts = () => ({
  refused: 0,
  replayed: 0,
  reused: 0,
  lapsed: 0,
  evicted: 0,
  inProgress: 0,
  waited: 0,
  lost: 0,
  restarts: 0,
  acrossRestart: 0,
  acrossDoors: 0,
});

const ENVELOPE_HEAD = /^\{"success":true,"request_id":"[^"]*"/;

export class KeyedClients {
  readonly attempts: Attempt[] = [];
  readonly #counts: ReturnType<typeof emptyCounts>;
  readonly #model: KeptAnswers<Told>;
  #server: TestServer;
  #log: MemoryLog;
  #now: number;
  #delivery: Delivery = { messageId: "1-0", receipt: "1-0" };
  #keys = 0;
  #turn = 0;
  #restartedAfter = new WeakSet<Kept<Told>>();

  private constructor(
    counts: ReturnType<typeof emptyCounts>,
    model: KeptAnswers<Told>,
    server: TestServer,
    log: MemoryLog,
  ) {
    this.#counts = counts;
    this.#model = model;
    this.#server = server;
    this.#log = log;
    this.#now = server.now;
  }

  static async start(
    counts: ReturnType<typeof emptyCounts>,
    rules: { readonly windowMs: number; readonly answersMax: number },
  ): Promise<KeyedClients> {
    const log = new MemoryLog();
    const server = await TestServer.start({ log, idempotencyRules: rules });
    for (const name of ["jobs", "sure"]) {
      await server.post(`/queue/${name}`, { ack_deadline_secs: 1 });
      await server.post(`/queue/${name}/publish`, { payload: "first", headers: { b: "1", "1": "b" } });
    }
    for (const name of ["ledger", "sure"]) await server.post(`/stream/${name}`, {});
    return new KeyedClients(counts, new KeptAnswers<Told>(rules.windowMs, rules.answersMax), server, log);
  }

  close(): Promise<void> {
    return this.#server.close();
  }

  get answersMax(): number {
    return this.#model.answersMax;
  }

  get now(): number {
    return this.#now;
  }

  freshKey(): string {
    this.#keys += 1;
    return `key-${this.#keys}`;
  }

  request(intent: Parameters<typeof requestOf>[0], door: "rest" | "envelope"): KeyedRequest {
    return requestOf(intent, door, this.#delivery);
  }

  /** A write that succeeds whatever happened before, never the same twice. */
  sureRequest(door: "rest" | "envelope", choice = this.#turn): KeyedRequest {
    this.#turn += 1;
    return this.request((SURE[choice % SURE.length] ?? SURE[0])!(this.#turn), door);
  }

  advance(ms: number): void {
    this.#now += ms;
    this.#server.now = this.#now;
  }

  kept(key: string): Kept<Told> | undefined {
    return this.#model.find(key, this.#now);
  }

  /** One sending, checked against all that is known. */
  async send(attempt: Attempt, requestId = "r-1"): Promise<Answer> {
    const { key, request } = attempt;
    const known = this.kept(key);
    const before = this.#standing();
    const answer = await send(this.#server, request, key, requestId);
    if (known === undefined) this.#checkNew(attempt, answer, before);
    else {
      expect(this.#standing(), `${key}: a repeat changed something`).toEqual(before);
      if (known.identity === request.identity) this.#checkReplay(attempt, answer, known, requestId);
      else this.#checkReused(answer, request);
    }
    if (!this.attempts.some((other) => other.key === key && other.request === request))
      this.attempts.push(attempt);
    return answer;
  }

  /** The first sending of a write that succeeds. */
  async first(request: KeyedRequest): Promise<{ readonly attempt: Attempt; readonly known: Kept<Told> }> {
    const attempt = { key: this.freshKey(), request };
    const answer = await this.send(attempt);
    const known = this.kept(attempt.key);
    if (known === undefined) throw new Error(`${request.path} was to succeed: ${answer.text}`);
    return { attempt, known };
  }

  /** A write of somebody who gives no key. */
  async sendUnkeyed(request: KeyedRequest): Promise<void> {
    this.#learn(await send(this.#server, request, undefined));
  }

  /** `alike` is the same request through another door. */
  async sendThroughOther(attempt: Attempt, alike: KeyedRequest, known: Kept<Told>): Promise<void> {
    const before = this.#standing();
    const answer = await send(this.#server, alike, attempt.key);
    expect(this.#standing()).toEqual(before);
    expect(isReplay(answer)).toBe(true);
    expect(answer.headers.get("x-annals-offset")).toBe(known.answer.headers["x-annals-offset"]);
    const [plain, enveloped] =
      alike.door === "rest" ? [answer.text, known.answer.text] : [known.answer.text, answer.text];
    expect(enveloped).toBe(`{"success":true,"request_id":"r-1","payload":${plain},"error":null}`);
    this.#counts.acrossDoors += 1;
  }

  #checkNew({ key, request }: Attempt, answer: Answer, before: Standing): void {
    expect(answer.headers.get("idempotent-replayed"), `${key} is answered as a repeat`).toBeNull();
    const code = codeOf(answer);
    if (code !== undefined || answer.status >= 300) {
      expect(code, `${key} is refused for its key`).not.toMatch(/^(IDEMPOTENCY|API_IDEMPOTENCY)/);
      expect(answer.status, answer.text).toBeLessThan(500);
      expect(this.#standing(), "a refusal changed something").toEqual(before);
      this.#counts.refused += 1;
      return;
    }
    expect(this.#log.endOffset, "the answer is in the record of its change").toBe(before.end + 1);
    // What a durable stream answers without having changed names no offset.
    const named = answer.headers.get("x-annals-offset");
    if (request.door !== "durable" || named !== null) expect(named).toBe(String(this.#log.endOffset));
    this.#keep({ key, request }, answer);
  }

  #keep({ key, request }: Attempt, answer: Answer): Kept<Told> {
    this.#learn(answer);
    return this.#model.keep(key, request.identity, toldBy(answer), this.#now);
  }

  #checkReplay({ key, request }: Attempt, answer: Answer, known: Kept<Told>, requestId: string): void {
    expect(isReplay(answer), `${key} within its window is done again`).toBe(true);
    // The envelope names the request that asks now, whichever one was answered first.
    const text = known.answer.text.replace(ENVELOPE_HEAD, `{"success":true,"request_id":"${requestId}"`);
    const { "content-length": length, ...headers } = known.answer.headers;
    const expected =
      length === undefined ? headers : { ...headers, "content-length": String(Buffer.byteLength(text)) };
    expect(toldBy(answer), `${request.method} ${request.path}`).toEqual({
      ...known.answer,
      text,
      headers: expected,
    });
    this.#counts.replayed += 1;
    if (this.#restartedAfter.has(known)) this.#counts.acrossRestart += 1;
  }

  #checkReused(answer: Answer, request: KeyedRequest): void {
    expect(codeOf(answer), answer.text).toBe("IDEMPOTENCY_KEY_REUSED");
    expect(request.door === "envelope" ? Reflect.get(Object(answer.json), "code") : answer.status).toBe(422);
    expect(isReplay(answer)).toBe(false);
    this.#counts.reused += 1;
  }

  /** Every process begins with the records of the one before, or with what of them is committed. */
  async restart(what: "all" | "committed" = "all", windowMs = this.#model.windowMs): Promise<void> {
    const before = this.#standing();
    const records = what === "all" ? this.#log.records : this.#log.committedRecords;
    await this.#server.close();
    this.#log = new MemoryLog({ records });
    this.#model.windowMs = windowMs;
    const rules = { windowMs, answersMax: this.#model.answersMax };
    this.#server = await TestServer.start({ log: this.#log, idempotencyRules: rules });
    this.#server.now = this.#now;
    if (what === "all") expect(this.#standing(), "a replay folds to another state").toEqual(before);
    this.#counts.restarts += 1;
    for (const { key } of this.attempts) {
      const known = this.kept(key);
      if (known !== undefined) this.#restartedAfter.add(known);
    }
  }

  /**
   * The disk is slow: the request is on its way when it comes again, alike and with another body. Then either the disk has it,
   * or the power goes and nobody was ever answered.
   */
  async sendWhileHeld(attempt: Attempt, another: KeyedRequest, ending: "committed" | "lost"): Promise<void> {
    const { key, request } = attempt;
    const { end } = this.#standing();
    this.#log.hold();
    const answers: Answer[] = [];
    const first = send(this.#server, request, key).then(
      (answer) => answers.push(answer),
      () => undefined,
    );
    let isOver = false;
    void first.finally(() => {
      isOver = true;
    });
    while (this.#log.endOffset === end && !isOver) await new Promise(setImmediate);
    expect(this.#log.endOffset, `${request.path} was to be appended`).toBe(end + 1);
    const onItsWay = this.#standing();
    const refusals = await Promise.all([send(this.#server, request, key), send(this.#server, request, key)]);
    for (const early of refusals) this.#checkInProgress(early, request);
    const reuse = send(this.#server, another, key).then(
      (answer) => answers.push(answer),
      () => undefined,
    );
    // It came after, so the other one was decided by now.
    this.#checkInProgress(await send(this.#server, request, key), request);
    expect(this.#standing(), "something happened twice").toEqual(onItsWay);
    expect(answers, "an answer left before its record was committed").toEqual([]);
    if (ending === "lost") {
      await this.restart("committed");
      await Promise.all([first, reuse]);
      expect(answers, "the power is gone and an answer leaves").toEqual([]);
      this.attempts.push(attempt);
      this.#counts.lost += 1;
      return;
    }
    this.#log.release();
    await Promise.all([first, reuse]);
    this.#counts.waited += 1;
    expect(this.#standing().end).toBe(end + 1);
    const [done, refused] =
      answers[0] !== undefined && codeOf(answers[0]) === undefined ? answers : [...answers].reverse();
    if (done === undefined || refused === undefined) throw new Error("two answers were waited for");
    this.#checkReused(refused, another);
    this.attempts.push(attempt);
    this.#keep(attempt, done);
  }

  #checkInProgress(answer: Answer, { door }: KeyedRequest): void {
    expect(codeOf(answer), answer.text).toBe("IDEMPOTENCY_IN_PROGRESS");
    if (door === "envelope") expect(Reflect.get(Object(answer.json), "code")).toBe(409);
    else expect([answer.status, answer.headers.get("retry-after")]).toEqual([409, "1"]);
    this.#counts.inProgress += 1;
  }

  #standing(): Standing {
    return { end: this.#log.endOffset, digest: this.#server.store.digest(this.#now) };
  }

  /** A delivery that was told of can be acknowledged by a later request. */
  #learn({ text }: Answer): void {
    const messageId = /"(?:message_)?id":"(\d+-\d+)"/.exec(text)?.[1];
    const receipt = /"receipt":"(\d+-\d+)"/.exec(text)?.[1];
    if (messageId !== undefined && receipt !== undefined) this.#delivery = { messageId, receipt };
  }
}

interface Standing {
  readonly end: number;
  readonly digest: string;
}
