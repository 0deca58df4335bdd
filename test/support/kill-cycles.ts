/**
 * Writers over HTTP against a server that is killed again and again: what was answered must be there after each restart,
 * with its value and revision. Shared by the short run in `test/process` and the long one in `props/`.
 */

import { type FsyncMode, realFileSystem, verifyDirectory } from "../../log/index.js";
import { PromiseBroken } from "../../props/checkers/promise-broken.js";
import { HttpClient, revisionOf } from "./http-client.js";
import { type RunningServer, type ServerOptions, startServer } from "./server-process.js";

const WRITERS = 8;
const KEYS_PER_WRITER = 5;
const COUNTER = "counter";
const UPKEEP = { ANNALS_LOG_RETENTION_BYTES: "8192", ANNALS_PERSISTENCE_SNAPSHOT_MAX_SNAPSHOTS: "2" };

export interface KillReport {
  readonly cycles: number;
  readonly answered: number;
  /** Writes under way when the server died. */
  readonly unanswered: number;
  /** Snapshots that were answered, and starts that began with one. */
  readonly snapshots: number;
  readonly begunWithSnapshot: number;
  /** Whether the beginning of the log was removed at the end. */
  readonly retired: boolean;
  /** Unanswered writes that were found to have happened: shows that kills fell between commit and answer, or in a write. */
  readonly happenedUnheard: number;
}

interface KeyKnowledge {
  /** Last answered write. */
  value: string | undefined;
  revision: number;
  /** Sent after it and never answered: may have happened. */
  unheard: string | undefined;
}

export class KillCycles {
  readonly #options: ServerOptions;
  readonly #random: () => number;
  readonly #keys = new Map<string, KeyKnowledge>();
  #counterAnswered = 0;
  #counterUnheard = 0;
  #answered = 0;
  #unanswered = 0;
  #happenedUnheard = 0;
  readonly #upkeep: boolean;
  #snapshots = 0;
  #newestSnapshot = 0;
  #begunWithSnapshot = 0;
  #retired = false;
  #serial = 0;

  /** `upkeep`: snapshots are made one after the other, and the log before them goes. */
  constructor(dataDirectory: string, random: () => number, fsyncMode: FsyncMode, upkeep = false) {
    this.#random = random;
    this.#upkeep = upkeep;
    // Small segments, so that kills fall into rolls too.
    const environment = {
      ANNALS_PERSISTENCE_WAL_FSYNC_MODE: fsyncMode,
      ANNALS_LOG_SEGMENT_BYTES: String(upkeep ? 8 * 1024 : 64 * 1024),
      ...(upkeep ? UPKEEP : {}),
    };
    this.#options = { dataDirectory, environment };
    for (let writer = 0; writer < WRITERS; writer += 1)
      for (let index = 0; index < KEYS_PER_WRITER; index += 1)
        this.#keys.set(`w${writer}-${index}`, { value: undefined, revision: 0, unheard: undefined });
  }

  async run(cycles: number): Promise<KillReport> {
    for (let cycle = 0; cycle < cycles; cycle += 1) {
      const server = await startServer(this.#options);
      try {
        await this.#check(server);
        await this.#writeUntilKilled(server, cycle);
      } finally {
        await server.kill();
      }
      await this.#verify();
    }
    const last = await startServer(this.#options);
    try {
      await this.#check(last);
    } finally {
      await last.kill("SIGTERM");
    }
    await this.#verify();
    return {
      cycles,
      answered: this.#answered,
      unanswered: this.#unanswered,
      happenedUnheard: this.#happenedUnheard,
      snapshots: this.#snapshots,
      begunWithSnapshot: this.#begunWithSnapshot,
      retired: this.#retired,
    };
  }

  /** A kill is no damage. */
  async #verify(): Promise<void> {
    const { problems } = await verifyDirectory(realFileSystem, this.#options.dataDirectory);
    if (problems.length > 0)
      throw new PromiseBroken("verified", `a kill looks like damage: ${JSON.stringify(problems)}`);
  }

  async #writeUntilKilled(server: RunningServer, cycle: number): Promise<void> {
    const client = new HttpClient(server.port, WRITERS);
    const writers = Array.from({ length: WRITERS }, (_, writer) => this.#write(client, server, writer));
    if (this.#upkeep) writers.push(this.#makeSnapshots(client, server));
    await this.#momentToKill(server, cycle);
    await server.kill();
    await Promise.all(writers);
    client.close();
  }

  /** After some answers and then a random moment: however fast the machine is, the kill falls into writes. */
  async #momentToKill(server: RunningServer, cycle: number): Promise<void> {
    // With upkeep so many that the log gets longer than what retention leaves.
    const least = this.#upkeep ? 60 : 5;
    const target = this.#answered + least + Math.floor(this.#random() ** 2 * 300);
    while (server.running && this.#answered < target) await pause(2);
    // A snapshot takes longer than a write: one, two or none are made, and the kill falls into the next.
    const snapshots = this.#snapshots + (this.#upkeep ? (cycle + 1) % 3 : 0);
    while (server.running && this.#snapshots < snapshots) await pause(2);
    await pause(this.#random() * (this.#upkeep ? 80 : 12));
  }

  async #write(client: HttpClient, server: RunningServer, writer: number): Promise<void> {
    while (server.running) {
      const draw = this.#random();
      const done = draw < 0.1 ? this.#count(client) : this.#put(client, writer);
      if (!(await done)) return;
    }
  }

  async #makeSnapshots(client: HttpClient, server: RunningServer): Promise<void> {
    while (server.running) {
      const answer = await client.post("/snapshot", {}).catch(() => undefined);
      if (answer === undefined) return;
      if (answer.status !== 200) throw new Error(`/snapshot was answered ${answer.status}: ${answer.text}`);
      this.#snapshots += 1;
      this.#newestSnapshot = Number(/"offset":(\d+)/.exec(answer.text)?.[1]);
    }
  }

  /** The start began with the newest snapshot that was answered, or one that is newer; it replayed the rest and no more. */
  async #checkStart(client: HttpClient): Promise<void> {
    const { text } = await client.send("GET", "/info");
    const number = (name: string): number => Number(new RegExp(`"${name}":(\\d+)`).exec(text)?.[1]);
    const [from, replayed, end] = [
      number("start_snapshot_offset"),
      number("start_replayed_records"),
      number("end_offset"),
    ];
    if (!(from >= this.#newestSnapshot && replayed === end - from))
      throw new PromiseBroken(
        "durable",
        `a snapshot of ${this.#newestSnapshot} was answered; the start began with ${from} and replayed ${replayed} of ${end}`,
      );
    if (from > 0) this.#begunWithSnapshot += 1;
    this.#retired = number("first_offset") > 1;
  }

  /** False when the server is gone. */
  async #put(client: HttpClient, writer: number): Promise<boolean> {
    const key = `w${writer}-${Math.floor(this.#random() * KEYS_PER_WRITER)}`;
    const known = this.#known(key);
    this.#serial += 1;
    const value = `${this.#serial}-${"v".repeat(Math.floor(this.#random() * 400))}`;
    known.unheard = value;
    const answer = await client.put(key, value).catch(() => undefined);
    if (answer === undefined) {
      this.#unanswered += 1;
      return false;
    }
    if (answer.status !== 201 && answer.status !== 204)
      throw new Error(`PUT was answered ${answer.status}: ${answer.text}`);
    this.#answered += 1;
    known.value = value;
    known.revision = revisionOf(answer);
    known.unheard = undefined;
    return true;
  }

  async #count(client: HttpClient): Promise<boolean> {
    const answer = await client.post(`/kv/${COUNTER}/incr`, {}).catch(() => undefined);
    if (answer === undefined) {
      this.#counterUnheard += 1;
      this.#unanswered += 1;
      return false;
    }
    if (answer.status !== 200) throw new Error(`incr was answered ${answer.status}: ${answer.text}`);
    this.#counterAnswered += 1;
    this.#answered += 1;
    return true;
  }

  async #check(server: RunningServer): Promise<void> {
    const client = new HttpClient(server.port, WRITERS);
    await this.#checkStart(client);
    await Promise.all([...this.#keys].map(([key, known]) => this.#checkKey(client, key, known)));
    const counter = await client.get(COUNTER);
    const count = counter.status === 404 ? 0 : Number(counter.text);
    if (
      !(count >= this.#counterAnswered && count <= this.#counterAnswered + this.#counterUnheard) ||
      counter.status >= 500
    )
      throw new PromiseBroken(
        "durable",
        `the counter is ${counter.text}, ${this.#counterAnswered} increments were answered and ${this.#counterUnheard} not`,
      );
    this.#happenedUnheard += count - this.#counterAnswered;
    this.#counterAnswered = count;
    this.#counterUnheard = 0;
    client.close();
  }

  async #checkKey(client: HttpClient, key: string, known: KeyKnowledge): Promise<void> {
    const answer = await client.get(key);
    const revision = revisionOf(answer);
    const broken = (evidence: string): never => {
      throw new PromiseBroken(
        "durable",
        `${key}: ${evidence}; answered was ${known.value} at revision ${known.revision}`,
      );
    };
    if (answer.status === 404) {
      if (known.value !== undefined) broken("is not there");
    } else if (answer.status !== 200) {
      broken(`read as ${answer.status} ${answer.text}`);
    } else if (known.unheard !== undefined && answer.text === known.unheard) {
      if (!(revision > known.revision)) broken(`the later write has revision ${revision}`);
      this.#happenedUnheard += 1;
      known.value = answer.text;
      known.revision = revision;
    } else if (answer.text !== known.value || revision !== known.revision) {
      broken(`is ${answer.text} at revision ${revision}`);
    }
    // A write that was not there after the restart can never come.
    known.unheard = undefined;
  }

  #known(key: string): KeyKnowledge {
    const known = this.#keys.get(key);
    if (known === undefined) throw new RangeError(`no key ${key}`);
    return known;
  }
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs));
}
