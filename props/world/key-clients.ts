/**
 * Concurrent clients of a few keys, each doing one call at a time through a door, and the history of what they did and
 * heard. The doors are the store itself and HTTP; `checkers/key-model.ts` judges the history.
 */
import { asIs, kv, type Rejection, type Store, TEXT_TYPE, textOf } from "../../projections/index.js";
import { type Answer, errorCodeOf, type HttpClient, revisionOf } from "../../test/support/http-client.js";
import type { KeyInput, KeyOutput } from "../checkers/key-model.js";
import { CallHistory } from "./call-history.js";
import type { Random } from "./fate.js";

/** What the caller heard: an answer, or "refused" when it was told that nothing happened. A rejection: nobody knows. */
export type KeyDoor = (key: string, input: KeyInput) => Promise<KeyOutput | "refused">;

export class KeyHistory extends CallHistory<KeyInput, KeyOutput, { readonly key: string }> {
  begin(key: string, input: KeyInput): ReturnType<typeof this.opened> {
    return this.opened(input, { key });
  }

  protected override isRead({ type }: KeyInput): boolean {
    return type === "get";
  }
}

export interface ClientsOptions {
  readonly door: KeyDoor;
  readonly history: KeyHistory;
  readonly random: Random;
  readonly keys: readonly string[];
  readonly clients: number;
  readonly callsEach: number;
  /** False once the server has ended: answers that come later were never heard. */
  readonly alive: () => boolean;
}

/** Resolves when every client has done its calls or has met the end of the server. */
export async function runClients(options: ClientsOptions): Promise<void> {
  const { history, random, keys } = options;
  const serve = async (client: number): Promise<void> => {
    const lastSeen = new Map<string, number>();
    for (let index = 0; index < options.callsEach && options.alive(); index += 1) {
      const key = keys[Math.floor(random() * keys.length)] ?? "k";
      const call = history.begin(
        key,
        randomKeyInput(random, `${client}.${history.calls.length}`, lastSeen.get(key) ?? 0),
      );
      const output = await options.door(key, call.input).catch(() => undefined);
      if (output === undefined || !options.alive()) return;
      if (output === "refused") history.drop(call);
      else {
        history.answered(call, output);
        if (output.type === "found" || output.type === "written")
          lastSeen.set(key, output.revision ?? lastSeen.get(key) ?? 0);
      }
    }
  };
  await Promise.all(Array.from({ length: options.clients }, (_, client) => serve(client)));
}

/** Numbers and texts, so that increments and refused increments both happen. */
export function randomKeyInput(random: Random, unique: string, lastRevision: number): KeyInput {
  const draw = random();
  const value = random() < 0.7 ? String(Math.floor(random() * 1_000_000_000)) : `text ${unique}`;
  if (draw < 0.3) return { type: "get" };
  if (draw < 0.5) return { type: "set", value };
  if (draw < 0.7) return { type: "increment", amount: 1 + Math.floor(random() * 5) };
  if (draw < 0.8) return { type: "delete" };
  return { type: "setIfRevision", value, revision: random() < 0.8 ? lastRevision : 0 };
}

/** The store, called in process. `now` is the world's clock. */
export function storeDoor(store: Store, now: () => number, random: Random): KeyDoor {
  const context = () => ({ now: now(), random: random(), cause: { command: "test" } });
  return async (key, input) => {
    switch (input.type) {
      case "get": {
        const outcome = await store.query(kv.get, { key }, context(), asIs);
        if (outcome.type === "rejected") return refusalOf(outcome);
        const entry = outcome.answer;
        if (entry === undefined) return { type: "absent" };
        return { type: "found", value: textOf(entry.bytes) ?? "", revision: entry.revision };
      }
      case "set":
      case "setIfRevision": {
        const { value } = input;
        const condition = input.type === "set" ? {} : { ifRevision: input.revision };
        const command = { key, value, contentType: TEXT_TYPE, ...condition };
        const outcome = await store.execute(kv.set, command, context(), asIs);
        if (outcome.type === "rejected") return refusalOf(outcome);
        return { type: "written", revision: outcome.answer.revision };
      }
      case "increment": {
        const command = { key, amount: BigInt(input.amount) };
        const outcome = await store.execute(kv.increment, command, context(), asIs);
        if (outcome.type === "rejected") return refusalOf(outcome);
        return { type: "incremented", value: String(outcome.answer.value), revision: outcome.offset };
      }
      case "delete": {
        const outcome = await store.execute(kv.delete, { key }, context(), asIs);
        if (outcome.type === "rejected") return refusalOf(outcome);
        return { type: "deleted", there: outcome.answer.deleted };
      }
    }
  };
}

/** What a refusal tells of the key. */
function refusalOf(rejection: Rejection): KeyOutput {
  if (rejection.code === "KV_REVISION_MISMATCH") return { type: "mismatch" };
  if (rejection.code === "KV_NOT_AN_INTEGER") return { type: "notAnInteger" };
  throw new Error(`unexpected refusal ${rejection.code}: ${rejection.message}`);
}

/** The real server, over HTTP. */
export function httpDoor(client: HttpClient): KeyDoor {
  return async (key, input) => {
    switch (input.type) {
      case "get": {
        const answer = await client.get(key);
        if (answer.status === 404) return { type: "absent" };
        if (answer.status !== 200) return httpRefusal(answer);
        return { type: "found", value: answer.text, revision: revisionOf(answer) };
      }
      case "set":
      case "setIfRevision": {
        const answer = await client.put(key, input.value, conditionOf(input));
        if (answer.status !== 201 && answer.status !== 204) return httpRefusal(answer);
        return { type: "written", revision: revisionOf(answer) };
      }
      case "increment": {
        const answer = await client.post(`/kv/${encodeURIComponent(key)}/incr`, { amount: input.amount });
        if (answer.status !== 200) return httpRefusal(answer);
        const value = /"value":\s*"?(-?\d+)/.exec(answer.text)?.[1] ?? answer.text;
        return { type: "incremented", value, revision: Number(answer.headers["x-annals-offset"]) };
      }
      case "delete": {
        const answer = await client.delete(key);
        if (answer.status === 204) return { type: "deleted", there: true };
        return answer.status === 404 ? { type: "deleted", there: false } : httpRefusal(answer);
      }
    }
  };
}

function conditionOf(input: KeyInput): Record<string, string> {
  if (input.type !== "setIfRevision") return {};
  return input.revision === 0 ? { "if-none-match": "*" } : { "if-match": `"${input.revision}"` };
}

function httpRefusal(answer: Answer): KeyOutput {
  if (answer.status === 412) return { type: "mismatch" };
  if (errorCodeOf(answer) === "KV_NOT_AN_INTEGER") return { type: "notAnInteger" };
  throw new Error(`unexpected answer ${answer.status}: ${answer.text}`);
}
