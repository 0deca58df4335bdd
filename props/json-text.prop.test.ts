// The promise: a value is stored exactly as it was sent.
//
// 1. Whatever `memberSpan` slices parses to what `JSON.parse` of the whole has for that member (the last one wins).
// 2. `elementSpans` slices an array into pieces that parse to its elements, in order, none missing.
// 3. A slice is a piece of the text itself: not one character differs, and no white space around it is taken along.
// 4. `deeperThan` counts the depth of any JSON, and never throws or hangs on any text.
// 5. `takeExactText` puts the sent text where `JSON.parse` lost digits, through body and envelope alike.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { takeExactText } from "../api/exact.js";
import { deeperThan, elementSpans, memberSpan } from "../api/json-text.js";
import { JsonText, writeJson } from "../api/json-write.js";
import { runs } from "./run-settings.js";

/** JSON text with everything that a serializer would never write: white space, escapes, odd numbers, double members. */
const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
const nameText = fc.oneof(
  fc.constantFrom("key", "value", "pairs", "payload", "__proto__", "constructor", "", '"', "\\", "a\\"),
  fc.string({ unit: "binary", maxLength: 6 }),
);
/** A string literal, some characters as \u escapes. */
const literal = (text: string, escapes: boolean) =>
  escapes
    ? `"${[...Array(text.length).keys()].map((at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, "0")}`).join("")}"`
    : JSON.stringify(text);
const stringLiteral = fc.tuple(nameText, fc.boolean()).map(([text, escapes]) => literal(text, escapes));
const numberLiteral = fc.constantFrom(
  "0",
  "-0",
  "1.0",
  "1e3",
  "9007199254740993",
  "-1.5E-7",
  "123456789012345678901234567890",
);

const { value: jsonText } = fc.letrec<{ value: string; array: string; object: string; member: string }>(
  (tie) => ({
    value: fc.oneof(
      { maxDepth: 4, depthIdentifier: "json" },
      fc.oneof(stringLiteral, numberLiteral, fc.constantFrom("true", "false", "null")),
      tie("array"),
      tie("object"),
    ),
    array: fc
      .tuple(space, fc.array(fc.tuple(space, tie("value"), space), { maxLength: 4, depthIdentifier: "json" }))
      .map(([pad, items]) => `[${items.length === 0 ? pad : items.map((item) => item.join("")).join(",")}]`),
    object: fc
      .tuple(space, fc.array(tie("member"), { maxLength: 5, depthIdentifier: "json" }))
      .map(([pad, members]) => `{${members.length === 0 ? pad : members.join(",")}}`),
    member: fc
      .tuple(space, stringLiteral, space, space, tie("value"), space)
      .map(([a, name, b, c, value, d]) => `${a}${name}${b}:${c}${value}${d}`),
  }),
);

/** The last member of a name counts. */
const doubledText = fc
  .tuple(fc.constantFrom('"a"', '"b"'), jsonText, jsonText)
  .map(([name, first, last]) => `{${name}:${first},"c":1,${name}:${last}}`);

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

describe("JSON text", () => {
  it("is sliced into the members that JSON.parse finds", () => {
    let objects = 0;
    let doubled = 0;
    fc.assert(
      fc.property(space, fc.oneof({ weight: 15, arbitrary: jsonText }, doubledText), (pad, text) => {
        const whole = pad + text;
        const parsed: unknown = JSON.parse(whole);
        expect(memberSpan(whole, 0, "no such member, ever")).toBeUndefined();
        if (!isObject(parsed)) return;
        objects += 1;
        const names = Object.keys(parsed);
        for (const name of names) {
          const span = memberSpan(whole, 0, name);
          const slice = whole.slice(span?.start, span?.end);
          expect(slice).toBe(slice.trim());
          expect(JSON.parse(slice)).toEqual(Object.getOwnPropertyDescriptor(parsed, name)?.value);
          if (whole.split(`${JSON.stringify(name)}:`).length > 2) doubled += 1;
        }
      }),
      runs(1_500),
    );
    expect(objects).toBeGreaterThan(100);
    expect(doubled).toBeGreaterThan(0);
  });

  it("is sliced into the elements that JSON.parse finds", () => {
    let elements = 0;
    fc.assert(
      fc.property(space, jsonText, (pad, text) => {
        const whole = pad + text;
        const parsed: unknown = JSON.parse(whole);
        const spans = elementSpans(whole, 0);
        if (!Array.isArray(parsed)) {
          expect(spans).toEqual([]);
          return;
        }
        elements += spans.length;
        expect(spans.map(({ start, end }) => JSON.parse(whole.slice(start, end)))).toEqual(parsed);
      }),
      runs(1_000),
    );
    expect(elements).toBeGreaterThan(100);
  });

  it("is as deep as it is", () => {
    const depthOf = (value: unknown): number =>
      typeof value !== "object" || value === null ? 0 : 1 + Math.max(0, ...Object.values(value).map(depthOf));
    fc.assert(
      fc.property(jsonText, (text) => {
        // A member that a later one replaces counts in the text but not in the value.
        const depth = depthOf(JSON.parse(text));
        if (depth > 0) expect(deeperThan(text, depth - 1)).toBe(true);
        expect(deeperThan(text, text.length)).toBe(false);
      }),
      runs(500),
    );
  });

  it("that is none is still measured without harm", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'[]{}",:\\ax1 '.split("")), maxLength: 60 }),
        (text) => {
          expect(typeof deeperThan(text, 3)).toBe("boolean");
        },
      ),
      runs(1_000),
    );
    // Quotes and backslashes without end: linear, or this would not come back.
    expect(deeperThan('\\"'.repeat(1_000_000), 5)).toBe(false);
    expect(deeperThan(`"${"\\".repeat(2_000_000)}`, 5)).toBe(false);
  });

  it("is kept in values and pairs exactly as it was sent", () => {
    fc.assert(
      fc.property(fc.array(jsonText, { minLength: 1, maxLength: 4 }), fc.boolean(), (texts, inEnvelope) => {
        const pairs = texts.map((text, index) => `{"value":0,"key":"k${index}","v\\u0061lue": ${text}\n}`);
        const input = `{"value": ${texts[0]} ,"pairs":[${pairs.join(" , ")}]}`;
        const body = inEnvelope ? `{"payload":1,"command":"x","payload" : ${input}}` : input;
        const parsed = JSON.parse(body);
        const fields = inEnvelope ? parsed.payload : parsed;
        takeExactText(fields, [["value"], ["pairs", "value"]], {
          text: body,
          root: inEnvelope ? "payload" : "body",
        });
        const kept = [fields.value, ...fields.pairs.map((pair: { value: unknown }) => pair.value)];
        const sent = [texts[0], ...texts];
        for (const [index, text] of sent.entries()) {
          const value: unknown = kept[index];
          if (value instanceof JsonText) expect(value.text).toBe(text);
          else expect(value).toBe(JSON.parse(text ?? ""));
          expect(value instanceof JsonText).toBe(typeof JSON.parse(text ?? "") !== "string");
          if (value instanceof JsonText) expect(writeJson({ values: [value] })).toBe(`{"values":[${text}]}`);
        }
      }),
      runs(500),
    );
  });
});
