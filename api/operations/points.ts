/** Restore points: names for places in the log, to which `annals restore --to-name` goes back. */
import { Type } from "@sinclair/typebox";
import { POINT_NAME_CHARS_MAX, POINTS_MAX, points } from "../../projections/index.js";
import { closed, LogOffset } from "./fields.js";
import { defineOperation } from "./operation.js";
import { shown, written } from "./reply.js";
import { write } from "./write.js";

const Name = Type.String({
  description: `1 to ${POINT_NAME_CHARS_MAX} letters, digits, dots, dashes and underscores. Given once.`,
});
const Time = Type.Integer({ description: "Ms since 1970." });

export const name = defineOperation({
  name: "restore_point.create",
  kind: "write",
  summary: "Name this moment",
  description:
    "A record of its own in the log, so that it is in every backup made later. A restore to the name has everything up to and with this record.",
  input: Type.Object({ name: Name }, closed),
  output: Type.Object({ name: Type.String(), offset: LogOffset, time: Time, log_offset: LogOffset }),
  errors: ["RESTORE_POINT_EXISTS", "RESTORE_POINT_NAME_INVALID"],
  rest: [{ method: "POST", path: "/restore-points" }],
  prepare: (input) =>
    write(points.name, input, ({ offset, timestamp }) =>
      written({ name: input.name, offset, time: timestamp, log_offset: offset }, offset),
    ),
});

export const list = defineOperation({
  name: "restore_point.list",
  kind: "read",
  summary: "List the restore points",
  description: `Oldest first; of more than ${POINTS_MAX} the oldest are no longer listed, though a restore still finds them.`,
  input: Type.Object({}, closed),
  output: Type.Object({
    restore_points: Type.Array(Type.Object({ name: Type.String(), offset: Type.Integer(), time: Time })),
  }),
  errors: [],
  rest: [{ method: "GET", path: "/restore-points" }],
  run: (_input, call) =>
    call.query(points.list, {}, (found) =>
      shown({
        restore_points: found.map(({ name: given, offset, timestamp }) => ({
          name: given,
          offset,
          time: timestamp,
        })),
      }),
    ),
});

export const pointOperations = [name, list];
