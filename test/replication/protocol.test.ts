/** The README of the protocol says what the sources do: layouts, messages and their fields, bounds, codes. */
import { readFileSync } from "node:fs";
import { decode } from "@msgpack/msgpack";
import { describe, expect, it } from "vitest";
import { LINK_ERROR_CODES } from "../../replication/errors.js";
import {
  CHUNK_BYTES_MAX,
  CONTROL_BYTES_MAX,
  FRAME_TYPES,
  GREETING_BYTES_MAX,
  RUN_BYTES_MAX,
} from "../../replication/frames.js";
import { encodeMessage } from "../../replication/message-codec.js";
import { MESSAGES } from "../support/protocol-samples.js";

const source = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const readme = source("replication/README.md");

/** The cells of each row of the table that begins with these heads. */
function tableOf(...heads: string[]): string[][] {
  const lines = readme.split("\n");
  const at = lines.findIndex((line) => line.startsWith(`| ${heads.join(" | ")} |`));
  expect(at, heads.join(", ")).toBeGreaterThan(0);
  const rows: string[][] = [];
  for (const line of lines.slice(at + 2)) {
    if (!line.startsWith("|")) break;
    rows.push(
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  }
  return rows;
}

/** Names in backquotes, in order. */
const namesIn = (text: string): string[] => [...text.matchAll(/`(\w+)`/g)].map(([, name]) => name!);

/** The names of all fields that a message of this type may have on the wire. */
function fieldsOf(type: string): Set<string> {
  const fields = new Set<string>();
  for (const message of MESSAGES.filter((sample) => sample.type === type)) {
    const payload = Buffer.concat(encodeMessage(message, 0)).subarray(16);
    for (const name of Object.keys(decode(payload) as object)) fields.add(name);
  }
  return fields;
}

function bodyFieldsOf(type: "hello" | "welcome"): Record<string, unknown> {
  const message = MESSAGES.find((sample) => sample.type === type);
  return message !== undefined && "body" in message ? (decode(message.body) as Record<string, unknown>) : {};
}

describe("the protocol's README", () => {
  it.each(["replication/frames.ts", "replication/message-codec.ts", "replication/secret.ts"])(
    "shows the layout of %s as it stands above the codec",
    (path) => {
      const inSource = source(path)
        .split("*/")[0]!
        .split("\n")
        .flatMap((line) => /^ \* {3}(.*\S)\s*$/.exec(line)?.[1] ?? []);
      expect(inSource.length).toBeGreaterThan(3);
      const shown = new RegExp(`\`\`\`layout ${path}\n([\\s\\S]*?)\`\`\``).exec(readme)?.[1];
      expect(shown?.trimEnd().split("\n")).toEqual(inSource);
    },
  );

  it("lists every message, with its number and its fields", () => {
    const rows = tableOf("type", "message", "says", "fields", "meaning");
    const listed = Object.fromEntries(rows.map(([type, message]) => [message, Number(type)]));
    expect(listed).toEqual(FRAME_TYPES);
    for (const [, message = "", , fields = ""] of rows) {
      if (message === "run" || message === "chunk") continue;
      const inner = message === "install" ? ["name"] : [];
      const documented = namesIn(fields).filter((name) => !inner.includes(name));
      // `bytes` and `offset` of an install are its snapshot's.
      const top =
        message === "install"
          ? documented.filter((name) => name !== "bytes" && name !== "offset")
          : documented;
      expect(new Set(top), message).toEqual(fieldsOf(message));
    }
  });

  it("lists the fields of what is inside of messages", () => {
    const rows = tableOf("map", "fields");
    const documented = Object.fromEntries(rows.map(([map, fields = ""]) => [map, new Set(namesIn(fields))]));
    const hello = bodyFieldsOf("hello");
    const statement = hello["node"] as Record<string, unknown>;
    expect(documented["hello body"]).toEqual(new Set(Object.keys(hello)));
    expect(documented["welcome body"]).toEqual(new Set(Object.keys(bodyFieldsOf("welcome"))));
    expect(documented["statement"]).toEqual(new Set(Object.keys(statement)));
    expect(documented["note"]).toEqual(new Set(Object.keys(statement["primary"] as object)));
  });

  it("tells the bounds that are kept", () => {
    const bounds = tableOf("bound", "bytes of a payload").map(([, bytes = ""]) => bytes.split(":")[0]);
    const expected = [GREETING_BYTES_MAX, CONTROL_BYTES_MAX, CHUNK_BYTES_MAX, RUN_BYTES_MAX].map((bytes) =>
      bytes.toLocaleString("en-US"),
    );
    expect(bounds.slice(0, 4)).toEqual(expected);
  });

  it("lists every code that a link can end with, as the source explains it", () => {
    const rows = tableOf("code", "why");
    expect(rows.map(([code]) => code)).toEqual([...LINK_ERROR_CODES]);
    const errors = source("replication/errors.ts");
    for (const [code, why] of rows) expect(errors).toMatch(new RegExp(`${escaped(why!)} \\*/\\s+"${code}"`));
  });
});

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
