import { spawnSync } from "node:child_process";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { crc32 } from "../../log/checksum.js";
import { SEGMENT_HEADER_BYTES } from "../../log/format.js";
import { AnnalsCommand, runAnnals } from "../support/annals-command.js";
import { errorCodeOf, HttpClient } from "../support/http-client.js";

const directory = mkdtempSync(join(tmpdir(), "annals-life-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const serve = (data: string, environment: Record<string, string> = {}, ...flags: string[]): AnnalsCommand =>
  new AnnalsCommand(["serve", "--port", "0", "--data-dir", data, ...flags], { environment });

const fresh = (): string => mkdtempSync(join(directory, "data-"));
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A PUT whose body arrives in two halves, the second when `finish` is called. */
interface SlowPut {
  /** Resolves when the server has seen the headers. */
  readonly begun: Promise<void>;
  readonly finish: () => void;
  /** Everything that came back, when the connection has ended. */
  readonly answer: Promise<string>;
}

function slowPut(port: number, key: string): SlowPut {
  const socket = connect(port, "127.0.0.1");
  socket.setEncoding("utf8");
  let answer = "";
  const begun = new Promise<void>((resolve) => {
    socket.on("data", (text) => {
      answer += text;
      if (answer.includes("100 Continue")) resolve();
    });
  });
  const head = ["Host: x", "Content-Type: text/plain", "Content-Length: 6", "Expect: 100-continue"];
  socket.write(`PUT /kv/${key} HTTP/1.1\r\n${head.join("\r\n")}\r\n\r\nabc`);
  return {
    begun,
    finish: () => socket.write("def"),
    answer: new Promise((resolve) => {
      socket.on("close", () => resolve(answer));
      socket.on("error", (error) => {
        answer += String(error);
      });
    }),
  };
}

/** Writes until the server refuses or is gone; returns the keys whose write was answered. */
async function writeUntilRefused(
  client: HttpClient,
  writer: number,
  onAnswer: () => void,
): Promise<string[]> {
  const answered: string[] = [];
  for (let count = 0; ; count++) {
    const key = `${writer}-${count}`;
    const status = await client.put(key, key).then(
      (answer) => answer.status,
      () => 0,
    );
    if (status !== 200 && status !== 201) return answered;
    answered.push(key);
    onAnswer();
  }
}

async function missingAfterRestart(data: string, keys: readonly string[]): Promise<string[]> {
  const server = serve(data);
  try {
    const client = new HttpClient(await server.port(), 8);
    const missing: string[] = [];
    for (const key of keys) if ((await client.get(key)).text !== key) missing.push(key);
    client.close();
    expect(server.logged("started")[0]).toMatchObject({ lastStopClean: true, tornBytes: 0 });
    return missing;
  } finally {
    await server.end();
  }
}

describe("SIGTERM", () => {
  it("ends the wait of a consumer with 503, and the process does not wait for it", async () => {
    const server = serve(fresh(), { ANNALS_SHUTDOWN_TIMEOUT_MS: "600000" });
    try {
      const client = new HttpClient(await server.port(), 2);
      await client.post("/queue/q", {});
      const waiting = client.send("GET", "/queue/q/consume/c?wait_secs=60");
      await expect
        .poll(async () => (await client.send("GET", "/metrics")).text)
        .toContain('annals_requests_waiting{type="queue"} 1\n');
      server.signal("SIGTERM");
      const answer = await waiting;
      expect([answer.status, errorCodeOf(answer)]).toEqual([503, "API_DRAINING"]);
      expect((await server.ended).code).toBe(0);
      expect(server.logged("shutting down")).toHaveLength(1);
      client.close();
    } finally {
      await server.end();
    }
  });

  it("under load: every answered write is there after the restart, exit code 0, a clean mark", async () => {
    const data = fresh();
    const server = serve(data);
    try {
      const client = new HttpClient(await server.port(), 8);
      let answers = 0;
      const writers = Array.from({ length: 8 }, (_, writer) =>
        writeUntilRefused(client, writer, () => answers++),
      );
      while (answers < 200) await pause(5);
      server.signal("SIGTERM");
      const answered = (await Promise.all(writers)).flat();
      const { code, stderr } = await server.ended;
      client.close();
      expect(stderr).toBe("");
      expect(code).toBe(0);
      expect(answered.length).toBeGreaterThanOrEqual(200);
      expect(await missingAfterRestart(data, answered)).toEqual([]);
    } finally {
      await server.end();
    }
  });

  it("lets a request finish that had begun, also one whose body is still on its way when the doors close", async () => {
    const data = fresh();
    const server = serve(data, {
      ANNALS_SHUTDOWN_DRAIN_DELAY_MS: "50",
      // The end must come from the request's end, not from running out of patience.
      ANNALS_SHUTDOWN_TIMEOUT_MS: "600000",
    });
    try {
      const port = await server.port();
      const put = slowPut(port, "begun");
      await put.begun;
      server.signal("SIGTERM");
      // The doors are closed when nobody can connect any more.
      await untilRefused(port);
      put.finish();
      expect(await put.answer).toMatch(/^HTTP\/1\.1 20[01] /m);
      expect((await server.ended).code).toBe(0);
    } finally {
      await server.end();
    }
    const again = serve(data);
    try {
      const client = new HttpClient(await again.port(), 1);
      expect((await client.get("begun")).text).toBe("abcdef");
      client.close();
    } finally {
      await again.end();
    }
  });

  it("turns readiness false first and goes on serving during the drain delay, asking clients to reconnect", async () => {
    const server = serve(fresh(), { ANNALS_SHUTDOWN_DRAIN_DELAY_MS: "5000" });
    try {
      const client = new HttpClient(await server.port(), 1);
      expect((await client.send("GET", "/readyz")).status).toBe(200);
      server.signal("SIGTERM");
      await server.untilLogged("shutting down");
      expect((await client.send("GET", "/readyz")).status).toBe(503);
      const put = await client.put("late", "x");
      expect(put.status).toBe(201);
      expect(put.headers.connection).toBe("close");
      expect((await client.send("GET", "/livez")).status).toBe(200);
      client.close();
      expect((await server.ended).code).toBe(0);
    } finally {
      await server.end();
    }
  });

  it("does not wait for ever: a request that never ends is cut off in time to close the log", async () => {
    const data = fresh();
    // A quarter of it is left to close the log: enough of a machine that is slow for a moment.
    const server = serve(data, { ANNALS_SHUTDOWN_TIMEOUT_MS: "16000", ANNALS_SHUTDOWN_DRAIN_DELAY_MS: "10" });
    try {
      const put = slowPut(await server.port(), "never");
      await put.begun;
      server.signal("SIGTERM");
      expect((await server.ended).code).toBe(0);
      await put.answer;
      expect(await missingAfterRestart(data, [])).toEqual([]);
    } finally {
      await server.end();
    }
  });

  it("sent twice stops at once, with code 1 and one line", async () => {
    const server = serve(fresh(), {
      ANNALS_SHUTDOWN_TIMEOUT_MS: "60000",
      ANNALS_SHUTDOWN_DRAIN_DELAY_MS: "50000",
    });
    try {
      await server.port();
      server.signal("SIGTERM");
      await server.untilLogged("shutting down");
      server.signal("SIGTERM");
      const { code, stderr } = await server.ended;
      expect(stderr).toMatch(/^annals: second SIGTERM: stopped at once.*\n$/);
      expect(code).toBe(1);
    } finally {
      await server.end();
    }
  });
});

async function untilRefused(port: number): Promise<void> {
  for (;;) {
    const refused = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.on("connect", () => {
        socket.destroy();
        resolve(false);
      });
      socket.on("error", () => resolve(true));
    });
    if (refused) return;
    await pause(20);
  }
}

describe("SIGKILL", () => {
  it("leaves no clean mark, and the next start says so", async () => {
    const data = fresh();
    const first = serve(data);
    await first.port();
    await first.end();
    const second = serve(data);
    try {
      await second.port();
      expect(second.logged("started")[0]).toMatchObject({ created: false, lastStopClean: false });
    } finally {
      await second.end();
    }
  });
});

describe("with few files to open", () => {
  it.skipIf(process.platform !== "linux")(
    "takes fewer connections, so that the log can open its own",
    async () => {
      const server = serve(fresh(), { ANNALS_LOG_SEGMENT_BYTES: "4096" });
      const limited = spawnSync("prlimit", ["--pid", `${server.child.pid}`, "--nofile=120:120"]);
      try {
        const port = await server.port();
        if (limited.status !== 0) return;
        expect(server.logged("listening")).toHaveLength(1);
        const client = new HttpClient(port, 1);
        expect((await client.put("k", "first")).status).toBe(201);
        const idle = Array.from({ length: 200 }, () =>
          connect(port, "127.0.0.1").on("error", () => undefined),
        );
        await pause(300);
        // Each roll opens a file.
        for (let i = 0; i < 40; i++) expect((await client.put("k", "x".repeat(500))).status).toBe(204);
        for (const socket of idle) socket.destroy();
        client.close();
      } finally {
        await server.end();
      }
    },
  );

  it.skipIf(process.platform !== "linux")(
    "keeps the log's own also from those who crowd before the replication port",
    async () => {
      const server = serve(
        fresh(),
        { ANNALS_LOG_SEGMENT_BYTES: "4096" },
        ...["--role", "master", "--replica-listen", "127.0.0.1:0"],
      );
      const limited = spawnSync("prlimit", ["--pid", `${server.child.pid}`, "--nofile=1200:1200"]);
      try {
        const port = await server.port();
        if (limited.status !== 0) return;
        const link = Number(server.logged("replication")[0]?.["replicationPort"]);
        const client = new HttpClient(port, 1);
        expect((await client.put("k", "first")).status).toBe(201);
        const idle = Array.from({ length: 1_600 }, (_, i) =>
          connect(i < 1_000 ? port : link, "127.0.0.1").on("error", () => undefined),
        );
        await pause(500);
        for (let i = 0; i < 40; i++) expect((await client.put("k", "x".repeat(500))).status).toBe(204);
        for (const socket of idle) socket.destroy();
        client.close();
      } finally {
        await server.end();
      }
    },
  );
});

describe("SIGHUP", () => {
  it("applies what can be applied, names what needs a restart, and keeps the old when there is a mistake", async () => {
    const config = join(fresh(), "annals.yml");
    const set = (text: string): void => writeFileSync(config, text);
    set("kv_store:\n  allow_flush_commands: false\n");
    const server = serve(fresh(), {}, "--config", config);
    try {
      const client = new HttpClient(await server.port(), 1);
      const flush = async (): Promise<number> =>
        (
          await client.post("/api/v1/command", { command: "kv.flushdb", request_id: "1", payload: {} })
        ).text.includes('"success":true')
          ? 200
          : 403;
      expect(await flush()).toBe(403);

      set("kv_store:\n  allow_flush_commands: true\nserver:\n  cors_origins: [https://a.example]\n");
      server.signal("SIGHUP");
      expect(await server.untilLogged("configuration read again")).toMatchObject({
        applied: ["kv_store.allow_flush_commands: false → true"],
      });
      expect(await server.untilLogged("these changes need a restart")).toMatchObject({
        settings: ['server.cors_origins: [] → ["https://a.example"]'],
      });
      expect(await flush()).toBe(200);

      set("kv_store:\n  allow_flush_commands: perhaps\n");
      server.signal("SIGHUP");
      const refused = await server.untilLogged("configuration not read again: it has mistakes");
      expect(refused["mistakes"]).toEqual([
        `${config}:2:25: kv_store.allow_flush_commands: expected true or false, found "perhaps"`,
      ]);
      expect(await flush()).toBe(200);
      client.close();
    } finally {
      await server.end();
    }
  });

  it("that comes before the server is there is heard when it is", async () => {
    const config = join(fresh(), "annals.yml");
    writeFileSync(config, "kv_store:\n  allow_flush_commands: false\n");
    const server = serve(fresh(), {}, "--config", config, "--host", "0.0.0.0");
    try {
      // The settings were read, and the program is being loaded.
      await server.untilLogged(
        "listening beyond this machine without authentication: whoever reaches the port may read and write everything",
      );
      writeFileSync(config, "kv_store:\n  allow_flush_commands: true\n");
      server.signal("SIGHUP");
      expect(await server.untilLogged("configuration read again")).toMatchObject({
        applied: ["kv_store.allow_flush_commands: false → true"],
      });
      await server.port();
    } finally {
      await server.end();
    }
  });

  it("changes what retention leaves, from the next round on", async () => {
    const [config, data] = [join(fresh(), "annals.yml"), fresh()];
    const text = (bytes: number): string =>
      `log:\n  segment_bytes: 4096\n  retention_bytes: ${bytes}\npersistence:\n  snapshot:\n    max_snapshots: 3\n`;
    writeFileSync(config, text(0));
    const server = serve(data, {}, "--config", config);
    try {
      const client = new HttpClient(await server.port(), 8);
      const write = async (): Promise<void> => {
        for (let i = 0; i < 40; i++) await client.post("/kv/set", { key: "k", value: "x".repeat(500) });
        expect((await client.post("/snapshot", {})).status).toBe(200);
      };
      const first = async (): Promise<number> =>
        JSON.parse((await client.send("GET", "/log/crc")).text).first_offset;
      await write();
      await write();
      expect(await first()).toBe(1);
      writeFileSync(config, text(8192));
      server.signal("SIGHUP");
      expect(await server.untilLogged("configuration read again")).toMatchObject({
        applied: ["log.retention_bytes: 0 → 8192"],
      });
      // A snapshot is followed by a round.
      await write();
      await expect.poll(first).toBeGreaterThan(1);
      client.close();
    } finally {
      await server.end();
    }
  });

  it("changes the level of the log", async () => {
    const config = join(fresh(), "annals.yml");
    writeFileSync(config, "logging:\n  level: info\n");
    const server = serve(fresh(), {}, "--config", config);
    try {
      await server.port();
      writeFileSync(config, "logging:\n  level: warn\nserver:\n  cors_origins: [x]\n");
      server.signal("SIGHUP");
      await server.untilLogged("these changes need a restart");
      server.signal("SIGTERM");
      await server.ended;
      expect(server.logged("shutting down")).toEqual([]);
    } finally {
      await server.end();
    }
  });
});

describe("a data directory that cannot be trusted", () => {
  /** A log of several segments; returns its directory. */
  async function written(): Promise<string> {
    const data = fresh();
    const server = serve(data, { ANNALS_LOG_SEGMENT_BYTES: "4096" });
    try {
      const client = new HttpClient(await server.port(), 4);
      for (let index = 0; index < 30; index++) await client.put(`key-${index}`, "x".repeat(500));
      client.close();
      server.signal("SIGTERM");
      expect((await server.ended).code).toBe(0);
    } finally {
      await server.end();
    }
    return data;
  }

  const firstSegment = (data: string): string => {
    const names = readdirSync(join(data, "log")).filter((name) => name.endsWith(".log"));
    expect(names.length).toBeGreaterThan(2);
    return join(data, "log", names.sort()[0]!);
  };

  function overwrite(path: string, position: number, bytes: Uint8Array): void {
    const file = openSync(path, "r+");
    writeSync(file, bytes, 0, bytes.length, position);
    closeSync(file);
  }

  it("is refused with code 3, one line that names the place, and nothing changed", async () => {
    const data = await written();
    const segment = firstSegment(data);
    overwrite(segment, 700, Uint8Array.of(0xff, 0x00, 0xff));
    const before = readFileSync(segment);
    const { code, stdout, stderr } = await runAnnals(["serve", "--port", "0", "--data-dir", data]);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(stderr).toMatch(/LOG_CORRUPT.*00000000000000000001\.log.*annals verify/);
    expect(stdout).not.toContain("listening");
    expect(code).toBe(3);
    expect(readFileSync(segment).equals(before)).toBe(true);
  });

  it("written by another release is no damage, and the line says so", async () => {
    const data = await written();
    const segment = firstSegment(data);
    const header = readFileSync(segment).subarray(0, SEGMENT_HEADER_BYTES);
    header.writeUInt16LE(99, 8);
    const crcAt = SEGMENT_HEADER_BYTES - 4;
    header.writeUInt32LE(crc32(header.subarray(0, crcAt), 0), crcAt);
    overwrite(segment, 0, header);
    const { code, stderr } = await runAnnals(["serve", "--port", "0", "--data-dir", data]);
    expect(stderr).toMatch(/^annals: LOG_VERSION_UNKNOWN.*start the release that wrote it.*\n$/);
    expect(code).toBe(3);
  });
});
