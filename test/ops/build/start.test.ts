import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { Program, scriptOf } from "../../../ops/build/start.js";
import { runAnnals } from "../../support/annals-command.js";
import { realDirectory } from "../../support/real-directory.js";
import { PROGRAM } from "../../support/server-process.js";

const PARTS = join(dirname(PROGRAM), "../parts");

/** A program of two modules that need each other, and what it says of itself. */
async function program(): Promise<{ file: string; other: string; says: () => unknown }> {
  const directory = await realDirectory();
  const [file, other, said] = ["main.js", "other.js", "said.json"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(file, 'exports.one = 1;\nexports.two = require("./other.js").two();\n');
  writeFileSync(
    other,
    `const main = require("./main.js");
exports.two = () => {
  require("node:fs").writeFileSync(${JSON.stringify(said)}, JSON.stringify([main.one, __filename]));
};
`,
  );
  return { file, other, says: () => JSON.parse(readFileSync(said, "utf8")) };
}

describe("the built program", () => {
  it("comes with code that this Node takes, for the modules of a server and of every command", () => {
    const compiled = readdirSync(PARTS).filter((name) => name.endsWith(".compiled"));
    const files = compiled.map((name) => join(PARTS, name.replace(/\.compiled$/, "")));
    // A process of its own: the flags of this one are the tests'.
    const asked = `const { scriptOf } = require(${JSON.stringify(join(PARTS, "start.js"))});
      console.log(process.argv.slice(1).filter((file) => scriptOf(file).cachedDataRejected !== false).join());`;
    const { stdout } = spawnSync(process.execPath, ["-e", asked, ...files], { encoding: "utf8", env: {} });
    expect(stdout).toBe("\n");
    expect(compiled).toEqual(expect.arrayContaining(["annals.js.compiled", "main.js.compiled"]));
  });

  it("shows the sources in a stack where Node is asked for them", async () => {
    const serve = ["serve", "--data-dir", "/dev/null/nowhere"];
    const built = await runAnnals(serve);
    expect(built.stdout).toMatch(/ops\/parts\/[^/]+\.js:\d+/);
    const mapped = spawnSync(process.execPath, ["--enable-source-maps", PROGRAM, ...serve], {
      encoding: "utf8",
    });
    expect(mapped.stdout).toMatch(/ops\/[a-z-]+\.ts:\d+/);
    expect(mapped.status).toBe(built.code);
  });
});

describe("a program starts", () => {
  it("without compiled code", async () => {
    const { file, other, says } = await program();
    expect(scriptOf(file).cachedDataRejected).toBeUndefined();
    new Program(file).start();
    expect(says()).toEqual([1, other]);
  });

  it("with what an earlier start compiled", async () => {
    const { file, other, says } = await program();
    const earlier = new Program(file);
    earlier.start();
    earlier.keepCompiled();
    new Program(file).start();
    expect(scriptOf(other).cachedDataRejected).toBe(false);
    expect(says()).toEqual([1, other]);
  });

  it("with what is no compiled code", async () => {
    const { file, other, says } = await program();
    writeFileSync(`${file}.compiled`, "no");
    writeFileSync(`${other}.compiled`, new Uint8Array(4096));
    new Program(file).start();
    expect(says()).toEqual([1, other]);
  });

  it("without compiled code that is damaged, or of another source, be that as long", async () => {
    const { file, other, says } = await program();
    const earlier = new Program(file);
    earlier.start();
    earlier.keepCompiled();
    const code = readFileSync(`${other}.compiled`);
    const at = code.length - 100;
    code[at] = code[at]! ^ 1;
    writeFileSync(`${other}.compiled`, code);
    expect(scriptOf(other).cachedDataRejected).toBeUndefined();
    writeFileSync(file, readFileSync(file, "utf8").replace("exports.one = 1", "exports.one = 7"));
    expect(scriptOf(file).cachedDataRejected).toBeUndefined();
    new Program(file).start();
    expect(says()).toEqual([7, other]);
  });
});
