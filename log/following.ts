/**
 * The other mode of a log: its records come from another log, not from this node. Knows whether it is on, what arrives next, and the
 * mark of it in the directory.
 *
 * The mark `following.json` is durable before the first record of another node is written, and goes when this node's own epoch is
 * durable. While it is there `unsynced` proves nothing, also in segments that carry this node's id: it may have got its own old
 * records back from somebody else, and what it says of the disk was true at another time. What was durable before is known by the
 * recovery point, which is noted first.
 */
import { markFollowing, unmarkFollowing } from "./data-directory.js";
import { raiseDirectoryFormat } from "./directory-format.js";
import { LogError } from "./errors.js";
import type { FileSystem } from "./file-system.js";
import { Reception } from "./reception.js";
import type { SegmentList } from "./segment-list.js";
import type { TailWriter } from "./tail-writer.js";

export interface FollowingOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly clusterId: string;
  readonly now: () => number;
  readonly segments: SegmentList;
  readonly tail: TailWriter;
  /** Notes the recovery point. */
  readonly note: () => Promise<void>;
  /** The directory carries the mark. */
  readonly isMarked: boolean;
}

export class Following {
  readonly #options: FollowingOptions;
  #isMarked: boolean;
  #refusal: LogError | undefined;
  #reception: Reception | undefined;

  constructor(options: FollowingOptions) {
    this.#options = options;
    this.#isMarked = options.isMarked;
  }

  /** Why the log takes no appends, while it follows. */
  get refusal(): LogError | undefined {
    return this.#refusal;
  }

  /** True from the first step of following until this node's own epoch is durable. */
  get isMarked(): boolean {
    return this.#isMarked;
  }

  /** From now on the log follows; it receives when `settle` is done. */
  begin(): void {
    this.#refusal = followingError();
  }

  /** Makes what is there durable, and the log ready to receive. Only while nothing is written. */
  async settle(): Promise<void> {
    const { files, dataDirectory, now, tail, note } = this.#options;
    await tail.sync();
    tail.adopt();
    await note();
    if (!this.#isMarked) {
      // An earlier release would append to the other node's epoch.
      await raiseDirectoryFormat(files, dataDirectory);
      await markFollowing(files, dataDirectory, now());
    }
    this.#isMarked = true;
    this.#receiveAtEnd();
  }

  /** What arrives is checked by this. @throws LogError LOG_NOT_FOLLOWING, LOG_BUSY before it is ready. */
  get reception(): Reception {
    if (this.#refusal === undefined) throw notFollowing();
    if (this.#reception === undefined) throw notYet();
    return this.#reception;
  }

  /** The log was cut. */
  cut(): void {
    if (this.#reception !== undefined) this.#receiveAtEnd();
  }

  /** From now on the log takes appends again. */
  end(): void {
    this.#refusal = undefined;
    this.#reception = undefined;
  }

  /** This node's own epoch is durable. Nothing happens if the log follows again by now. */
  async unmark(): Promise<void> {
    if (this.#refusal !== undefined) return;
    const { files, dataDirectory } = this.#options;
    await unmarkFollowing(files, dataDirectory);
    this.#isMarked = false;
  }

  #receiveAtEnd(): void {
    const { segments, tail, clusterId } = this.#options;
    const { header, base } = segments.tail;
    const before = segments.all().at(-2)?.header;
    this.#reception = new Reception(
      clusterId,
      { header, before, isEmpty: base === tail.next.offset },
      tail.next,
    );
  }
}

function followingError(): LogError {
  return new LogError("LOG_FOLLOWING", "this log follows another one: it takes no records of its own");
}

function notFollowing(): LogError {
  return new LogError("LOG_NOT_FOLLOWING", "records were received, but this log follows no other");
}

function notYet(): LogError {
  return new LogError("LOG_BUSY", "the log is not ready yet to follow another one; try again shortly");
}
