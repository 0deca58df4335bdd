/** `annals at WHEN PLACE READ [NAME=VALUE…]`: any read as it would have been answered then, of a directory or of a server. */
import type { Command } from "commander";
import { answerFrom, inputFromText, type Moment, pastReads } from "../../api/index.js";
import { PastStore } from "../../projections/index.js";
import { nearest } from "../config/nearest.js";
import { pastOptions } from "../past/past-options.js";
import { version } from "../version.js";
import { CliFailure, exitCodes } from "./failure.js";
import { askNode } from "./node-door.js";
import { writeLine } from "./output.js";
import {
  liveSettings,
  momentArgument,
  openPast,
  type ProgressFlags,
  placeArgument,
  refusedBy,
  usage,
} from "./past-arguments.js";

interface AtFlags extends ProgressFlags {
  readonly json?: boolean;
}

export function addAt(program: Command): void {
  program
    .command("at")
    .description("ask a read of the past: annals at 1200 ./data kv.get key=user:7")
    .argument(
      "<when>",
      "offset, time such as 2026-01-31T12:00:00Z, or ms since 1970 such as 1769860800000ms",
      momentArgument,
    )
    .argument("<place>", "data directory, a server may be running on it; or address of a server")
    .argument("<read>", "operation such as kv.get, kv.scan, queue.peek, stream.consume")
    .argument("[fields...]", "its fields as name=value; lists as JSON")
    .option("--json", "the offset looked at, its time (of a directory) and the payload as one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action(at);
}

async function at(
  moment: Moment,
  where: string,
  operation: string,
  fields: readonly string[],
  flags: AtFlags,
): Promise<void> {
  const input = inputFromText(operation, fields.map(nameAndValue));
  if (input === undefined) {
    const near = nearest(operation, pastReads);
    throw usage(`${operation} is no read of the past${near === undefined ? "" : `; did you mean ${near}?`}`);
  }
  const place = placeArgument(where);
  if (place.type === "node") return atNode(place.url, moment, operation, input, flags);
  if (place.type === "backup") {
    throw usage(`${where}: a backup is restored before it is looked into, by annals restore`);
  }
  if (place.moment !== undefined) throw usage(`${where}: the moment is given already`);
  const past = await openPast(place.path, "replay", flags);
  const point = await past.point(moment);
  if (point.type === "refused") throw refusedBy(where, point);
  const fold = await past.stateAt(point);
  if ("type" in fold) throw refusedBy(where, fold);
  const store = new PastStore(fold, past.log, point.time);
  const { limits } = liveSettings();
  const facts = { version, limits, queuesEnabled: true, random: Math.random };
  const reply = await answerFrom(pastOptions(store, past.log, facts), operation, input);
  if (reply.type === "refused") throw refusedBy(where, reply);
  if (flags.json !== true) writeLine(reply.text);
  else writeLine(`{"offset":${point.at},"time":${store.time},"payload":${reply.text}}`);
}

function nameAndValue(text: string): [string, string] {
  const [, name, value] = /^([a-z_]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) throw usage(`${text} is not name=value`);
  return [name, value];
}

async function atNode(
  url: string,
  moment: Moment,
  command: string,
  payload: object,
  flags: AtFlags,
): Promise<void> {
  const when = moment.type === "offset" ? moment.offset : `${moment.time}ms`;
  const envelope = { command, request_id: "", payload, at: when };
  const { body, text, offset } = await askNode(url, "/api/v1/command", envelope);
  if (body["success"] !== true) {
    const { error_code: code = "", error = "" } = body;
    throw new CliFailure(exitCodes.failed, `${url}: ${code}: ${error}; ask for another moment or input`);
  }
  // As it was sent: a number of 64 bits has more digits than one of JavaScript.
  const shown = text.slice(text.indexOf(PAYLOAD) + PAYLOAD.length, text.lastIndexOf(AFTER_PAYLOAD));
  writeLine(flags.json === true ? `{"offset":${offset ?? null},"payload":${shown}}` : shown);
}

const PAYLOAD = '"payload":';
const AFTER_PAYLOAD = ',"error":null}';
