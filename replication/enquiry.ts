/** Asking another node where it is and what it has heard of, and fencing it: a short conversation of whoever wants to lead. */
import { ReplicationError } from "./errors.js";
import { DialledGreeting } from "./greeting.js";
import type { Leadership } from "./leadership-order.js";
import type { LinkContext } from "./link-ports.js";
import type { Fenced, Message, NodeStatement } from "./messages.js";
import { type Address, describeAddress, type Network } from "./ports.js";
import { Session, type SessionOwner, unexpected } from "./session.js";

export interface EnquiryOptions {
  readonly address: Address;
  readonly network: Network;
  readonly context: LinkContext;
  /** For the whole conversation. */
  readonly timeoutMs: number;
}

export class Enquiry implements SessionOwner {
  readonly #session: Session;
  readonly #cancelDeadline: () => void;
  #fenced: { resolve(fenced: Fenced): void; reject(reason: ReplicationError): void } | undefined;

  private constructor(session: Session, cancelDeadline: () => void) {
    this.#session = session;
    this.#cancelDeadline = cancelDeadline;
  }

  /**
   * Resolves when the other node has greeted. What it heard of has been heard here, too.
   * @throws ReplicationError, any code that a link can end with.
   */
  static open({ address, network, context, timeoutMs }: EnquiryOptions): Promise<Enquiry> {
    return new Promise((resolve, reject) => {
      const wish = { purpose: "ask", resync: false } as const;
      const greeting = new DialledGreeting(
        context,
        wish,
        () => {
          const enquiry = new Enquiry(session, cancelDeadline);
          resolve(enquiry);
          return enquiry;
        },
        (reason) => {
          cancelDeadline();
          reject(reason);
        },
      );
      const session = new Session(context, greeting);
      const cancelDeadline = context.clock.after(timeoutMs, () =>
        session.end(
          new ReplicationError(
            "REPLICATION_TIMEOUT",
            `no answer from ${describeAddress(address)} in ${timeoutMs} ms`,
            {
              address: describeAddress(address),
              timeoutMs,
            },
          ),
        ),
      );
      greeting.begin(session);
      session.attach(network.connect(address, session), false);
    });
  }

  /** What the other node said of itself when it greeted. */
  get node(): NodeStatement {
    return this.#session.other.node;
  }

  /**
   * From when this resolves the other node acknowledges nothing under a lower leadership, for ever. Says where it is then, and for how long
   * it may still be believed. `asks`: it may refuse; when it does not answer, nobody knows.
   */
  fence(leadership: Leadership, asks = false): Promise<Fenced> {
    return new Promise((resolve, reject) => {
      const { reason } = this.#session;
      if (reason !== undefined) reject(reason);
      else {
        this.#fenced = { resolve, reject };
        this.#session.send({ type: "fence", leadership, ...(asks ? { asks } : {}) });
      }
    });
  }

  close(): void {
    this.#session.end(new ReplicationError("REPLICATION_STOPPING", "everything is asked"));
  }

  message(message: Message): undefined {
    if (message.type === "heartbeat") return;
    const fenced = this.#fenced;
    if (message.type !== "fenced" || fenced === undefined) throw unexpected(message.type, "an enquiry");
    this.#fenced = undefined;
    fenced.resolve(message);
  }

  ended(reason: ReplicationError): void {
    this.#cancelDeadline();
    this.#fenced?.reject(reason);
  }
}
