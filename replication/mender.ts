/**
 * Has damaged segments of this node's log again from a node that follows or leads the same log: whichever of them can be reached and has
 * the records. What arrives proves itself by the own chain, so it does not matter whose it is; the log verifies it and puts it in place.
 */
import type { MendedSegments, Offset, SegmentMending } from "../log/index.js";
import { Borrowing } from "./borrowing.js";
import { ReplicationError } from "./errors.js";
import { linkErrorOf } from "./link-error.js";
import type { LinkContext } from "./link-ports.js";
import { type Address, describeAddress, type Network } from "./ports.js";
import type { Position } from "./position.js";
import { isSameAddress } from "./reachable.js";
import * as refusals from "./refusals.js";

export interface MenderOptions {
  readonly network: Network;
  readonly link: LinkContext;
  /** Whom to ask, in this order; the first is the node that is followed. */
  readonly lenders: () => readonly Address[];
}

export interface Mended extends MendedSegments {
  /** Who lent the records, for people. */
  readonly from: string;
}

export class Mender {
  readonly #options: MenderOptions;
  #borrowing: Borrowing | undefined;
  #stopped = false;
  /** Whoever waits for a greeting waits no longer. */
  #giveUp: () => void = () => undefined;

  constructor(options: MenderOptions) {
    this.#options = options;
  }

  /** @throws ReplicationError why none of them could help; what the log refuses with has the words of a link. */
  async mend(begin: () => SegmentMending): Promise<Mended> {
    const refused: ReplicationError[] = [];
    for (const address of this.#lenders()) {
      if (this.#stopped) break;
      const mending = begin();
      try {
        const from = await this.#conversation(address, async (borrowing) => {
          const { first, last } = mending.target;
          await borrowing.fetch(first, last, (run) => mending.receive(run));
          return borrowing.from;
        });
        return { ...(await mending.finish()), from };
      } catch (error) {
        refused.push(namely(address, linkErrorOf(error)));
      } finally {
        await mending.abandon();
      }
    }
    throw this.#stopped ? refusals.stopping() : together(refused);
  }

  /** Where the records end on the disk of the node that is followed. @throws ReplicationError. */
  async endThere(first: Offset, last: Offset): Promise<Position> {
    const [address] = this.#lenders();
    if (address === undefined || this.#stopped) throw refusals.noLender();
    return await this.#conversation(address, (borrowing) => borrowing.check(first, last));
  }

  /** Ends what is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#giveUp();
    await this.#borrowing?.close(refusals.stopping());
  }

  async #conversation<T>(address: Address, talk: (borrowing: Borrowing) => Promise<T>): Promise<T> {
    const { network, link: context } = this.#options;
    const borrowing = await this.#unlessStopped(Borrowing.open({ address, network, context }));
    this.#borrowing = borrowing;
    try {
      if (this.#stopped) throw refusals.stopping();
      return await talk(borrowing);
    } finally {
      this.#borrowing = undefined;
      await borrowing.close();
    }
  }

  /** With a promise of its own to lose to: one that outlives the race would hold whoever won it, and so every conversation there ever was. */
  async #unlessStopped(opening: Promise<Borrowing>): Promise<Borrowing> {
    const stopped = new Promise<never>((_, reject) => {
      this.#giveUp = () => reject(refusals.stopping());
    });
    try {
      return await Promise.race([opening, stopped]);
    } catch (error) {
      void opening.then(
        (late) => late.close(),
        () => undefined,
      );
      throw error;
    } finally {
      this.#giveUp = () => undefined;
    }
  }

  #lenders(): Address[] {
    const lenders: Address[] = [];
    for (const address of this.#options.lenders())
      if (!lenders.some((known) => isSameAddress(known, address))) lenders.push(address);
    return lenders;
  }
}

/** What is damaged everywhere has to be known before what could not be asked, and that before what nobody keeps any more. */
function together(refused: readonly ReplicationError[]): ReplicationError {
  const isRetired = ({ code }: ReplicationError): boolean => code === "REPLICATION_RECORDS_RETIRED";
  const worst =
    refused.find(({ code }) => code === "REPLICATION_LOG_DAMAGED") ??
    refused.find((error) => !isRetired(error)) ??
    refused[0];
  if (worst === undefined) return refusals.noLender();
  const message = refused.map((error) => error.message).join("; ");
  const advice = isRetired(worst) ? `; nobody keeps these records any more: ${RESYNC}` : "";
  return new ReplicationError(worst.code, `${message}${advice}`, worst.context, worst);
}

const RESYNC = "`annals resync` has everything fetched anew";

const namely = (address: Address, error: ReplicationError): ReplicationError =>
  new ReplicationError(error.code, `${describeAddress(address)}: ${error.message}`, error.context, error);
