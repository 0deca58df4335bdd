// The configuration as a file on the disk; what stands in it is in config.test.ts.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readConfig } from "../../ops/cli/effective-config.js";
import { ConfigFileError, readConfigFile } from "../../ops/config/config-file.js";
import { describeMistake } from "../../ops/config/origin.js";

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

  it("names no archive that a link leads into the data directory", async () => {
    const file = join(directory, "archive.yml");
    mkdirSync(join(directory, "data/archive"), { recursive: true });
    symlinkSync(join(directory, "data"), join(directory, "link"));
    const read = async (data: string, url: string) => {
      writeFileSync(file, `data_dir: ${join(directory, data)}\narchive:\n  url: ${url}\n`);
      return (await readConfig({ file, flags: {} })).loaded;
    };
    for (const [data, url] of [
      ["data", join(directory, "link/archive")],
      ["data", join(directory, "link/new/archive")],
      ["link", `file://${directory}/data`],
    ] as const) {
      const loaded = await read(data, url);
      expect(loaded.ok ? [] : loaded.mistakes.map(describeMistake)).toEqual([
        expect.stringMatching(/archive.yml:3:8: archive.url: .*outside of data_dir/),
      ]);
    }
    expect((await read("link", join(directory, "archive"))).ok).toBe(true);
    // Not known, and so not refused.
    expect((await read("data", `${file}/archive`)).ok).toBe(true);
  });
});
