// Builds dist/ from the sources: a clean emit, so that a file removed from the sources is gone from the package too.
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
rmSync(`${root}dist`, { recursive: true, force: true });
execFileSync(
  process.execPath,
  [`${root}node_modules/typescript/bin/tsc`, "-p", `${root}ops/build/tsconfig.json`],
  { stdio: "inherit" },
);
const cli = `${root}dist/ops/cli/annals.js`;
if (existsSync(cli)) chmodSync(cli, 0o755);
