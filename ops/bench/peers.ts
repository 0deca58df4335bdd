/** The peers, as their Debian packages bring them, configured to do the same work as we do. */

import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { freePort } from "../free-port.js";
import { answers, type Bench, programPath, type Started } from "./processes.js";

/** Thrown by a row that needs a program which isn't here; the row then says so. */
export class PeerAbsent extends Error {
  constructor(program: string) {
    super(`${program} is not installed`);
    this.name = "PeerAbsent";
  }
}

export function programOf(name: string): string {
  const path = programPath(name);
  if (path === undefined) throw new PeerAbsent(name);
  return path;
}

/** A package of a peer, if it is installed beside ours (`npm install --no-save`). */
export async function peerPackage(name: string): Promise<unknown> {
  try {
    return await import(name);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND") {
      throw new PeerAbsent(name);
    }
    throw error;
  }
}

export type RedisSync = "always" | "everysec" | "no";

/** redis with an append-only file of plain commands, no snapshots and no rewrites: the log alone, as ours. */
export async function startRedis(
  bench: Bench,
  sync: RedisSync,
  directory = bench.newDirectory(`redis-${sync}`),
): Promise<Started> {
  const port = await freePort();
  const settings = {
    "--port": String(port),
    "--bind": "127.0.0.1",
    "--dir": directory,
    "--appendonly": "yes",
    "--appendfsync": sync,
    "--aof-use-rdb-preamble": "no",
    "--auto-aof-rewrite-percentage": "0",
    "--save": "",
  };
  const command = programOf("redis-server");
  const args = Object.entries(settings).flat();
  return bench.start({ name: `redis ${sync}`, command, args, port, directory, ready: redisReady });
}

async function redisReady(port: number): Promise<boolean> {
  return (await redisReply(port, "PING\r\n", 1).catch(() => "-")).startsWith("+PONG");
}

/** Sends commands as they are and resolves with the bytes once `lines` line ends have come back. */
export function redisReply(port: number, commands: string, lines: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(commands));
    let text = "";
    socket.setTimeout(2000, () => socket.destroy(new Error("redis did not answer in time")));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (text.split("\r\n").length <= lines) return;
      socket.destroy();
      resolve(text);
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("redis closed the connection")));
  });
}

export interface WebdisPair {
  readonly webdis: Started;
  readonly redis: Started;
  stop(): Promise<void>;
}

/** webdis gives redis the HTTP door that we have. Four threads and a pool were its fastest here (ops/docs/benchmarks.md). */
export async function startWebdis(bench: Bench, sync: RedisSync): Promise<WebdisPair> {
  const command = programOf("webdis");
  const redis = await startRedis(bench, sync);
  const directory = bench.newDirectory("webdis");
  const port = await freePort();
  const config = join(directory, "webdis.json");
  const settings = {
    redis_host: "127.0.0.1",
    redis_port: redis.port,
    http_host: "127.0.0.1",
    http_port: port,
    threads: 4,
    pool_size: 20,
    daemonize: false,
    database: 0,
    verbosity: 1,
    logfile: join(directory, "webdis.log"),
  };
  writeFileSync(config, JSON.stringify(settings));
  const webdis = await bench.start({
    name: `webdis + redis ${sync}`,
    command,
    args: [config],
    port,
    directory,
    ready: (at) => answers(at, "/PING"),
  });
  const stop = async (): Promise<void> => {
    await webdis.stop();
    await redis.stop();
  };
  return { webdis, redis, stop };
}

/** One etcd node; its JSON gateway is on the client port. */
export async function startEtcd(bench: Bench): Promise<Started> {
  const command = programOf("etcd");
  const [port, peerPort] = [await freePort(), await freePort()];
  const directory = bench.newDirectory("etcd");
  const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`];
  const settings = {
    "--data-dir": join(directory, "data"),
    "--listen-client-urls": client,
    "--advertise-client-urls": client,
    "--listen-peer-urls": peer,
    "--initial-advertise-peer-urls": peer,
    "--initial-cluster": `default=${peer}`,
    "--logger": "zap",
    "--log-level": "error",
  };
  const body = JSON.stringify({ key: Buffer.from("ready").toString("base64") });
  return bench.start({
    name: "etcd",
    command,
    args: Object.entries(settings).flat(),
    port,
    directory,
    ready: (at) => answers(at, "/v3/kv/range", { method: "POST", body }),
  });
}
