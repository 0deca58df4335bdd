/**
 * A whole store as plain values – a few keys, one queue, one stream, the answers that are kept – and what each command makes of
 * them. Small enough to be kept once for each offset of a log, so that any prefix of it can be compared.
 */

export interface ModelMessage {
  readonly payload: string;
  readonly retries: number;
  readonly inFlight: boolean;
}

export interface StoreFacts {
  readonly keys: Readonly<Record<string, string>>;
  /** In the order of their publishes. */
  readonly messages: readonly ModelMessage[];
  readonly dead: number;
  /** Every message that the stream ever took. */
  readonly entries: readonly string[];
  /** Stream offset of the first one that is kept. */
  readonly trimmed: number;
  /** By idempotency key, what was answered. */
  readonly answers: Readonly<Record<string, string>>;
}

export const NOTHING: StoreFacts = { keys: {}, messages: [], dead: 0, entries: [], trimmed: 0, answers: {} };

/** Failed deliveries after which one more is the last. */
export const MAX_RETRIES = 2;

export function afterSet(facts: StoreFacts, pairs: Readonly<Record<string, string>>): StoreFacts {
  return { ...facts, keys: { ...facts.keys, ...pairs } };
}

export function afterDelete(facts: StoreFacts, gone: readonly string[]): StoreFacts {
  const left = Object.entries(facts.keys).filter(([key]) => !gone.includes(key));
  return { ...facts, keys: Object.fromEntries(left) };
}

export function afterPublish(facts: StoreFacts, payloads: readonly string[]): StoreFacts {
  const added = payloads.map((payload) => ({ payload, retries: 0, inFlight: false }));
  return { ...facts, messages: [...facts.messages, ...added] };
}

/** The messages that a consumer of so many gets. */
export function nextWaiting({ messages }: StoreFacts, count: number): readonly ModelMessage[] {
  return messages.filter(({ inFlight }) => !inFlight).slice(0, count);
}

export function afterConsume(facts: StoreFacts, taken: readonly ModelMessage[]): StoreFacts {
  const messages = facts.messages.map((m) => (taken.includes(m) ? { ...m, inFlight: true } : m));
  return { ...facts, messages };
}

export function afterAck(facts: StoreFacts, gone: readonly ModelMessage[]): StoreFacts {
  return { ...facts, messages: facts.messages.filter((message) => !gone.includes(message)) };
}

export function afterNack(facts: StoreFacts, nacked: ModelMessage): StoreFacts {
  const dies = nacked.retries + 1 > MAX_RETRIES;
  const again = { ...nacked, inFlight: false, retries: nacked.retries + 1 };
  const messages = facts.messages.flatMap((m) => (m !== nacked ? [m] : dies ? [] : [again]));
  return { ...facts, messages, dead: facts.dead + (dies ? 1 : 0) };
}

export function afterAppend(facts: StoreFacts, texts: readonly string[]): StoreFacts {
  return { ...facts, entries: [...facts.entries, ...texts] };
}

export function afterTrim(facts: StoreFacts, before: number): StoreFacts {
  return { ...facts, trimmed: Math.max(facts.trimmed, before) };
}

export function afterAnswer(facts: StoreFacts, key: string, body: string): StoreFacts {
  return { ...facts, answers: { ...facts.answers, [key]: body } };
}

/** What readers see. */
export interface ShownFacts {
  readonly keys: Readonly<Record<string, string>>;
  /** Payload and failed deliveries of each waiting message, in order. */
  readonly waiting: readonly (readonly [string, number])[];
  readonly inFlight: number;
  readonly dead: number;
  readonly trimmed: number;
  readonly entries: readonly string[];
  /** Of the idempotency keys that somebody asks for; undefined = not kept. */
  readonly answers: readonly (readonly [string, string | undefined])[];
}

export function shown(facts: StoreFacts, keys: readonly string[], asked: readonly string[]): ShownFacts {
  const { messages, dead, entries, trimmed, answers } = facts;
  const waiting = messages.filter(({ inFlight }) => !inFlight);
  return {
    keys: Object.fromEntries(
      keys.flatMap((key) => (key in facts.keys ? [[key, facts.keys[key] ?? ""]] : [])),
    ),
    waiting: waiting.map(({ payload, retries }) => [payload, retries] as const),
    inFlight: messages.length - waiting.length,
    dead,
    trimmed,
    entries: entries.slice(trimmed),
    answers: asked.map((key) => [key, answers[key]] as const),
  };
}
