/** What every demo does around its run: arguments, a directory that goes again unless it was named, the summary, the exit code. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wantedFromArguments } from "../cli/tool-arguments.js";

export interface Demo<Wanted, Summary> {
  readonly usage: string;
  /** Of the temporary directory. */
  readonly directoryPrefix: string;
  readonly wantedFrom: (args: readonly string[]) => Wanted;
  readonly run: (wanted: Wanted, directory: string, tell: (text: string) => void) => Promise<Summary>;
  readonly textOf: (summary: Summary) => string;
}

/** Never rejects: what went wrong is told, and in the exit code. */
export async function runDemo<
  Wanted extends { readonly directory: string | undefined; readonly json: boolean },
  Summary,
>(demo: Demo<Wanted, Summary>): Promise<void> {
  try {
    const wanted = wantedFromArguments(demo.usage, demo.wantedFrom);
    if (wanted === undefined) return;
    const directory = wanted.directory ?? mkdtempSync(join(tmpdir(), demo.directoryPrefix));
    try {
      const summary = await demo.run(wanted, directory, (text) => console.error(text));
      console.log(wanted.json ? JSON.stringify(summary) : `\n${demo.textOf(summary)}`);
    } finally {
      if (wanted.directory === undefined) rmSync(directory, { recursive: true, force: true });
    }
  } catch (error) {
    // An input that holds something else than commits is the caller's mistake too.
    console.error(error instanceof RangeError ? error.message : error);
    process.exitCode = error instanceof RangeError ? 2 : 1;
  }
}
