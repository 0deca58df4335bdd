/**
 * Replication between real servers that join under load, whose links are cut, slowed and silenced, and whose primaries are killed, stopped
 * and cut off; and what a replica costs that is stopped. A few rounds in the suite; ANNALS_PROPS_FACTOR=50 makes 100 joins, 50 cuts of 1 to 20 s and 50 promotions.
 */
import { afterEach, describe, expect, it } from "vitest";
import { TcpProxy } from "../../ops/demo/tcp-proxy.js";
import { factor, seed, seededRandom } from "../../props/run-settings.js";
import { BREAKER_FAILURES_MAX } from "../../replication/breaker.js";
import { ResidentMemory } from "../support/hostile-peers.js";
import { errorCodeOf } from "../support/http-client.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { checkSet } from "../support/set-checks.js";
import { LOSSES, type Loss, ProxiedSet, promoteOneOf, QUICK, rounds } from "../support/set-faults.js";
import { SetHistory } from "../support/set-history.js";
import { SetLoad } from "../support/set-load.js";
import { endOf, expectOne, hasAll, listed, sleep, until } from "../support/set-waits.js";

const random = seededRandom(seed);
const isLong = factor > 1;
const LONG = { timeout: 180_000 * Math.max(1, factor) };
/** A long run is not to be one of memory and disk. */
const PACE = isLong ? { pauseMs: 5 } : {};

let set: ReplicaSet;
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  await set.end();
  for (const end of ends.splice(0)) await end();
});

const MIB = 1024 * 1024;
/** The first pause before a replica connects again; each doubles it. */
const RECONNECT_MS = 25;

const tell = (what: object): void => {
  if (isLong) console.log(`${JSON.stringify({ ...what, seed })}`);
};

describe("replication under faults, between processes", () => {
  it("nodes join while the primary is written to", LONG, async () => {
    set = await ReplicaSet.begin();
    const primary = await set.primary("primary");
    const load = new SetLoad(primary, { acks: [0], clients: 4, ...PACE });
    const joins = rounds(2, 100);
    let records = 0;
    for (let join = 1; join <= joins; join += 1) {
      const answered = load.answered.length;
      const all = await endOf(primary);
      const replica = await set.replica(`replica-${join}`, primary, [], QUICK);
      await until("it has what there was", async () => (await endOf(replica)) >= Math.max(all, join + 1));
      records = await expectBeginning(replica, primary);
      await until("writes go on", async () => load.answered.length > answered);
      if (join < joins) await replica.kill();
      else {
        await load.end();
        await hasAll(replica, primary);
        expect(await load.missingOn(replica)).toEqual([]);
        await expectOne(primary, replica);
      }
    }
    expect(records).toBeGreaterThan(joins);
    tell({ joins, answered: load.answered.length, compared: records });
  });

  it(
    "a link is cut, silenced, slowed: nothing confirmed is missing, and the logs are the same; garbled, it is given up",
    LONG,
    async () => {
      set = await ReplicaSet.begin();
      let port = 0;
      const proxy = await TcpProxy.open(() => port);
      ends.push(() => proxy.close());
      // Else a replica that lost it would find its way around the proxy.
      const ANNALS_REPLICATION_ADVERTISED_ADDRESS = `127.0.0.1:${proxy.port}`;
      const primary = await set.primary("primary", [], { ...QUICK, ANNALS_REPLICATION_ADVERTISED_ADDRESS });
      port = primary.replicationPort;
      const ANNALS_REPLICATION_RECONNECT_DELAY_MS = String(RECONNECT_MS);
      const reached = { ...QUICK, ANNALS_REPLICATION_RECONNECT_DELAY_MS };
      const replica = await set.replica("replica", { address: `127.0.0.1:${proxy.port}` }, [], reached);
      await hasAll(replica, primary);
      const history = new SetHistory();
      const load = new SetLoad(primary, { acks: [1], clients: 4, history, ...PACE });
      const kinds = { cut: 0, silence: 0, deaf: 0, slow: 0 };
      // Every third one only slows the link.
      for (let round = 0; round < rounds(3, 75); round += 1) {
        await sleep(isLong ? 500 : 100);
        const how = harm(proxy, round);
        kinds[how] += 1;
        if (how === "slow") await sleep(200 + random() * 300);
        else await cutFor(isLong ? 1000 + random() * 19_000 : 200 + random() * 300, load);
        proxy.heal();
        const before = load.answered.length;
        await until("writes are confirmed again", async () => load.answered.length > before);
      }
      const cuts = kinds.cut + kinds.silence + kinds.deaf;
      expect(cuts).toBeGreaterThanOrEqual(rounds(2, 50));
      await load.end();
      await hasAll(replica, primary);
      expect(await load.missingOn(replica)).toEqual([]);
      const checked = await checkSet([primary, replica], history);
      expect(checked.confirmed).toBe(load.answered.length);
      expect(proxy.connections).toBeGreaterThan(kinds.cut);
      // A long cut is noticed: what was waiting is not confirmed in time.
      if (isLong) expect(load.refused.get("504") ?? 0).toBeGreaterThan(kinds.cut);
      tell({
        cuts,
        kinds,
        connections: proxy.connections,
        ...checked,
        refused: Object.fromEntries(load.refused),
      });
      await expectGivenUp(replica, primary, proxy);
    },
  );

  it(
    "primaries are killed, stopped and cut off, and replaced: none confirms anything after, and they return as replicas",
    LONG,
    async () => {
      set = await ReplicaSet.begin();
      const proxied = await ProxiedSet.of(set, ["one", "two", "three"]);
      ends.push(() => proxied.close());
      const run = new FailOvers(proxied);
      const promotions = rounds(1, 50);
      for (let round = 0; round < promotions; round += 1)
        await run.failOver(LOSSES[(round + seed) % LOSSES.length] ?? "cut");
      const checked = await run.end();
      expect(run.history.promotions).toHaveLength(promotions);
      expect(run.passedOver).toBeGreaterThan(0);
      tell({
        promotions,
        passedOver: run.passedOver,
        kinds: run.kinds,
        longestPromotionMs: Math.max(...run.promotionMs),
        ...checked,
      });
    },
  );
});

/** Its log is the primary's up to where it is, byte for byte. Returns how many records that is. */
async function expectBeginning(replica: SetNode, primary: SetNode): Promise<number> {
  const { offset, crc, lineage_id } = await replica.json("/log/crc");
  expect(await primary.json(`/log/crc?offset=${offset}`)).toMatchObject({ offset, crc, lineage_id });
  return Number(offset);
}

/** The only replica is cut off meanwhile: what was on its way once it has come, nothing is confirmed. */
async function cutFor(ms: number, load: SetLoad): Promise<void> {
  const settlesMs = Math.min(500, ms);
  await sleep(settlesMs);
  const before = load.answered.length;
  await sleep(ms - settlesMs);
  if (isLong) expect(load.answered.length).toBe(before);
}

/** Where what comes is changed again and again the link stays down, and says so, until somebody has looked and resets it. */
async function expectGivenUp(replica: SetNode, primary: SetNode, proxy: TcpProxy): Promise<void> {
  const link = `127.0.0.1:${proxy.port}`;
  const tripped = () => replica.json("/v1/admin/circuit-breakers/tripped");
  const reset = (agent_id: string) => replica.post("/v1/admin/circuit-breaker/reset", { agent_id });
  expect(await tripped()).toEqual({ count: 0, tripped: [] });
  proxy.faults.garbled.add("back");
  proxy.cut();
  await until("the link is given up", async () => (await tripped())["count"] === 1);
  const last_error = expect.stringMatching(/^REPLICATION_/);
  expect(await tripped()).toMatchObject({ tripped: [{ link, failures: BREAKER_FAILURES_MAX, last_error }] });
  expect((await replica.get("/metrics")).text).toContain("annals_replication_breakers_open 1\n");
  proxy.heal();
  expect(errorCodeOf(await reset("127.0.0.1:1"))).toBe("API_LINK_UNKNOWN");
  // The pause that it would have made is over then.
  await sleep(2 ** BREAKER_FAILURES_MAX * RECONNECT_MS);
  expect((await replica.stats())["connected"]).toBe(false);
  expect(JSON.parse((await reset(link)).text)).toEqual({ success: true, reset: 1 });
  await hasAll(replica, primary);
  const written = await primary.client.put("after", "it was looked at", { "x-annals-acks": "1" });
  expect(written.status, written.text).toBeLessThan(300);
  expect(await tripped()).toEqual({ count: 0, tripped: [] });
}

describe("a replica between processes that does not come along", () => {
  it("costs the primary no memory and no write while it is stopped, and is not ready while it is behind", async () => {
    set = await ReplicaSet.begin();
    const ANNALS_LOG_SEGMENT_BYTES = String(8 * MIB);
    const primary = await set.primary("primary", [], { ANNALS_LOG_SEGMENT_BYTES });
    const proxy = await TcpProxy.open(() => primary.replicationPort);
    ends.push(() => proxy.close());
    const replica = await set.replica("replica", primary, [], { ANNALS_REPLICATION_MAX_LAG_MS: "500" });
    // The same keys each time: after the first time state and process have their size.
    await write(primary, 24 * MIB);
    await hasAll(replica, primary);

    replica.signal("SIGSTOP");
    const memory = new ResidentMemory(primary.server.pid);
    // More by far than the system takes in for a process that reads nothing.
    await write(primary, 64 * MIB);
    expect(memory.growth, "what it holds for the replica, and garbage").toBeLessThan(32 * MIB);
    replica.signal("SIGCONT");
    await hasAll(replica, primary);

    // A window each second is all that comes through.
    proxy.faults.delayMs = 500;
    const turned = await replica.post("/api/replication/follow", { address: `127.0.0.1:${proxy.port}` });
    expect(turned.status, turned.text).toBe(200);
    await until("it follows", async () => (await replica.stats())["connected"] === true);
    await write(primary, 4 * MIB);
    await until("it is not ready", async () => {
      const { status, text } = await replica.get("/readyz?verbose");
      return status === 503 && /\d+ ms behind; at most 500/.test(text);
    });
    proxy.heal();
    await hasAll(replica, primary);
    await until("it is ready", async () => (await replica.get("/readyz")).status === 200);
  });
});

/** So many bytes, in large values of few keys; each write is answered well. */
async function write(primary: SetNode, bytes: number): Promise<void> {
  const value = "v".repeat(256 * 1024);
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    for (let written = 0; written < bytes / 4; written += value.length) {
      const { status, text } = await primary.client.put(`large-${writer}`, value);
      expect(status, text).toBeLessThan(300);
    }
  });
  await Promise.all(writers);
}

/** Faults drawn for the proxy, each kind often. */
function harm(proxy: TcpProxy, round: number): "cut" | "silence" | "deaf" | "slow" {
  switch (round % 3) {
    case 0:
      proxy.faults.refuses = true;
      proxy.cut();
      return "cut";
    case 1:
      if (random() < 0.5) {
        proxy.silence("out");
        return "deaf";
      }
      proxy.silence();
      return "silence";
    default:
      Object.assign(proxy.faults, { delayMs: 5, dribbleBytes: 1 + Math.floor(random() * 50) });
      return "slow";
  }
}

/** One fail-over after the other under load, that goes on at the old primary as well. */
class FailOvers {
  readonly #proxied: ProxiedSet;
  readonly #load: SetLoad;
  #primary: SetNode;
  readonly history = new SetHistory();
  readonly kinds: Record<Loss, number> = { kill: 0, pause: 0, cut: 0 };
  readonly promotionMs: number[] = [];
  /** Fail-overs in which one that was behind was refused first. */
  passedOver = 0;

  constructor(proxied: ProxiedSet) {
    const [primary] = proxied.nodes;
    if (primary === undefined) throw new Error("there is no node");
    this.#proxied = proxied;
    this.#primary = primary;
    this.#load = new SetLoad(primary, { acks: [1], clients: 4, history: this.history, ...PACE });
  }

  async failOver(how: Loss): Promise<void> {
    const { history } = this;
    const old = this.#primary;
    // Goes on there: what waits for a confirmation when the network goes must not get one that comes late.
    const behind = new SetLoad(old, { acks: [0, 1, 1], clients: 6, history });
    // One falls behind, and is asked to lead first: what only the other one confirmed would be lost.
    const late = this.#proxied.others(old).at(-1)!;
    this.#proxied.part(late, old);
    const [other] = this.#proxied.others(old);
    await until(
      "one is behind",
      async () => other !== undefined && (await endOf(late)) < (await endOf(other)),
    );
    await sleep(isLong ? 500 : 50);
    const undo = await this.#proxied.lose(old, how);
    this.kinds[how] += 1;
    const refused: string[] = [];
    const since = performance.now();
    this.#primary = await promoteOneOf(this.#proxied.others(old).reverse(), history, refused);
    if (refused.includes("REPLICATION_BETTER_REPLICA")) this.passedOver += 1;
    this.promotionMs.push(Math.round(performance.now() - since));
    this.#load.turnTo(this.#primary);
    const before = this.#load.answered.length;
    await until("the new one is written to", async () => this.#load.answered.length > before + 4);
    await undo();
    this.#proxied.heal();
    await this.#returns(old);
    await behind.end();
    await listed(this.#proxied.others(this.#primary), this.#primary);
  }

  /** From the moment that it says what it has heard, nothing that is sent to it may be acknowledged under the old leadership. */
  async #returns(old: SetNode): Promise<void> {
    const begun = this.history.promotions.at(-1);
    await until(`${old.name} follows`, async () => {
      const { fenced, role } = await old.stats();
      if (begun !== undefined && (fenced !== null || role === "replica")) this.history.heard(old.name, begun);
      return role === "replica";
    });
  }

  async end() {
    await this.#load.end();
    const replicas = this.#proxied.others(this.#primary);
    for (const replica of replicas) await hasAll(replica, this.#primary);
    for (const node of this.#proxied.nodes) expect(await this.#load.missingOn(node)).toEqual([]);
    const checked = await checkSet([this.#primary, ...replicas], this.history);
    expect(checked.confirmed).toBeGreaterThan(0);
    return checked;
  }
}
