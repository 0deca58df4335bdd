/** A time as the commands take it: as a moment is written, and a bare number only where it can be nothing but milliseconds. */
import { InvalidArgumentError } from "commander";
import { parseMoment } from "../../api/index.js";

/** How help names the forms. */
export const TIME_FORMS = "RFC 3339 with its zone, or ms since 1970";

/** 2001 to 2286. With fewer digits it may be a year, a day or seconds: those say `ms` behind the number, or are none. */
const BARE_MS = /^\d{13}$/;

export function timeArgument(text: string): number {
  const moment = parseMoment(BARE_MS.test(text) ? `${text}ms` : text);
  if (moment?.type === "time") return moment.time;
  throw new InvalidArgumentError(
    "Expected a time with its zone such as 2026-01-31T12:00:00Z, or ms since 1970 such as 1769860800000ms.",
  );
}
