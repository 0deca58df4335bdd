/** From a moment to an offset of one log. Whether a state can still be had of that offset is found out later. */
import { type Moment, type Refusal, refusal } from "../../api/index.js";
import { offset as asOffset, type LogReader, type Offset } from "../../log/index.js";

export interface Point {
  readonly type: "point";
  readonly at: Offset;
  /** When the state is looked at; 0 = at its last record's own time. */
  readonly time: number;
}

export interface Horizon {
  readonly log: Pick<LogReader, "firstOffset" | "offsetAt">;
  /** Nothing after it is shown. It grows while a time is looked for: what was being written then belongs to it. */
  readonly end: Offset;
  /** Ms since 1970. What comes after it nobody knows. */
  readonly now: number;
}

/** By time: the last record that is not younger. @throws LogError as `LogReader.offsetAt`. */
export async function pointOf(moment: Moment, horizon: Horizon): Promise<Point | Refusal> {
  if (moment.type === "offset") {
    if (moment.offset > horizon.end) {
      return beyond(`offset ${moment.offset} lies beyond the end ${horizon.end}`, horizon);
    }
    return moment.offset === 0
      ? before("offset 0 is before the first record", horizon)
      : { type: "point", at: asOffset(moment.offset), time: 0 };
  }
  const { time } = moment;
  if (time > horizon.now) return beyond(`${shown(time)} is still to come`, horizon);
  const { log } = horizon;
  const next = await log.offsetAt(time + 1);
  const at = asOffset(Math.min(horizon.end, next - 1));
  if (at >= log.firstOffset) return { type: "point", at, time };
  const { firstOffset } = log;
  if (firstOffset === 1) return before(`there was nothing at ${shown(time)}`, horizon);
  // Before the first record that is left stands the state of a snapshot, if there is one; whether that is old enough it says itself.
  if (at === firstOffset - 1 && time > 0) return { type: "point", at, time };
  return removed(time, boundsOf(horizon));
}

/** Of a state whose last record is of `clock`: a refusal where the time asked for lies before it, since another state was there then. */
export function refusedFor(time: number, clock: number, log: LogReader): Refusal | undefined {
  if (time === 0 || clock <= time) return undefined;
  return removed(time, { first_offset: log.firstOffset, end_offset: log.endOffset });
}

function removed(time: number, bounds: Bounds): Refusal {
  return refusal("LOG_OFFSET_RETIRED", `what there was at ${shown(time)} was removed by retention`, bounds);
}

function before(what: string, horizon: Horizon): Refusal {
  return refusal("API_AT_BEFORE_FIRST", what, boundsOf(horizon));
}

function beyond(what: string, horizon: Horizon): Refusal {
  return refusal("LOG_OFFSET_BEYOND_END", what, boundsOf(horizon));
}

interface Bounds {
  readonly [name: string]: number;
  readonly first_offset: number;
  readonly end_offset: number;
}

function boundsOf({ log, end }: Horizon): Bounds {
  return { first_offset: log.firstOffset, end_offset: end };
}

/** Times beyond what a calendar has are shown as they are. */
function shown(time: number): string {
  return Math.abs(time) <= 8.64e15 ? new Date(time).toISOString() : `${time} ms`;
}
