import { describe, expect, it } from "vitest";
import { codeOf, errnoOf, ignoreDiskError, LogError } from "../../log/index.js";

const coded = (code: string, more: object = {}): Error => Object.assign(new Error(code), { code, ...more });

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

describe("the errno of an error", () => {
  it("is the system's name for it, or its words where the runtime has no name", () => {
    for (const code of ["EIO", "ENOSPC", "E2BIG"]) expect(errnoOf(coded(code))).toBe(code);
    const nameless = coded("Unknown system error -117", { errno: -117, syscall: "read" });
    expect(errnoOf(nameless)).toBe("Unknown system error -117");
    ignoreDiskError(nameless);
  });

  it("is none of a call that was wrong, nor of a failure of ours", () => {
    const wrong = thrownBy(() => Buffer.alloc(4).writeUInt32LE(-1, 0));
    expect(codeOf(wrong)).toBe("ERR_OUT_OF_RANGE");
    for (const error of [
      wrong,
      coded("ABORT_ERR"),
      new LogError("LOG_CLOSED", ""),
      new Error("EIO"),
      "EIO",
    ]) {
      expect(errnoOf(error)).toBeUndefined();
      expect(thrownBy(() => ignoreDiskError(error))).toBe(error);
    }
  });
});
