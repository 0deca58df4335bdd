// The configuration as a file on the disk; what stands in it is in config.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ConfigFileError, readConfigFile } from "../../ops/config/config-file.js";

const directory = mkdtempSync(join(tmpdir(), "annals-config-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe("configuration file", () => {
  it("is optional when nobody named one, and required when somebody did", () => {
    const missing = join(directory, "missing.yml");
    expect(() => readConfigFile(missing)).toThrow(ConfigFileError);
    const present = join(directory, "config.yml");
    writeFileSync(present, "server: {}\n");
    expect(readConfigFile(present)).toEqual({ name: present, text: "server: {}\n" });
  });

  it("is not read past a megabyte", () => {
    const huge = join(directory, "huge.yml");
    writeFileSync(huge, `#${" ".repeat(1_048_576)}`);
    expect(() => readConfigFile(huge)).toThrow(/more than the/);
    expect(() => readConfigFile("/dev/zero")).toThrow(/more than the/);
  });

  it("is UTF-8: in another encoding it would name another directory", () => {
    const latin = join(directory, "latin.yml");
    writeFileSync(latin, Buffer.from("# ü\ndata_dir: /srv/d\u00e4ta\n", "latin1"));
    expect(() => readConfigFile(latin)).toThrow("line 1 is not UTF-8");
    writeFileSync(latin, Buffer.concat([Buffer.from("# ü\ndata_dir: "), Buffer.from("d\u00e4ta", "latin1")]));
    expect(() => readConfigFile(latin)).toThrow("line 2 is not UTF-8");
  });
});
