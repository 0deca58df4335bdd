/** Times as clients write them: RFC 3339, and only those that there are. */

/** A time without a zone would be another moment on another machine. */
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})$/;

/** Ms since 1970, cut to the millisecond; undefined for anything else. Seconds may be left out. */
export function parseInstant(text: string): number | undefined {
  if (!RFC_3339.test(text)) return undefined;
  const time = Date.parse(text.toUpperCase());
  return Number.isNaN(time) || !isOnTheClock(text.slice(0, 16)) ? undefined : time;
}

/** `Date.parse` takes the 30th of February for the 2nd of March, and 24:00 for the next day. */
function isOnTheClock(minute: string): boolean {
  const asWritten = minute.toUpperCase().replace(" ", "T");
  return new Date(`${asWritten}Z`).toISOString().startsWith(asWritten);
}
