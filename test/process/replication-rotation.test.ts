/** Another shared secret between real servers, told to one after the other while all of them run and take writes. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { ReplicaSet, type SetNode, switchedOver } from "../support/replica-set.js";
import { expectOne, hasAll, listed, until } from "../support/set-waits.js";

const OLDER = "the word of before";
const NEWER = "b3BlbiBzZXNhbWUs\nb3BlbiE=";
const READ_AGAIN = "secrets read again, for new connections";

let set: ReplicaSet;
afterEach(() => set.end());

const fileOf = (name: string): string => join(set.directory, `${name}.secret`);
const put = (name: string, ...secrets: string[]): void =>
  writeFileSync(fileOf(name), `${secrets.join("\n\n")}\n`);

const environment = (name: string) => ({
  ANNALS_REPLICATION_SECRET_FILE: fileOf(name),
  ANNALS_REPLICATION_CHECK_INTERVAL_SECS: "1",
});

const times = (node: SetNode, words: string): number => node.output.split(words).length - 1;

/** Puts these secrets into the node's file, and waits until it has read them. */
async function told(node: SetNode, ...secrets: string[]): Promise<void> {
  const before = times(node, READ_AGAIN);
  put(node.name, ...secrets);
  node.signal("SIGHUP");
  await until(`${node.name} has read its secrets`, async () => times(node, READ_AGAIN) > before);
}

/** Writes, each confirmed by two replicas, one after the other until it is ended. */
class Writer {
  readonly statuses: number[] = [];
  #ends = false;
  readonly #done: Promise<void>;

  constructor(primary: SetNode) {
    this.#done = (async () => {
      while (!this.#ends) {
        const key = `key-${this.statuses.length}`;
        this.statuses.push((await primary.client.put(key, key, { "x-annals-acks": "2" })).status);
      }
    })();
    // A test that fails before does not ask.
    this.#done.catch(() => undefined);
  }

  async end(): Promise<void> {
    this.#ends = true;
    await this.#done;
  }
}

describe("the secret of a set", () => {
  it("gives way to another one, node after node, while no node stops and no write is lost", async () => {
    set = await ReplicaSet.begin();
    const names = ["one", "two", "three", "late"];
    for (const name of names) put(name, OLDER);
    const one = await set.primary("one", [], environment("one"));
    const two = await set.replica("two", one, [], environment("two"));
    const three = await set.replica("three", one, [], environment("three"));
    const nodes = [one, two, three];
    await listed([two, three], one);
    const writer = new Writer(one);
    /** Over new connections, for those that there are go on while their secret is known. */
    const anew = async (): Promise<void> => {
      for (const replica of [two, three]) {
        expect((await replica.post("/api/replication/follow", { address: one.address })).status).toBe(200);
        await until(`${replica.name} follows`, async () => (await replica.stats())["connected"] === true);
      }
    };
    for (const node of [two, one, three]) {
      await told(node, NEWER, OLDER);
      if (node !== three) await anew();
    }
    expect(one.output).toContain("three does not know the first of this node's secrets, but a further one");
    const ended = (node: SetNode): boolean => node.output.includes("REPLICATION_SECRET_RETIRED");
    for (const node of [three, one, two]) {
      await told(node, NEWER);
      await until("links of before are over", async () => ended(three));
      await anew();
    }
    expect([one, two, three].map(ended), "only that link began with the older one").toEqual([
      true,
      false,
      true,
    ]);
    await writer.end();
    expect(writer.statuses.filter((status) => status >= 300)).toEqual([]);
    expect(writer.statuses.length).toBeGreaterThan(10);
    await Promise.all([hasAll(two, one), hasAll(three, one)]);
    await expectOne(...nodes);
    for (const node of nodes)
      for (let at = 0; at < writer.statuses.length; at += 1)
        expect((await node.get(`/kv/key-${at}`)).text).toBe(`key-${at}`);
    expect(nodes.filter(({ output }) => output.includes("REPLICATION_SECRET_WRONG"))).toEqual([]);

    const late = await set.replica("late", one, [], environment("late"));
    for (const node of [late, one])
      await until("the older one is refused", async () => node.output.includes("REPLICATION_SECRET_WRONG"));
    expect(await late.stats()).toMatchObject({ connected: false, replica_offset: 0 });
    // Also who wants to lead asks with the newer one.
    await switchedOver(one, "two");
    await Promise.all([hasAll(one, two), hasAll(three, two)]);
    for (const { output } of [...nodes, late])
      expect(output.includes(OLDER) || output.includes("b3BlbiE=")).toBe(false);
  });

  it("stays what it was where the file does not do, and the log says why", async () => {
    set = await ReplicaSet.begin();
    for (const name of ["one", "two"]) put(name, OLDER);
    const one = await set.primary("one", [], environment("one"));
    for (const text of [NEWER, `${NEWER}\n${OLDER}`, ""]) {
      const words = "the secrets could not be read again; those of before go on";
      const before = times(one, words);
      put("one", text);
      one.signal("SIGHUP");
      await until("it says so", async () => times(one, words) > before);
    }
    expect(one.output).toContain("holds no secret of before");
    expect(one.output).toContain("the secret is empty (replication.secret_file)");
    await hasAll(await set.replica("two", one, [], environment("two")), one);
    expect(one.output.includes(OLDER) || one.output.includes("b3BlbiE=")).toBe(false);
  });
});
