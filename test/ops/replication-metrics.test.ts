/**
 * The series of replication on the pages of a set's nodes: real nodes over a network in memory, through a cut, a fail-over that leaves records
 * aside, a primary that answers nothing sound, damage, and a copy. Each sample has to change on some page, or nobody knows whether it can.
 */
import { readFileSync } from "node:fs";
import { Registry } from "prom-client";
import { afterEach, beforeEach, expect, it } from "vitest";
import { addReplicationSeries } from "../../ops/metrics/replication-series.js";
import { Series } from "../../ops/metrics/series.js";
import { bare } from "../support/protocol-samples.js";
import { RawPeer } from "../support/raw-peer.js";
import { addressOf, type SetNode, SetWorld } from "../support/set-node.js";
import { appendMany, DISK_LOG, segmentFile } from "../support/test-log.js";

let world: SetWorld;

beforeEach(() => {
  world = new SetWorld();
});

afterEach(() => world.stop());

const until = (holds: () => boolean, what: string): Promise<void> => world.clock.until(holds, what);
const settled = <T>(promise: Promise<T>, what: string): Promise<T> => world.clock.settled(promise, what);

const PREFIX = "annals_replication_";

/** The values of a page by sample, without the prefix. */
class Page {
  readonly #node: SetNode;
  readonly #registry = new Registry();
  readonly #series = new Series(this.#registry, "annals");
  /** All that was ever read here of a sample; it was absent when it is undefined. */
  readonly seen = new Map<string, Set<number | undefined>>();
  text = "";
  certificateEnds = Date.UTC(2030, 0, 1);

  constructor(node: SetNode) {
    this.#node = node;
    addReplicationSeries(
      this.#series,
      () => this.#node.node.stats(),
      () => this.certificateEnds,
    );
  }

  /** The samples that are wanted; those of a replica's lag by the replica's name. */
  async read(...wanted: readonly string[]): Promise<Record<string, number | undefined>> {
    this.#series.beginPage();
    this.text = await this.#registry.metrics();
    const now = new Map<string, number>();
    for (const [, sample = "", value] of this.text.matchAll(/^([a-z_]+(?:\{.*\})?) (\S+)$/gm))
      now.set(this.#named(sample.slice(PREFIX.length)), Number(value));
    const isFirst = this.seen.size === 0;
    for (const sample of new Set([...now.keys(), ...this.seen.keys()])) {
      const values = this.seen.get(sample) ?? new Set(isFirst ? [] : [undefined]);
      this.seen.set(sample, values.add(now.get(sample)));
    }
    return Object.fromEntries(wanted.map((sample) => [sample, now.get(sample)]));
  }

  #named(sample: string): string {
    return sample.replace(/replica_id="(\w+)"/, (_, id: string) => {
      const found = [...this.#node.world.nodes.values()].find(({ nodeId }) => nodeId === id);
      return `replica_id="${found?.name}"`;
    });
  }
}

/** A node of the set with its page. */
interface Watched {
  readonly node: SetNode;
  readonly page: Page;
}

const has = ({ node }: Watched, primary: Watched): boolean =>
  node.log() !== undefined &&
  node.node.role === "replica" &&
  node.required.durableOffset === primary.node.end &&
  node.node.own?.epoch === primary.node.node.own?.epoch;

const lags = (of: string) =>
  ["operations", "bytes", "ms", "seconds"].map((unit) => `lag_${unit}{replica_id="${of}"}`);

const SENT = ['bytes_total{direction="sent"}', 'records_total{direction="sent"}'];
const RECEIVED = ['bytes_total{direction="received"}', 'records_total{direction="received"}'];
const syncs = (type: "full" | "partial") => `operations_total{type="${type}_sync",status="success"}`;
const APPENDED = 'operations_total{type="append",status="success"}';

/** A primary and a replica, from nothing; what is sent is what is received. */
async function begun(): Promise<readonly [Watched, Watched]> {
  const settings = { checkIntervalMs: 2_000, rejoin: false };
  const [a, b] = ["a", "b"].map((name) => {
    const node = world.add(name, settings);
    return { node, page: new Page(node) };
  }) as [Watched, Watched];
  await a.node.start();
  expect(await a.page.read("connected", "connected_replicas", ...lags("a"), 'role{role="master"}')).toEqual({
    connected: undefined,
    connected_replicas: 0,
    'role{role="master"}': 1,
    ...Object.fromEntries(lags("a").map((lag) => [lag, undefined])),
  });
  await b.node.start({ role: "replica", masterAddress: addressOf("a") });
  expect(await b.page.read("connected", "reconnects_total", syncs("full"), ...RECEIVED)).toEqual({
    connected: 0,
    reconnects_total: 0,
    [syncs("full")]: 0,
    ...Object.fromEntries(RECEIVED.map((name) => [name, 0])),
  });
  await until(() => a.node.node.stats().peers.filter(({ counts }) => counts).length === 2, "both count");
  await appendMany(a.node.required, 200);
  await until(() => has(b, a), "the replica has everything");
  await until(() => a.node.node.stats().replicas[0]?.lagRecords === 0, "the primary has heard so");
  const there = await a.page.read(...SENT, APPENDED, "connected_replicas", ...lags("b"));
  const here = await b.page.read(...RECEIVED, APPENDED, "connected", syncs("full"));
  expect(Object.values(there)).toEqual([expect.any(Number), 201, 201, 1, 0, 0, 0, 0]);
  expect(Object.values(here)).toEqual([there[SENT[0]!], 201, 201, 1, 1]);
  // What lies there, and no more than that.
  expect(there[SENT[0]!]).toBeGreaterThan(200 * 100);
  expect(there[SENT[0]!]).toBeLessThan(300 * 200);
  return [a, b];
}

/** Nothing passes between the two for a while, and is made good afterwards. */
async function cut(a: Watched, b: Watched): Promise<void> {
  const WRITES = ['writes_total{outcome="confirmed"}', 'writes_total{outcome="not_confirmed"}'];
  expect(await a.page.read(...WRITES, "waiting_writes")).toEqual({
    [WRITES[0]!]: 0,
    [WRITES[1]!]: 0,
    waiting_writes: 0,
  });
  world.cut("a", "b");
  await appendMany(a.node.required, 10);
  const [soon, late] = [1_000, 60_000].map((ms) =>
    a.node.node.confirmed(a.node.required.durableOffset, 1, ms),
  );
  expect((await a.page.read("waiting_writes"))["waiting_writes"]).toBe(2);
  await settled(soon!, "it was not confirmed");
  await world.clock.advance(3_000);
  const [operations, bytes, ms, seconds] = Object.values(await a.page.read(...lags("b")));
  expect(operations).toBe(10);
  expect(bytes).toBeGreaterThan(1_000);
  expect(ms).toBeGreaterThan(2_000);
  expect(seconds).toBe(ms! / 1_000);
  await until(() => b.node.node.stats().upstream?.connected === false, "it has given the connection up");
  await until(() => a.node.node.stats().replicas.every(({ connected }) => !connected), "so has the primary");
  expect((await a.page.read("connected_replicas"))["connected_replicas"]).toBe(0);
  const [connected, behind] = Object.values(await b.page.read("connected", 'lag_ms{replica_id="b"}'));
  expect([connected, behind! > 2_000]).toEqual([0, true]);
  world.heal();
  await settled(late!, "the other one was confirmed");
  await until(() => has(b, a), "it has everything again");
  await until(() => a.node.node.stats().replicas[0]?.lagRecords === 0, "the primary has heard so");
  expect(Object.values(await a.page.read(...WRITES, "waiting_writes", ...lags("b")))).toEqual([
    ...[1, 1, 0, 0, 0, 0, 0],
  ]);
  const again = await b.page.read(syncs("partial"), syncs("full"), "reconnects_total", "connected");
  expect(again).toEqual({
    [syncs("partial")]: 1,
    [syncs("full")]: 1,
    connected: 1,
    reconnects_total: expect.any(Number),
  });
  expect(again["reconnects_total"]).toBeGreaterThan(0);
  // Whoever was only silent has sent nothing that did not hold.
  expect(await b.page.read("verification_failures_total")).toEqual({ verification_failures_total: 0 });
}

/** The replica is promoted while the primary is cut off and writes on, and that one comes back and follows. */
async function failedOver(a: Watched, b: Watched): Promise<void> {
  const LEADING = [
    'role{role="master"}',
    "epoch",
    "heard_epoch",
    "fenced",
    "fenced_total",
    "promotions_total",
  ];
  const ASIDE = ["divergences_total", "diverged_records_total"];
  world.cut("a", "b");
  await appendMany(a.node.required, 3);
  await settled(b.node.node.promote({ force: true }), "it leads");
  expect(Object.values(await b.page.read(...LEADING))).toEqual([1, 2, 2, 0, 0, 1]);
  expect(Object.values(await a.page.read(...LEADING))).toEqual([1, 1, 1, 0, 0, 0]);
  world.heal();
  await until(() => a.node.node.fence !== undefined, "it is fenced");
  expect(Object.values(await a.page.read(...LEADING, ...ASIDE))).toEqual([1, 1, 2, 1, 1, 0, 0, 0]);
  await settled(a.node.node.follow(addressOf("b")), "it follows");
  await until(() => has(a, b), "it has everything");
  expect(Object.values(await a.page.read(...LEADING, ...ASIDE))).toEqual([undefined, 2, 2, 0, 1, 0, 1, 3]);
  await until(() => a.node.node.stats().upstream?.lagMs === 0, "it has heard that this is all");
  expect(Object.values(await a.page.read('role{role="replica"}', "connected", ...lags("a")))).toEqual([
    ...[1, 1, 0, undefined, 0, 0],
  ]);
}

/** What comes from the primary does not hold, again and again. */
async function garbled(a: Watched): Promise<void> {
  const FAILURES = ["verification_failures_total", 'operations_total{type="append",status="error"}'];
  expect(Object.values(await a.page.read(...FAILURES, "breakers_open"))).toEqual([0, 0, 0]);
  world.network.faults.onWay = (bytes, { from }) => {
    if (from === "acceptor" && bytes.length > 8) bytes[6]! ^= 1;
    return bytes;
  };
  await until(() => a.node.node.stats().breakers.some(({ open }) => open), "the link was given up");
  expect(Object.values(await a.page.read(...FAILURES, "breakers_open"))).toEqual([5, 5, 1]);
  delete world.network.faults.onWay;
  a.node.node.resetBreaker();
  await until(() => a.node.node.stats().upstream?.connected === true, "it is connected");
  expect(Object.values(await a.page.read(...FAILURES, "breakers_open"))).toEqual([5, 5, 0]);
}

/** On the disk of the replica `a`, while it can fetch nothing, and then it can. */
async function damaged(a: Watched, b: Watched): Promise<void> {
  const STATE = ["damaged_segments", "mending", "owes"];
  const MENDED = ["quarantines_total", "refetched_segments_total", "refetched_bytes_total"];
  const mended = async () => Object.values(await a.page.read(...STATE, ...MENDED));
  expect(await mended()).toEqual([0, 0, 0, 0, 0, 0]);
  world.cut("a", "b");
  flip(a, baseOf(a, 1));
  await expect(a.node.texts()).rejects.toMatchObject({ code: "LOG_CORRUPT" });
  await until(() => a.node.node.stats().damage.known.length === 1, "it is known");
  expect(await mended()).toEqual([1, 0, 0, 0, 0, 0]);
  world.heal();
  await until(() => a.node.node.stats().counters.refetchedSegments === 1, "it was fetched again");
  const [known, , , quarantines, segments, bytes] = await mended();
  expect([known, quarantines, segments]).toEqual([0, 1, 1]);
  expect(bytes).toBeGreaterThan(1_000);
  await until(() => has(a, b), "it has everything");

  const [sealed, tail] = [baseOf(a, 1), a.node.logSegments()!.tail];
  await a.node.stop();
  world.cut("a", "b");
  flip(a, sealed);
  await a.node.start({ role: "replica", masterAddress: addressOf("b") });
  await until(() => a.node.node.stats().damage.opening !== undefined, "it waits");
  expect((await mended()).slice(1, 3)).toEqual([1, 0]);
  await a.node.stop();
  world.heal();
  await a.node.start();
  await until(() => a.node.log() !== undefined && has(a, b), "it was mended");
  await a.node.stop();
  world.cut("a", "b");
  flip(a, tail, 150);
  await a.node.start();
  await until(() => a.node.node.stats().damage.opening === undefined, "it has opened its log");
  expect((await mended()).slice(1, 3)).toEqual([0, 1]);
  world.heal();
  await until(() => a.node.node.stats().damage.owesSince === undefined, "it owes nothing");
  expect((await mended()).slice(0, 3)).toEqual([0, 0, 0]);
}

/** The replica `a` looks at its log, and compares it with that of its primary `b`, which is another one, and then damaged. */
async function compared(a: Watched, b: Watched): Promise<void> {
  const LOOKS = ["checks_total", "comparisons_total", "mismatches_total"];
  const looked = (): Promise<Record<string, number | undefined>> =>
    a.page.read(...LOOKS, "last_comparison_timestamp_seconds", "primary_damaged");
  const before = await looked();
  const { comparisons } = a.node.node.stats().counters;
  await until(() => a.node.node.stats().counters.comparisons > comparisons + 2, "it has compared");
  const then = await looked();
  expect(then["checks_total"]).toBeGreaterThan(before["checks_total"]!);
  expect(then["comparisons_total"]).toBeGreaterThan(before["comparisons_total"]! + 2);
  expect([then["mismatches_total"], then["primary_damaged"]]).toEqual([0, 0]);
  const [at, now] = [then["last_comparison_timestamp_seconds"]!, world.clock.now() / 1_000];
  expect(at).toBeLessThanOrEqual(now);
  expect(at).toBeGreaterThan(now - 5);

  const segments = b.node.logSegments()!;
  const { check } = segments;
  segments.check = async (first, pace) => {
    const found = await check.call(segments, first, pace);
    return found.type === "sound"
      ? { ...found, end: { ...found.end, crc: (found.end.crc ^ 1) >>> 0 } }
      : found;
  };
  await until(() => a.node.node.stats().counters.mismatches === 1, "it was noticed");
  expect((await looked())["mismatches_total"]).toBe(1);
  segments.check = check;
  flip(b, baseOf(b, 1));
  await until(() => a.node.node.stats().damage.upstream !== undefined, "it has heard of the damage");
  expect((await looked())["primary_damaged"]).toBe(1);
  await until(() => b.node.node.stats().damage.known.length === 1, "the primary knows it");
  expect(await b.page.read("damaged_segments", "primary_damaged")).toEqual({
    damaged_segments: 1,
    primary_damaged: 0,
  });
}

async function renewed({ page }: Watched): Promise<void> {
  const ends = async () => (await page.read(CERTIFICATE))[CERTIFICATE];
  expect(await ends()).toBe(Date.UTC(2030, 0, 1) / 1000);
  page.certificateEnds = Date.UTC(2031, 0, 1);
  expect(await ends()).toBe(Date.UTC(2031, 0, 1) / 1000);
}

/** Two processes with one id follow the primary by turns. */
async function copied({ node, page }: Watched): Promise<void> {
  const twins = async () => (await page.read("twins"))["twins"];
  const statement = { ...bare, clusterId: node.node.stats().clusterId, format: 7 };
  for (const incarnation of ["a1", "b2", "a1"]) {
    expect(await twins()).toBe(0);
    const peer = RawPeer.dial(world.network, world.clock, addressOf(node.name));
    await peer.greet(statement, { incarnation: incarnation.repeat(16) });
  }
  expect(await twins()).toBe(1);
}

const CERTIFICATE = "certificate_expires_timestamp_seconds";

const baseOf = ({ node }: Watched, which: number): number => node.logSegments()!.list().at(which)!.first;

/** Flips a bit of the segment's record bytes. */
const flip = ({ node }: Watched, base: number, at = 300): void =>
  node.disk.flip(`${DISK_LOG}/${segmentFile(base)}`, at, 4);

/** Names of series with the labels that they have. */
function documented(): Map<string, string[]> {
  const guide = readFileSync(new URL("../../ops/docs/operations.md", import.meta.url), "utf8");
  const rows = [...guide.matchAll(/^\| (`replication_[^|]*) \|([^|]*)\|/gm)];
  const quoted = (text = ""): string[] => [...text.matchAll(/`(\w+)`/g)].map(([, name = ""]) => name);
  return new Map(rows.flatMap(([, names, labels]) => quoted(names).map((name) => [name, quoted(labels)])));
}

it("the pages of a set show every documented series of replication moving when it should", async () => {
  const [a, b] = await begun();
  await cut(a, b);
  await failedOver(a, b);
  await garbled(a);
  await damaged(a, b);
  await compared(a, b);
  await renewed(a);
  await copied(b);

  const still: string[] = [];
  const labels = new Map<string, Set<string>>();
  const samples = new Set([...a.page.seen.keys(), ...b.page.seen.keys()]);
  for (const sample of samples) {
    const values = [a, b].map(({ page }) => page.seen.get(sample)?.size ?? 0);
    if (Math.max(...values) < 2) still.push(sample);
    const name = `replication_${sample.replace(/\{.*/, "")}`;
    const own = [...sample.matchAll(/(\w+)="/g)].map(([, label = ""]) => label);
    labels.set(name, new Set([...(labels.get(name) ?? []), ...own]));
  }
  expect(still).toEqual([]);
  const shown = [...labels].map(([name, own]): [string, string[]] => [name, [...own].sort()]);
  const told = [...documented()].map(([name, own]): [string, string[]] => [name, own.sort()]);
  expect(shown.sort()).toEqual(told.sort());
  for (const { page } of [a, b])
    for (const [name] of told) {
      expect(page.text).toMatch(new RegExp(`^# HELP annals_${name} [A-Z0-9].{5}`, "m"));
      const type = name.endsWith("_total") ? "counter" : "gauge";
      expect(page.text).toContain(`# TYPE annals_${name} ${type}\n`);
    }
});
