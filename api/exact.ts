/** Replaces members of a parsed body by their JSON text as it was sent, where an operation stores or counts exactly. */
import { elementSpans, memberSpan } from "./json-text.js";
import { JsonText } from "./json-write.js";

/** One member of the input (`value`), or one member of every element of a list (`pairs`, `value`). */
export type ExactPath = readonly [member: string] | readonly [list: string, member: string];

/**
 * The request's body, and where in it the operation's input stands: the body itself, the envelope's payload, or the place
 * that a function finds when it is asked for.
 */
export interface SourceText {
  readonly text: string;
  readonly root: "body" | "payload" | (() => number);
}

/**
 * `input` is the object that `JSON.parse` made of the source, already checked against the operation's schema. Strings
 * stay as they are; anything else at one of the paths becomes a `JsonText`.
 */
export function takeExactText(input: object, paths: readonly ExactPath[], source: SourceText): void {
  for (const [first, second] of paths) {
    if (second === undefined) takeMember(input, first, () => memberOf(source, first));
    else takeEach(input, first, second, source);
  }
}

function takeMember(holder: object, name: string, find: () => string | undefined): void {
  if (isAsSent(Reflect.get(holder, name))) return;
  const text = find();
  if (text !== undefined) Reflect.set(holder, name, new JsonText(text));
}

/** A member that is not there, or a string, which `JSON.parse` does not change. */
const isAsSent = (value: unknown): boolean => value === undefined || typeof value === "string";

function takeEach(input: object, list: string, member: string, source: SourceText): void {
  const elements: unknown = Reflect.get(input, list);
  if (!Array.isArray(elements) || elements.every((element) => isAsSent(element[member]))) return;
  const listSpan = memberSpan(source.text, rootOf(source), list);
  if (listSpan === undefined) return;
  const spans = elementSpans(source.text, listSpan.start);
  for (const [index, element] of elements.entries()) {
    const span = spans[index];
    if (span === undefined) continue;
    takeMember(element, member, () => sliceMember(source.text, span.start, member));
  }
}

function memberOf(source: SourceText, name: string): string | undefined {
  return sliceMember(source.text, rootOf(source), name);
}

function sliceMember(text: string, from: number, name: string): string | undefined {
  const span = memberSpan(text, from, name);
  return span === undefined ? undefined : text.slice(span.start, span.end);
}

/** Where the input begins in the text. */
export function rootOf(source: SourceText): number {
  if (typeof source.root === "function") return source.root();
  return source.root === "body" ? 0 : (memberSpan(source.text, 0, "payload")?.start ?? 0);
}
