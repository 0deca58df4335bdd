/** `annals serve --health-check`: the documented probe. Exit 0 when the server is ready, 1 when not. */
import { request as httpRequest } from "node:http";
import { errorMessage } from "../../log/index.js";
import { firstSet } from "../config/environment.js";
import { type ConfigRequest, requireConfig } from "./effective-config.js";
import { CliFailure, exitCodes } from "./failure.js";
import { writeLine } from "./output.js";

const TIMEOUT_MS = 3000;

/** Asks where a flag says, else the address in ANNALS_HEALTH_ADDR or SYNAP_HEALTH_ADDR (`host:port`), else the configured one. */
export async function checkHealth(request: ConfigRequest): Promise<void> {
  const isFlagged = request.flags["host"] !== undefined || request.flags["port"] !== undefined;
  const named = firstSet(process.env, "ANNALS_HEALTH_ADDR", "SYNAP_HEALTH_ADDR");
  const address = isFlagged || named === undefined ? await configured(request) : named;
  const url = `http://${address}/readyz`;
  const status = await statusOf(url).catch((error: unknown) => {
    const why = errorMessage(error);
    throw new CliFailure(
      exitCodes.failed,
      `${url} does not answer: ${why}; is the server running there?`,
      error,
    );
  });
  if (status !== 200)
    throw new CliFailure(exitCodes.failed, `${url} answered ${status}: not ready; see ${url}?verbose`);
  writeLine("ready");
}

async function configured(request: ConfigRequest): Promise<string> {
  const { values } = await requireConfig(request);
  const host = values["server.host"];
  const reachable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `${reachable.includes(":") ? `[${reachable}]` : reachable}:${values["server.port"]}`;
}

function statusOf(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = httpRequest(url, { timeout: TIMEOUT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    probe.on("timeout", () => probe.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    probe.on("error", reject);
    probe.end();
  });
}
