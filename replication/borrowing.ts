/**
 * A short conversation with a node that has what this one's disk has lost, or may have lost: records of sealed segments, and where they end
 * there. Nothing of it is believed here: whoever takes the records verifies them against the own chain.
 */
import type { Offset } from "../log/index.js";
import { ReplicationError } from "./errors.js";
import { DialledGreeting } from "./greeting.js";
import type { LinkContext } from "./link-ports.js";
import type { Message, Run } from "./messages.js";
import type { Address, Clock, Network } from "./ports.js";
import type { Position } from "./position.js";
import { ANSWER_MS_MAX, Session, type SessionOwner, unexpected } from "./session.js";

export interface BorrowingOptions {
  readonly address: Address;
  readonly network: Network;
  readonly context: LinkContext;
}

type Wanted =
  | {
      readonly type: "runs";
      take(run: Run): Promise<void>;
      resolve(): void;
      reject(reason: ReplicationError): void;
    }
  | { readonly type: "end"; resolve(end: Position): void; reject(reason: ReplicationError): void };

export class Borrowing implements SessionOwner {
  readonly #session: Session;
  readonly #clock: Clock;
  #wanted: Wanted | undefined;
  #cancelDeadline: () => void = () => undefined;

  private constructor(session: Session, clock: Clock) {
    this.#session = session;
    this.#clock = clock;
  }

  /** Resolves when the other node has greeted. @throws ReplicationError, any code that a link can end with. */
  static open({ address, network, context }: BorrowingOptions): Promise<Borrowing> {
    return new Promise((resolve, reject) => {
      const greeting = new DialledGreeting(
        context,
        { purpose: "fetch", resync: false },
        () => {
          const borrowing = new Borrowing(session, context.clock);
          resolve(borrowing);
          return borrowing;
        },
        reject,
      );
      const session = new Session(context, greeting);
      greeting.begin(session);
      session.attach(network.connect(address, session), false);
    });
  }

  get from(): string {
    const { name } = this.#session.other.node;
    return `${name} (${this.#session.remote})`;
  }

  /** One at a time. Each run is taken before the next is read; what `take` fails with ends the conversation, and is thrown. */
  fetch(first: Offset, last: Offset, take: (run: Run) => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#ask({ type: "fetch", first, last }, { type: "runs", take, resolve, reject }),
    );
  }

  /** Where those records end on the other's disk. @throws ReplicationError REPLICATION_LOG_DAMAGED when it is damaged there. */
  check(first: Offset, last: Offset): Promise<Position> {
    return new Promise((resolve, reject) =>
      this.#ask({ type: "check", first, last }, { type: "end", resolve, reject }),
    );
  }

  /** Resolves when nothing that came is acted upon any more. */
  async close(reason = new ReplicationError("REPLICATION_STOPPING", "everything is fetched")): Promise<void> {
    this.#session.end(reason);
    await this.#session.idle();
  }

  message(message: Message): undefined | Promise<void> {
    const wanted = this.#wanted;
    switch (message.type) {
      case "heartbeat":
        return undefined;
      case "run":
        if (wanted?.type !== "runs") break;
        this.#expectSoon();
        return wanted.take(message);
      case "fetched":
        if (wanted?.type !== "runs") break;
        this.#done();
        wanted.resolve();
        return undefined;
      case "checked":
        if (wanted?.type !== "end") break;
        this.#done();
        wanted.resolve(message.end);
        return undefined;
      default:
        break;
    }
    throw unexpected(message.type, "a fetch");
  }

  ended(reason: ReplicationError): void {
    this.#wanted?.reject(reason);
    this.#done();
  }

  #done(): void {
    this.#wanted = undefined;
    this.#cancelDeadline();
  }

  #expectSoon(): void {
    this.#cancelDeadline();
    this.#cancelDeadline = this.#clock.after(ANSWER_MS_MAX, () => {
      const words = `no answer from ${this.from} in ${ANSWER_MS_MAX} ms`;
      this.#session.end(new ReplicationError("REPLICATION_TIMEOUT", words));
    });
  }

  #ask(question: Message, wanted: Wanted): void {
    const { reason } = this.#session;
    if (reason !== undefined) wanted.reject(reason);
    else {
      this.#wanted = wanted;
      this.#expectSoon();
      this.#session.send(question);
    }
  }
}
