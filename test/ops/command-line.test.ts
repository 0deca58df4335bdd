import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { AnnalsCommand, type CommandResult, runAnnals } from "../support/annals-command.js";
import { PROGRAM } from "../support/server-process.js";

const directory = mkdtempSync(join(tmpdir(), "annals-cli-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function file(name: string, text: string): string {
  writeFileSync(join(directory, name), text);
  return join(directory, name);
}

function expectRefusal(result: CommandResult, code: number, line: RegExp): void {
  expect(result.stderr.trimEnd().split("\n"), result.stdout).toHaveLength(1);
  expect(result.stderr).toMatch(line);
  expect(result.code).toBe(code);
}

describe("help", () => {
  it("is there on every level, on stdout, with exit code 0", async () => {
    const levels = [
      [],
      ["serve"],
      ["config"],
      ["config", "check"],
      ["config", "print"],
      ["verify"],
      ["dump"],
      ["repair"],
    ];
    for (const level of levels) {
      const { code, stdout, stderr } = await runAnnals([...level, "--help"]);
      expect(stderr).toBe("");
      expect(stdout).toContain(`Usage: ${["annals", ...level].join(" ")}`);
      expect(code).toBe(0);
    }
  });

  it("names the version", async () => {
    expect(await runAnnals(["--version"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });
});

describe("usage mistakes end with code 2 and one line", () => {
  it.each([
    [[], /^annals: a command is missing; see annals --help$/m],
    [["server"], /^annals: unknown command 'server' \(Did you mean serve\?\); see annals --help$/m],
    [
      ["serve", "--prot", "1"],
      /^annals: unknown option '--prot' \(Did you mean --port\?\); see annals serve --help$/m,
    ],
    [["serve", "extra"], /^annals: too many arguments/],
    [
      ["serve", "--port", "many"],
      /^annals: flag --port: server.port: expected a whole number, found "many"$/m,
    ],
    [
      ["serve", "--role", "replica"],
      /^annals: flag --role: replication.role: a replica needs the address of the node that it follows/,
    ],
    [["serve", "--config", "/no/such.yml"], /^annals: \/no\/such.yml: no such file$/m],
    [["config"], /^annals: a command is missing; see annals config --help$/m],
    [
      ["config", "print", "--nothing"],
      /^annals: unknown option '--nothing'; see annals config print --help$/m,
    ],
    [["verify", "--data-dir", "d"], /^annals: unknown option '--data-dir'; see annals verify --help$/m],
    [["config", "print", "--config", "/no/such.yml"], /no such file/],
    [
      ["promote", "db2"],
      /^annals: command-argument value 'db2' is invalid for argument 'node'. not an address like http:\/\/127\.0\.0\.1:15500; see annals promote --help$/m,
    ],
    [["undo", "--only", "kv:a", "--at", "1", "--into", "http://db2/annals"], /not an address like http/],
    [["diff", "http://db1/a", "http://db2"], /^annals: http:\/\/db1\/a is not an address like http/m],
  ] as const)("%j", async (args, line) => {
    expectRefusal(await runAnnals(args), 2, line);
  });

  it.each([
    [["import", "f", "--batch", "5001"], "1 to 5000"],
    [["import", "f", "--patience", ""], "0 to 86400"],
    [["undo", "--patience", "-1"], "0 to 86400"],
    [["drill", "--parallel", "0"], "1 to 32"],
    [["restore", "--parallel", "1e1"], "1 to 32"],
    [["backup", "b", "--wait", "1.5"], "0 to 999999"],
    [["diff", "a", "b", "--limit", "x"], "0 to 999999999"],
  ])("a number is told of in the same words wherever it stands: %j", async (args, range) => {
    const said = `argument '${args.at(-1)}' is invalid. Expected a whole number from ${range}; see annals ${args[0]} --help`;
    const result = await runAnnals(args);
    expect(result.stderr).toContain(said);
    expectRefusal(result, 2, /^annals: option/);
  });

  it("serve names the place of a mistake in the file and how many more there are", async () => {
    const config = file("wrong.yml", "server:\n  prot: 80\nlogging:\n  level: loud\n");
    const result = await runAnnals(["serve", "--config", config, "--data-dir", join(directory, "unused")]);
    expectRefusal(
      result,
      2,
      /wrong\.yml:2:3: unknown key `server\.prot`; did you mean `server\.port`\? \(and 1 more: run annals config check\)$/m,
    );
    expect(result.stdout).toBe("");
  });

  it("serve names the variable of a mistake in the environment", async () => {
    const result = await runAnnals(["serve"], { cwd: directory, environment: { SYNAP_PORT: "x" } });
    expectRefusal(result, 2, /^annals: environment SYNAP_PORT: server\.port: /);
  });

  it("serve names the setting of an address that it cannot listen on", async () => {
    const set = ["--port", "0", "--role", "master", "--replica-listen", "no-such-host.invalid:0"];
    const { code, stderr } = await runAnnals(["serve", "--data-dir", join(directory, "mute"), ...set]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(
      /^annals: replication\.replica_listen_address no-such-host\.invalid:0: .*; choose/m,
    );
  });
});

describe("output that nobody takes", () => {
  const wrong = file("unheard.yml", "server:\n  prot: 80\n");

  it("does not change how a command ends when its reader has seen enough", async () => {
    const check = new AnnalsCommand(["config", "check", "--config", wrong]);
    check.child.stdout?.destroy();
    expectRefusal(await check.ended, 2, /unknown key `server\.prot`/);
    const unheard = new AnnalsCommand(["config", "check", "--config", wrong]);
    unheard.child.stderr?.destroy();
    expect((await unheard.ended).code).toBe(2);
  });

  it.skipIf(!existsSync("/dev/full"))("is a failure in one line when it is lost", () => {
    const into = (args: readonly string[]) =>
      spawnSync(process.execPath, [PROGRAM, ...args], {
        stdio: ["ignore", openSync("/dev/full", "w"), "pipe"],
        encoding: "utf8",
      });
    const print = into(["config", "print"]);
    expect([print.status, print.stderr.trimEnd().split("\n")]).toEqual([
      1,
      [expect.stringMatching(/^annals: stdout: ENOSPC: .*the disk is full/)],
    ]);
    const check = into(["config", "check", "--config", wrong]);
    expect([check.status, check.stderr.trimEnd().split("\n").length]).toEqual([2, 1]);
  });
});

describe("config check", () => {
  it("lists every mistake on stdout", async () => {
    const config = file("several.yml", "server:\n  prot: 80\nlogging:\n  level: loud\n");
    const result = await runAnnals(["config", "check", "--config", config]);
    expect(result.stdout.trimEnd().split("\n")).toHaveLength(2);
    expectRefusal(result, 2, /several\.yml:2:3/);
    const json = await runAnnals(["config", "check", "--config", config, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      ok: false,
      file: config,
      mistakes: [
        { type: "file", line: 2, column: 3 },
        { type: "file", line: 4, column: 10 },
      ],
    });
    expect(json.code).toBe(2);
  });

  it("names documented keys that have no effect", async () => {
    const config = file("inert.yml", "persistence:\n  wal:\n    buffer_size_kb: 64\n");
    const { code, stdout } = await runAnnals(["config", "check", "--config", config]);
    expect(stdout).toContain("persistence.wal.buffer_size_kb has no effect");
    expect(code).toBe(0);
  });
});

describe("config print", () => {
  it("shows what counts: flag-less precedence of environment over file, with origins", async () => {
    const config = file("print.yml", "server:\n  port: 80\n  host: 127.0.0.2\n");
    const options = { environment: { ANNALS_SERVER_PORT: "81" } };
    const { stdout } = await runAnnals(["config", "print", "--config", config], options);
    expect(stdout).toContain("  port: 81  # environment ANNALS_SERVER_PORT\n");
    expect(stdout).toContain(`  host: "127.0.0.2"  # ${config}:3:9\n`);
    const json = await runAnnals(["config", "print", "--config", config, "--json"], options);
    const { settings } = JSON.parse(json.stdout);
    expect(settings).toContainEqual({
      path: "server.port",
      value: 81,
      origin: "environment ANNALS_SERVER_PORT",
    });
  });

  it("takes config.yml of the current directory without being told", async () => {
    const home = mkdtempSync(join(directory, "home-"));
    writeFileSync(join(home, "config.yml"), "server:\n  port: 4711\n");
    const { stdout } = await runAnnals(["config", "print"], { cwd: home });
    expect(stdout).toContain("port: 4711  # config.yml:2:9\n");
  });
});

describe("serve", () => {
  it("starts with no configuration at all, in ./data", async () => {
    const home = mkdtempSync(join(directory, "home-"));
    const server = new AnnalsCommand(["serve", "--port", "0"], { cwd: home });
    try {
      expect(await server.untilLogged("listening")).toMatchObject({ host: "127.0.0.1" });
      expect(server.logged("started")[0]).toMatchObject({
        dataDirectory: join(home, "data"),
        fsyncMode: "always",
      });
      expect(server.logged("started")[0]).toMatchObject({ created: true, tornBytes: 0 });
    } finally {
      await server.end();
    }
  });

  it("answers the documented health probe with exit code 0 when ready, 1 when nobody answers", async () => {
    const server = new AnnalsCommand(["serve", "--port", "0", "--data-dir", join(directory, "probe")]);
    try {
      const environment = { SYNAP_HEALTH_ADDR: `127.0.0.1:${await server.port()}` };
      expect(await runAnnals(["serve", "--health-check"], { environment })).toMatchObject({
        code: 0,
        stderr: "",
      });
      const passedOn = { ...environment, ANNALS_HEALTH_ADDR: "", ANNALS_CONFIG: "" };
      expect(await runAnnals(["serve", "--health-check"], { environment: passedOn })).toMatchObject({
        code: 0,
      });
      const flagged = await runAnnals(["serve", "--health-check", "--port", "1"], { environment });
      expectRefusal(flagged, 1, /^annals: http:\/\/127\.0\.0\.1:1\/readyz does not answer/);
    } finally {
      await server.end();
    }
    const gone = await runAnnals(["serve", "--health-check", "--port", "1"], { cwd: directory });
    expectRefusal(gone, 1, /^annals: http:\/\/127\.0\.0\.1:1\/readyz does not answer/);
  });

  it("ends with code 5 when another process holds the directory, and names it", async () => {
    const data = join(directory, "held");
    const first = new AnnalsCommand(["serve", "--port", "0", "--data-dir", data]);
    try {
      await first.port();
      const second = await runAnnals(["serve", "--port", "0", "--data-dir", data]);
      expectRefusal(second, 5, new RegExp(`LOG_LOCKED.*pid ${first.child.pid}`));
    } finally {
      await first.end();
    }
  });

  it("ends with code 1 when the port is taken, and leaves the directory clean", async () => {
    const data = join(directory, "port");
    const taken = createServer();
    const port = await new Promise<number>((resolve) => {
      taken.listen(0, "127.0.0.1", () => {
        const address = taken.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
    try {
      const result = await runAnnals(["serve", "--port", String(port), "--data-dir", data]);
      expectRefusal(result, 1, /EADDRINUSE.*choose another --port/);
    } finally {
      taken.close();
    }
    const after = new AnnalsCommand(["serve", "--port", "0", "--data-dir", data]);
    try {
      await after.port();
      expect(after.logged("started")[0]).toMatchObject({ created: false, lastStopClean: true });
    } finally {
      await after.end();
    }
  });

  it("ends with code 2 when the data directory is a file", async () => {
    const data = file("not-a-directory", "");
    expectRefusal(await runAnnals(["serve", "--port", "0", "--data-dir", data]), 2, /LOG_DIRECTORY_UNUSABLE/);
  });

  it("ends with code 2 where it would begin a log in another server's data directory, by mistake or through a link", async () => {
    const outer = join(directory, "outer");
    mkdirSync(join(outer, "log"), { recursive: true });
    file(join("outer", "identity.json"), "{}\n");
    symlinkSync(outer, join(directory, "link-to-outer"));
    for (const data of [join(outer, "data"), join(directory, "link-to-outer", "snapshots", "deep")]) {
      const result = await runAnnals(["serve", "--port", "0", "--data-dir", data]);
      expectRefusal(
        result,
        2,
        /data_dir .* lies in the data directory .*outer; choose a place outside of it/,
      );
      expect(existsSync(data)).toBe(false);
    }
  });

  it("ends with code 2 when the way to the data directory leads through a file, or nowhere", async () => {
    symlinkSync("circle", join(directory, "circle"));
    for (const data of [join(file("no-way", ""), "data"), join(directory, "circle", "data")])
      expectRefusal(
        await runAnnals(["serve", "--port", "0", "--data-dir", data]),
        2,
        /LOG_DIRECTORY_UNUSABLE/,
      );
  });

  it.runIf(process.platform === "linux")(
    "ends with code 2 when the data directory cannot be made",
    async () => {
      const result = await runAnnals(["serve", "--port", "0", "--data-dir", "/proc/nope"]);
      expectRefusal(result, 2, /LOG_DIRECTORY_UNUSABLE: \/proc\/nope .*; check data_dir/);
    },
  );

  it("warns when it listens beyond this machine", async () => {
    const server = new AnnalsCommand([
      "serve",
      "--port",
      "0",
      "--host",
      "0.0.0.0",
      "--data-dir",
      join(directory, "open"),
    ]);
    try {
      await server.port();
      expect(server.stdout).toContain("without authentication");
    } finally {
      await server.end();
    }
  });
});
