/**
 * Load over HTTP by wrk. Every request is built before the clock starts and then only picked, so that the client costs
 * the same and as little as possible for every product.
 */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { programOf } from "./peers.js";
import type { Bench } from "./processes.js";

/** Keys of 20 bytes, drawn from this many; values of 100 bytes. */
export const KEYS = 100_000;
const COMMON = `
local chars = "abcdefghijklmnopqrstuvwxyz0123456789"
function value()
  local out = {}
  for i = 1, 100 do local at = math.random(#chars); out[i] = chars:sub(at, at) end
  return table.concat(out)
end
local values = {}
for i = 1, 100 do values[i] = value() end
function any_value() return values[math.random(#values)] end
function key(n) return string.format("key:%016d", n) end
function any_key() return key(math.random(0, ${KEYS - 1})) end
local b = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
function base64(text)
  return ((text:gsub(".", function(x)
    local r, byte = "", x:byte()
    for i = 8, 1, -1 do r = r .. (byte % 2 ^ i - byte % 2 ^ (i - 1) > 0 and "1" or "0") end
    return r
  end) .. "0000"):gsub("%d%d%d?%d?%d?%d?", function(x)
    if #x < 6 then return "" end
    local c = 0
    for i = 1, 6 do c = c + (x:sub(i, i) == "1" and 2 ^ (6 - i) or 0) end
    return b:sub(c + 1, c + 1)
  end) .. ({ "", "==", "=" })[#text % 3 + 1])
end
local json = { ["Content-Type"] = "application/json" }
local requests = {}
`;
const RUN = `
function init(args)
  math.randomseed(tonumber(args[1]))
  for i = 1, prepared do requests[i] = build() end
end
if request == nil then
  function request() return requests[math.random(prepared)] end
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests":%d,"durationUs":%d,"errors":%d,"badStatus":%d,"p50Us":%d,"p99Us":%d,"maxUs":%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(99), latency.max))
end
`;

/** How each product is asked for the same thing. */
export const REQUESTS = {
  annalsSet: `prepared = 50000
    function build() return wrk.format("POST", "/kv/set", json, '{"key":"' .. any_key() .. '","value":"' .. any_value() .. '"}') end`,
  annalsPut: `prepared = 50000
    function build() return wrk.format("PUT", "/kv/" .. any_key(), { ["Content-Type"] = "text/plain" }, any_value()) end`,
  annalsGet: `prepared = 50000
    function build() return wrk.format("GET", "/kv/get/" .. any_key()) end`,
  annalsMset: `prepared = 300
    function build()
      local pairs = {}
      for i = 1, 100 do pairs[i] = '{"key":"' .. any_key() .. '","value":"' .. any_value() .. '"}' end
      return wrk.format("POST", "/kv/mset", json, '{"pairs":[' .. table.concat(pairs, ",") .. "]}")
    end`,
  webdisSet: `prepared = 50000
    function build() return wrk.format("GET", "/SET/" .. any_key() .. "/" .. any_value()) end`,
  webdisSetByPut: `prepared = 50000
    function build() return wrk.format("PUT", "/SET/" .. any_key(), {}, any_value()) end`,
  webdisSetByPost: `prepared = 50000
    function build() return wrk.format("POST", "/", {}, "SET/" .. any_key() .. "/" .. any_value()) end`,
  webdisGet: `prepared = 50000
    function build() return wrk.format("GET", "/GET/" .. any_key()) end`,
  annalsPublish: `prepared = 20000
    function build() return wrk.format("POST", "/queue/bench/publish", json, '{"payload":"' .. any_value() .. '"}') end`,
  // Whatever was consumed is acked next; how often that was is asked of the queue afterwards.
  annalsWork: `prepared = 1
    function build() return wrk.format("POST", "/queue/bench/consume/worker", json, "{}") end
    local taken = {}
    function request()
      local id = table.remove(taken)
      if id == nil then return requests[1] end
      return wrk.format("POST", "/queue/bench/ack", json, '{"message_id":"' .. id .. '"}')
    end
    function response(status, headers, body)
      local id = body:match('"message_id":"([^"]+)"')
      if id ~= nil and body:find("payload", 1, true) then taken[#taken + 1] = id end
    end`,
  durableAppend: `prepared = 1000
    function build() return wrk.format("POST", "/v1/stream/bench", { ["Content-Type"] = "application/octet-stream" }, any_value()) end`,
  durableBatch: `prepared = 200
    function build()
      local messages = {}
      for i = 1, 100 do messages[i] = '"' .. any_value():sub(1, 98) .. '"' end
      return wrk.format("POST", "/v1/stream/batches", json, "[" .. table.concat(messages, ",") .. "]")
    end`,
  annalsBatch: `prepared = 20000
    function build()
      local set = '{"command":"kv.set","payload":{"key":"' .. any_key() .. '","value":"' .. any_value() .. '"}}'
      local publish = '{"command":"queue.publish","payload":{"queue":"bench","payload":"' .. any_value() .. '"}}'
      local append = '{"command":"stream.publish","payload":{"room":"bench","event":"e","data":"' .. any_value() .. '"}}'
      local count = '{"command":"kv.incr","payload":{"key":"' .. any_key() .. '-n"}}'
      return wrk.format("POST", "/batch", json, '{"operations":[' .. table.concat({ set, publish, append, count }, ",") .. "]}")
    end`,
  durableEvent: `prepared = 1000
    function build() return wrk.format("POST", "/v1/stream/singles", json, '"' .. any_value():sub(1, 98) .. '"') end`,
  etcdPut: `prepared = 10000
    function build() return wrk.format("POST", "/v3/kv/put", json, '{"key":"' .. base64(any_key()) .. '","value":"' .. base64(any_value()) .. '"}') end`,
} as const;
export type RequestName = keyof typeof REQUESTS;

export interface Load {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

interface Result {
  readonly requests: number;
  readonly durationUs: number;
  readonly errors: number;
  readonly badStatus: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
}

const run = promisify(execFile);
let seed = 1;

/** One run. Fails when any request got an error or a status other than 2xx or 3xx: a fast refusal is no result. */
export async function load(
  bench: Bench,
  port: number,
  request: RequestName,
  connections: number,
  seconds = bench.seconds,
): Promise<Load> {
  const script = join(bench.directory, `${request}.lua`);
  writeFileSync(script, COMMON + REQUESTS[request] + RUN);
  const args = ["-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "10s", "--latency", "-s", script];
  const { stdout } = await run(programOf("wrk"), [...args, `http://127.0.0.1:${port}`, "--", String(seed++)]);
  const line = /^RESULT (.*)$/m.exec(stdout)?.[1];
  if (line === undefined) throw new Error(`wrk printed no result:\n${stdout}`);
  const result = JSON.parse(line) as Result;
  if (result.errors > 0 || result.badStatus > 0 || result.requests === 0) {
    throw new Error(
      `${request}: ${result.errors} errors and ${result.badStatus} refusals in ${result.requests} requests`,
    );
  }
  return {
    requests: result.requests,
    requestsPerSecond: result.requests / (result.durationUs / 1e6),
    p50Ms: result.p50Us / 1000,
    p99Ms: result.p99Us / 1000,
    maxMs: result.maxUs / 1000,
  };
}
