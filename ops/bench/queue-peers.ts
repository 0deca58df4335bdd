/** beanstalkd and NATS JetStream, started and spoken to as their protocols say. */

import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { freePort } from "../free-port.js";
import { type Dialogue, lineAt } from "./line-load.js";
import { peerPackage, programOf } from "./peers.js";
import type { Bench, Started } from "./processes.js";

/** Letters only, so that it fits into any protocol. */
const PAYLOAD = randomBytes(50).toString("hex");

/** beanstalkd with its log synced on every write (`-f 0`), which is what our answers promise. */
export async function startBeanstalkd(bench: Bench): Promise<Started> {
  const command = programOf("beanstalkd");
  const directory = bench.newDirectory("beanstalkd");
  const port = await freePort();
  const args = ["-b", directory, "-f", "0", "-l", "127.0.0.1", "-p", String(port)];
  return bench.start({ name: "beanstalkd -f 0", command, args, port, directory, ready: accepts });
}

export const beanstalkPut: Dialogue = {
  request: () => `put 1024 0 60 ${PAYLOAD.length}\r\n${PAYLOAD}\r\n`,
  answer(text, at) {
    const line = lineAt(text, at);
    if (line === undefined) return undefined;
    if (!line.startsWith("INSERTED ")) throw new Error(`beanstalkd answered ${line}`);
    return { end: at + line.length + 2, counts: true };
  },
};

/** One operation is a job reserved and deleted. */
export const beanstalkReserveDelete: Dialogue = {
  request: () => "reserve\r\n",
  answer(text, at) {
    const line = lineAt(text, at);
    if (line === undefined) return undefined;
    const end = at + line.length + 2;
    if (line === "DELETED") return { end, counts: true };
    const [word, id, bytes] = line.split(" ");
    if (word !== "RESERVED") throw new Error(`beanstalkd answered ${line}`);
    const whole = end + Number(bytes) + 2;
    return text.length < whole ? undefined : { end: whole, counts: false, send: `delete ${id}\r\n` };
  },
};

const STREAM = "BENCH";
const SUBJECT = "bench.jobs";
/** Acknowledged publishes that are outstanding at once, on one connection. */
const OUTSTANDING = 64;

/** NATS with a file-backed stream. It answers a publish before anything is synced. */
export async function startNats(bench: Bench): Promise<Started> {
  const command = programOf("nats-server");
  const directory = bench.newDirectory("nats");
  const port = await freePort();
  const args = ["-js", "-sd", directory, "-a", "127.0.0.1", "-p", String(port)];
  return bench.start({ name: "NATS JetStream", command, args, port, directory, ready: accepts });
}

// The part of the two packages that is used here. They are no dependencies of ours: who wants the column installs them.
interface Transport {
  connect(options: { servers: string }): Promise<{ close(): Promise<void> }>;
}
interface JetStream {
  jetstream(connection: unknown): { publish(subject: string, payload: Uint8Array): Promise<unknown> };
  jetstreamManager(
    connection: unknown,
  ): Promise<{ streams: { add(config: Record<string, unknown>): Promise<unknown> } }>;
}

export interface NatsPublisher {
  /** Publishes for `seconds` and returns acknowledged publishes per second. */
  publish(seconds: number): Promise<number>;
  close(): Promise<void>;
}

/** NATS's own client for Node, as its users publish. */
export async function natsPublisher(port: number): Promise<NatsPublisher> {
  const transport = (await peerPackage("@nats-io/transport-node")) as Transport;
  const streams = (await peerPackage("@nats-io/jetstream")) as JetStream;
  const connection = await transport.connect({ servers: `127.0.0.1:${port}` });
  const administration = await streams.jetstreamManager(connection);
  await administration.streams.add({ name: STREAM, subjects: [SUBJECT], storage: "file" });
  const context = streams.jetstream(connection);
  const payload = Buffer.from(PAYLOAD);
  const publish = async (seconds: number): Promise<number> => {
    const started = performance.now();
    let done = 0;
    const worker = async (): Promise<void> => {
      while (performance.now() - started < seconds * 1000) {
        await context.publish(SUBJECT, payload);
        done += 1;
      }
    };
    await Promise.all(Array.from({ length: OUTSTANDING }, worker));
    return done / ((performance.now() - started) / 1000);
  };
  return { publish, close: () => connection.close() };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
