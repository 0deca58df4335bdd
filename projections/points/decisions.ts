/** Naming a restore point, and listing them. */
import { BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { Decider, Reader } from "../decision.js";
import { POINT_NAME_CHARS_MAX, type RestorePoint } from "./contract.js";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** Names are given once: a restore to a name must not mean another moment than it did when it was written down. */
const name: Decider<{ readonly name: string }, { readonly offset: Offset; readonly timestamp: number }> = (
  { points },
  { name: wanted },
  { now },
) => {
  if (!NAME.test(wanted) || wanted.length > POINT_NAME_CHARS_MAX)
    return {
      type: "rejected",
      code: "RESTORE_POINT_NAME_INVALID",
      message: `a restore point's name is 1 to ${POINT_NAME_CHARS_MAX} letters, digits, dots, dashes and underscores, and begins with a letter or digit`,
      seen: BEFORE_FIRST,
    };
  const known = points.get(wanted);
  if (known !== undefined)
    return {
      type: "rejected",
      code: "RESTORE_POINT_EXISTS",
      message: `the restore point ${wanted} is there, at offset ${known.offset}; choose another name`,
      seen: known.offset,
      details: { offset: known.offset },
    };
  return {
    type: "accepted",
    events: [{ type: "point.named", name: wanted }],
    answer: (offset) => ({ offset, timestamp: now }),
    seen: BEFORE_FIRST,
  };
};

const list: Reader<Record<never, never>, readonly RestorePoint[]> = ({ points }) => ({
  type: "seen",
  answer: points.all(),
  seen: points.lastOffset,
});

export const points = { name, list };
