// A bucket as a store: the contract of every store on our own service, and what only a service can do to its client.
import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { readObject } from "../../ops/backup/object-store.js";
import { openObjectStore } from "../../ops/backup/open-object-store.js";
import { s3Address } from "../../ops/backup/s3-address.js";
import { S3Store } from "../../ops/backup/s3-store.js";
import { describeObjectStore } from "../support/object-store-contract.js";
import { type S3Call, type S3Fault, S3Server } from "../support/s3-server.js";

const LIMITS = { attempts: 5, firstPauseMs: 1, pauseMsMax: 5, timeoutMs: 60_000 };
/** For requests that nobody answers; one that would only have been late is tried again. */
const IMPATIENT = { ...LIMITS, attempts: 50, timeoutMs: 300 };
/** Small, so that objects of the tests have several parts. */
const PART_BYTES = 1000;

let server: S3Server;
beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(() => server.close());

let worlds = 0;
const fresh = (): string => `some where/r-${++worlds}`;
const storeAt = (
  prefix: string,
  overrides: Partial<ConstructorParameters<typeof S3Store>[1]> = {},
): S3Store =>
  new S3Store(server.address(prefix), {
    random: Math.random,
    limits: LIMITS,
    partBytes: PART_BYTES,
    ...overrides,
  });

describeObjectStore("bucket", async () => {
  const prefix = fresh();
  const large = { partBytes: 4_000_000 };
  return {
    store: storeAt(prefix, large),
    other: storeAt(prefix, large),
    dispose: async () => {
      expect(server.badSignatures).toEqual([]);
      expect(server.openUploads).toBe(0);
    },
  };
});

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("a bucket as a store", () => {
  let store: S3Store;
  beforeEach(() => {
    store = storeAt(fresh());
    server.calls.length = 0;
    server.overwritten.length = 0;
  });
  afterEach(() => {
    server.fault = () => undefined;
    server.aheadMs = 0;
    expect(server.badSignatures).toEqual([]);
  });

  const LARGE = Buffer.alloc(10 * PART_BYTES + 17, "0123456789abcdef-");
  const putLarge = (name = "a") => store.put(name, LARGE, { ifAbsent: true, sha256: sha256Of(LARGE) });
  /** Each request of these, the first `times` times that it comes. */
  const failing = (wanted: (call: S3Call) => boolean, fault: S3Fault, times = 1): void => {
    let met = 0;
    server.fault = (call) => (wanted(call) && met++ < times ? fault : undefined);
  };

  it.each<[string, S3Fault]>([
    ["is refused for now", { type: "refuse", status: 503, code: "SlowDown" }],
    ["fails inside", { type: "refuse", status: 500, code: "InternalError" }],
    ["conflicts with another one", { type: "refuse", status: 409, code: "ConditionalRequestConflict" }],
    ["is never answered", { type: "hang" }],
    ["breaks off", { type: "reset" }],
    ["is done, but its answer is lost", { type: "lose-answer" }],
    ["ends with an error after a 200", { type: "error-in-body" }],
    ["is answered slowly", { type: "slow" }],
  ])("puts and gets objects of many parts although every kind of request first %s", async (_, fault) => {
    if (fault.type === "hang") store = storeAt(fresh(), { limits: IMPATIENT });
    const seen = new Set<string>();
    server.fault = ({ method, key, query }) => {
      const kind = `${method} ${key === "" ? "list" : [...query.keys()].join()}`;
      if (seen.has(kind)) return undefined;
      seen.add(kind);
      return fault;
    };
    await putLarge();
    expect(await store.put("small", Buffer.from("s"))).toBe("stored");
    expect(sha256Of(await readObject(store, "a", LARGE.length))).toBe(sha256Of(LARGE));
    expect(await store.head("a")).toEqual({ bytes: LARGE.length });
    const names: string[] = [];
    for await (const { name } of store.list("")) names.push(name);
    expect(names).toEqual(["a", "small"]);
    expect(seen.size).toBeGreaterThan(5);
    expect(server.overwritten).toEqual([]);
  });

  it("reads on where a body was cut off, and never a byte twice", async () => {
    await putLarge();
    let cuts = 0;
    server.fault = ({ method }) =>
      method === "GET" && cuts++ < 12 ? { type: "cut", bytes: 701 } : undefined;
    expect(Buffer.from(await readObject(store, "a", LARGE.length)).equals(LARGE)).toBe(true);
    expect(cuts).toBeGreaterThan(10);
  });

  it("does not read on from an object that took the name meanwhile", async () => {
    await store.put("a", Buffer.alloc(5000, "a"));
    failing(({ method }) => method === "GET", { type: "cut", bytes: 2000 });
    const reading = readObject(store, "a", 10_000);
    const other = storeAt(`some where/r-${worlds}`);
    await new Promise((resolve) => setTimeout(resolve, 0));
    await other.put("a", Buffer.alloc(5000, "b"));
    const read = await reading.catch((error: { code: string }) => error.code);
    const isOne = read instanceof Uint8Array && new Set(read).size === 1;
    expect(isOne || read === "BACKUP_STORE_FAILED").toBe(true);
  });

  it("gives up after so many attempts, and says what, where and why", async () => {
    server.fault = () => ({ type: "refuse", status: 503, code: "SlowDown" });
    const refusal = store.put("a", Buffer.from("x"));
    await expect(refusal).rejects.toMatchObject({ code: "BACKUP_STORE_FAILED" });
    await expect(refusal).rejects.toThrow(/PUT a in s3:\/\/bucket.*5 times: status 503 SlowDown/);
    expect(server.calls).toHaveLength(5);
  });

  it("tries once what no second attempt can mend", async () => {
    const wrong = new S3Store(
      {
        ...server.address("x"),
        credentials: { accessKeyId: "AKIDTEST", secretAccessKey: "wrong", sessionToken: undefined },
      },
      { random: Math.random, limits: LIMITS },
    );
    await expect(wrong.put("a", Buffer.from("x"))).rejects.toThrow(/403 SignatureDoesNotMatch.*credentials/);
    expect(server.calls).toHaveLength(1);
    expect(server.badSignatures.splice(0)).toHaveLength(1);
    const nowhere = new S3Store(
      { ...server.address("x"), bucket: "nowhere" },
      { random: Math.random, limits: LIMITS },
    );
    await expect(nowhere.put("a", Buffer.from("x"))).rejects.toThrow(/NoSuchBucket.*make the bucket/);
  });

  it("leaves no begun upload behind when a part cannot be sent or the source fails", async () => {
    const before = server.openUploads;
    failing(
      ({ query }) => query.get("partNumber") === "4",
      { type: "refuse", status: 500, code: "InternalError" },
      99,
    );
    await expect(putLarge()).rejects.toMatchObject({ code: "BACKUP_STORE_FAILED" });
    server.fault = () => undefined;
    const changed = store.put("b", LARGE, { sha256: sha256Of(Buffer.from("other")) });
    await expect(changed).rejects.toMatchObject({ code: "BACKUP_SOURCE_CHANGED" });
    expect(server.openUploads).toBe(before);
    expect(await store.head("a")).toBe(undefined);
    expect(await store.head("b")).toBe(undefined);
  });

  it("of several that put one absent large object at once exactly one does", async () => {
    // None of them sees another before all have sent their parts.
    const outcomes = await Promise.all(
      [1, 2, 3].map((each) => store.put("a", Buffer.alloc(LARGE.length, each), { ifAbsent: true })),
    );
    expect(outcomes.toSorted()).toEqual(["exists", "exists", "stored"]);
    const kept = await readObject(store, "a", LARGE.length);
    expect(kept.every((byte) => byte === outcomes.indexOf("stored") + 1)).toBe(true);
  });

  it("does not send a large object that is there", async () => {
    await putLarge();
    server.calls.length = 0;
    expect(await putLarge()).toBe("exists");
    expect(server.calls.map(({ method }) => method)).toEqual(["HEAD"]);
  });

  it("ends what is under way when it is let go", async () => {
    server.fault = () => ({ type: "hang" });
    const putting = store.put("a", Buffer.from("x"));
    setTimeout(() => store.close(), 20);
    await expect(putting).rejects.toThrow("was let go");
    await expect(store.head("a")).rejects.toThrow("was let go");
  });

  it("lets nobody have a lock whose holder lives, and anybody one whose holder died", async () => {
    const lease = { renewMs: 10, expireMs: 60_000 };
    const [first, second] = [storeAt("lease", { lease }), storeAt("lease", { lease })];
    const lock = await first.lock("one");
    const renewed = server.calls.length + 3;
    while (server.calls.length < renewed) await new Promise((resolve) => setTimeout(resolve, 5));
    server.aheadMs = 50_000;
    await expect(second.lock("two")).rejects.toMatchObject({ code: "BACKUP_LOCKED" });
    await lock.release();
    // One that ends without a word.
    const dead = await storeAt("lease", { lease: { renewMs: 1e9, expireMs: 60_000 } }).lock("dead");
    await expect(second.lock("two")).rejects.toThrow(/dead/);
    server.aheadMs = 50_000 + 61_000;
    const taken = await second.lock("two");
    await dead.release();
    await expect(first.lock("three")).rejects.toThrow(/two/);
    await taken.release();
    await (await first.lock("three")).release();
  });

  it("gives an owner what its killed process left locked, and nobody else", async () => {
    const lease = { renewMs: 1e9, expireMs: 60_000 };
    const killed = await storeAt("owned", { lease }).lock("killed", "a0");
    await expect(storeAt("owned", { lease }).lock("other", "b1")).rejects.toThrow(/killed/);
    await expect(storeAt("owned", { lease }).lock("nobody")).rejects.toThrow(/killed/);
    const next = await storeAt("owned", { lease }).lock("next", "a0");
    await killed.release();
    await expect(storeAt("owned", { lease }).lock("other")).rejects.toThrow(/next/);
    await next.release();
    expect(await storeAt("owned").head("LOCK")).toBe(undefined);
  });

  it("has its lock also when the answer to taking it was lost", async () => {
    failing(({ key, method }) => key.endsWith("LOCK") && method === "PUT", { type: "lose-answer" });
    const lock = await store.lock("one");
    await expect(store.lock("two")).rejects.toMatchObject({ code: "BACKUP_LOCKED" });
    await lock.release();
    expect(await store.head("LOCK")).toBe(undefined);
  });

  it("keeps its lock when no answer to a renewal arrived, and gives it back", async () => {
    const lock = await storeAt("lost", { lease: { renewMs: 10, expireMs: 60_000 } }).lock("one");
    let renewals = 0;
    const isRenewal = ({ method }: S3Call): boolean => method === "PUT" && ++renewals > 0;
    failing(isRenewal, { type: "lose-answer" }, LIMITS.attempts);
    while (renewals < LIMITS.attempts + 3) await new Promise((resolve) => setTimeout(resolve, 5));
    await lock.release();
    expect(await storeAt("lost").head("LOCK")).toBe(undefined);
  });

  it("takes no name that leads out of the repository", async () => {
    for (const name of ["../a", "a/../../b", "/a", "", "a//b", "."])
      await expect(store.put(name, Buffer.from("x"))).rejects.toThrow(RangeError);
  });
});

describe("the address of a bucket", () => {
  const environment = { AWS_ACCESS_KEY_ID: "id", AWS_SECRET_ACCESS_KEY: "key" };

  it("says bucket, prefix, endpoint and region; the environment says what it leaves out", () => {
    expect(s3Address("s3://store/a/b/?endpoint=http://host:9000/&region=r", environment)).toMatchObject({
      bucket: "store",
      prefix: "a/b/",
      endpoint: "http://host:9000",
      region: "r",
    });
    expect(
      s3Address("s3://store", { ...environment, ANNALS_S3_ENDPOINT: "http://e", AWS_REGION: "eu-1" }),
    ).toMatchObject({ prefix: "", endpoint: "http://e", region: "eu-1" });
    expect(s3Address("s3://store", environment).endpoint).toBe("https://s3.us-east-1.amazonaws.com");
    const passedOn = {
      ANNALS_S3_ENDPOINT: "",
      AWS_ENDPOINT_URL: "http://e",
      AWS_REGION: "",
      AWS_DEFAULT_REGION: "r",
    };
    expect(s3Address("s3://store", { ...environment, ...passedOn })).toMatchObject({
      endpoint: "http://e",
      region: "r",
    });
  });

  it.each([
    ["s3://", /expected s3:\/\/bucket/],
    ["s3://store?endpoint=ftp://x", /endpoint/],
    ["s3://store?acl=public", /not acl/],
    ["s3://id:secret@store/x", /environment/],
    ["s3://store/../x%2f..", /\. or \.\./],
  ])("%s is refused with advice", (url, advice) => {
    expect(() => s3Address(url, environment)).toThrow(advice);
    expect(() => s3Address(url, environment)).not.toThrow(/secret/);
  });

  it("needs credentials", async () => {
    await expect(openObjectStore("s3://store/x", {})).rejects.toThrow(/AWS_ACCESS_KEY_ID/);
    expect((await openObjectStore("s3://store/x", environment)).url).toBe("s3://store/x");
  });
});
