import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { exitCodes } from "../../ops/cli/failure.js";
import { loadConfig } from "../../ops/config/load.js";
import { describeMistake } from "../../ops/config/origin.js";
import { settings } from "../../ops/config/settings.js";
import { readYaml } from "../../ops/config/yaml-source.js";
import { NODE_FLAGS } from "../../ops/launch.js";
import { PROGRAM } from "../support/server-process.js";

const path = (name: string): string => fileURLToPath(new URL(`../../ops/deploy/${name}`, import.meta.url));
const unit = readFileSync(path("annals.service"), "utf8");
const of = (key: string): string => new RegExp(`^${key}=(.*)$`, "m").exec(unit)?.[1] ?? "";

describe("the sample configuration", () => {
  it("loads, and every key in it has an effect", () => {
    const text = readFileSync(path("annals.yml"), "utf8");
    const loaded = loadConfig({ environment: {}, flags: {}, file: readYaml("annals.yml", text) });
    if (!loaded.ok) throw new Error(loaded.mistakes.map(describeMistake).join("\n"));
    expect(loaded.config.inert).toEqual([]);
    expect(loaded.config.warnings).toEqual([]);
  });
});

describe("the systemd unit", () => {
  it("starts a command that exists, with flags that it knows", () => {
    const [node, nodeFlag, program, ...args] = of("ExecStart").split(" ");
    expect(node).toBe("/usr/bin/node");
    expect(process.allowedNodeEnvironmentFlags.has(nodeFlag!.split("=")[0]!)).toBe(true);
    expect(program).toBe("/opt/annals/dist/ops/cli/annals.js");
    const help = spawnSync(process.execPath, [PROGRAM, args[0]!, "--help"], { encoding: "utf8" }).stdout;
    for (const flag of args.filter((arg) => arg.startsWith("--"))) expect(help).toContain(flag);
  });

  it("starts Node as `npm start` and the bench do", () => {
    const file: unknown = JSON.parse(readFileSync(path("../../package.json"), "utf8"));
    const flags = NODE_FLAGS.join(" ");
    expect(file).toMatchObject({ scripts: { start: expect.stringContaining(`node ${flags} dist/`) } });
    expect(of("ExecStart")).toContain(`/node ${flags} /opt/`);
  });

  it.each(["annals-drill"])("%s, too", (name) => {
    const text = readFileSync(path(`${name}.service`), "utf8");
    const [, program, command, ...args] = (/^ExecStart=(.*)$/m.exec(text)?.[1] ?? "").split(" ");
    expect(program).toBe("/opt/annals/dist/ops/cli/annals.js");
    const help = spawnSync(process.execPath, [PROGRAM, command!, "--help"], { encoding: "utf8" }).stdout;
    const flags = args.filter((arg) => arg.startsWith("--"));
    expect(flags.length).toBeGreaterThan(1);
    for (const flag of flags) expect(help).toContain(flag);
    expect(readFileSync(path(`${name}.timer`), "utf8")).toMatch(/^OnCalendar=/m);
  });

  it("gives the server the time that it may take to stop", () => {
    expect(Number(of("TimeoutStopSec")) * 1000).toBeGreaterThan(settings["shutdown.timeout_ms"].default);
  });

  it("does not restart what a restart cannot mend, and restarts after a storage failure", () => {
    const prevented = of("RestartPreventExitStatus").split(" ").map(Number);
    expect(prevented).toEqual([exitCodes.usage, exitCodes.damaged, exitCodes.locked]);
    expect(of("Restart")).toBe("on-failure");
  });

  const analyze = spawnSync("systemd-analyze", ["--version"]).error === undefined;
  it.skipIf(!analyze)("is confined (skipped where systemd-analyze is not installed)", () => {
    const args = ["security", "--offline=true", "--threshold=25", path("annals.service")];
    expect(spawnSync("systemd-analyze", args, { encoding: "utf8" }).status).toBe(0);
  });
});

describe("the operations guide", () => {
  it("names every exit code and every series", () => {
    const text = readFileSync(new URL("../../ops/docs/operations.md", import.meta.url), "utf8");
    for (const code of Object.values(exitCodes)) expect(text).toMatch(new RegExp(`^\\| ${code} \\| `, "m"));
    const sources = ["api", "log", "process", "store"].map((name) =>
      readFileSync(new URL(`../../ops/metrics/${name}-series.ts`, import.meta.url), "utf8"),
    );
    const names = [...sources.join("\n").matchAll(/series\.\w+\(\s*"([a-z0-9_]+)"/g)].map(
      (found) => found[1]!,
    );
    expect(names.length).toBeGreaterThan(35);
    for (const name of names) expect(text, name).toContain(`\`${name}\``);
  });
});
