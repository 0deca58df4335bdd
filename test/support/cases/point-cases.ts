/** Cases of restore points. */
import { NOW, type OperationCase, set } from "./case.js";

export const pointCases: readonly OperationCase[] = [
  {
    operation: "restore_point.create",
    says: "names the record of its own",
    given: [set("a", 1)],
    input: { name: "before-2.0" },
    payload: { name: "before-2.0", offset: 2, time: NOW },
  },
  {
    operation: "restore_point.create",
    says: "a name that was given",
    given: [["restore_point.create", { name: "before" }]],
    input: { name: "before" },
    error: "RESTORE_POINT_EXISTS",
    details: { offset: 1 },
  },
  {
    operation: "restore_point.create",
    says: "a name like a path",
    input: { name: "../before" },
    error: "RESTORE_POINT_NAME_INVALID",
  },
  { operation: "restore_point.list", says: "none", input: {}, payload: { restore_points: [] } },
  {
    operation: "restore_point.list",
    says: "oldest first",
    given: [["restore_point.create", { name: "b" }], set("k", 1), ["restore_point.create", { name: "a" }]],
    input: {},
    payload: {
      restore_points: [
        { name: "b", offset: 1, time: NOW },
        { name: "a", offset: 3, time: NOW },
      ],
    },
  },
];
