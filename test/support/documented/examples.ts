/** Reads the documented examples: what is sent, and what the documents promise. See `examples.txt` for the form. */
import { readFileSync } from "node:fs";

export interface Example {
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly status: number;
  /** At the top of the answer. */
  readonly fields: readonly string[];
  /** Each in some line of the answer. */
  readonly patterns: readonly string[];
}

export function documentedExamples(): readonly Example[] {
  const text = readFileSync(new URL("examples.txt", import.meta.url), "utf8").replaceAll("\\\n", " ");
  const examples: Example[] = [];
  let command: string | undefined;
  for (const line of text.split("\n").filter((each) => each !== "" && !each.startsWith("#"))) {
    if (line.startsWith("curl ")) {
      if (command !== undefined) throw new Error(`nothing is promised of ${command}`);
      command = line;
      continue;
    }
    if (!line.startsWith("= ") || command === undefined) throw new Error(`not an example: ${line}`);
    const [status = "", ...fields] = line.slice(2).split(" ");
    examples.push(exampleOf(command, Number(status), fields));
    command = undefined;
  }
  return examples;
}

function exampleOf(command: string, status: number, fields: readonly string[]): Example {
  const [request = "", filter = ""] = command.split(" | ");
  const words = wordsOf(request);
  let [method, body, address]: (string | undefined)[] = [undefined, undefined, undefined];
  const headers: Record<string, string> = {};
  for (let at = 1; at < words.length; at += 1) {
    const word = words[at] ?? "";
    if (word === "-X") method = words[++at];
    else if (word === "-d") body = words[++at];
    else if (word === "-H") {
      const [name = "", value = ""] = (words[++at] ?? "").split(": ");
      headers[name.toLowerCase()] = value;
    } else if (!word.startsWith("-")) address = word;
  }
  const { pathname, search } = new URL(address ?? "");
  const wanted = /^jq \.(\w+)$/.exec(filter)?.[1];
  return {
    method: method ?? "GET",
    path: pathname + search,
    body,
    headers,
    status,
    fields: wanted === undefined ? fields : [...fields, wanted],
    patterns: patternsOf(filter),
  };
}

/** A shell's words: quotes hold a word together. */
function wordsOf(command: string): string[] {
  return [...command.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
    (match) => match[1] ?? match[2] ?? match[3] ?? "",
  );
}

function patternsOf(filter: string): readonly string[] {
  const [, alternatives] = /^grep (?:-E '\((.*)\)'|\S+)$/.exec(filter) ?? [];
  if (alternatives !== undefined) return alternatives.split("|");
  return filter.startsWith("grep ") ? [filter.slice("grep ".length)] : [];
}
