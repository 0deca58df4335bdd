/**
 * Makes a log openable again that is damaged, of a node that follows: asks what is to be done about what was found, has it done, tries to
 * open, until the log is open or nothing of it is left. What cannot be done now is tried again, for as long as it takes; an operator
 * may have everything fetched anew instead.
 */
import { type DamagedDirectory, describeFinding, type Finding } from "../log/index.js";
import { backoffMs } from "./backoff.js";
import { ReplicationError } from "./errors.js";
import type { ReplicationHost } from "./host.js";
import type { KnownDamage } from "./known-damage.js";
import { linkErrorOf } from "./link-error.js";
import type { Mender } from "./mender.js";
import type { Clock, Random, ReplicationLogger } from "./ports.js";

export interface OpeningOptions {
  readonly host: ReplicationHost;
  readonly mender: Mender;
  readonly known: KnownDamage;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: ReplicationLogger;
  readonly retryMs: number;
  /** Notes durably that this node lacks records that it may have confirmed. */
  readonly owe: () => Promise<void>;
}

export class Opening {
  readonly #options: OpeningOptions;
  #wake: (() => void) | undefined;
  #ending: "stopped" | "resync" | undefined;
  /** What the opening waits for, in words. */
  waitsFor = "";

  constructor(options: OpeningOptions) {
    this.#options = options;
  }

  /** Ends it, also while it waits. With "resync" everything is to be fetched anew. False: it is ending. */
  end(how: "stopped" | "resync"): boolean {
    if (this.#ending !== undefined) return false;
    this.#ending = how;
    this.#wake?.();
    return true;
  }

  async run(): Promise<"open" | "stopped" | "resync"> {
    const { host, logger } = this.#options;
    let before = "";
    for (let failures = 0; this.#ending === undefined; ) {
      const finding = host.damage;
      if (finding === undefined) return "open";
      const words = describeFinding(finding);
      this.waitsFor = words;
      try {
        if (words === before) throw notMendable(words);
        await this.#withDirectory((directory) => this.#treat(directory, finding));
        // Found again it was no remedy, whatever it did.
        before = words;
        if (this.#ending === undefined) await host.reopen();
        failures = 0;
      } catch (error) {
        const { code, message } = linkErrorOf(error);
        if (code === "REPLICATION_CUT_TOO_DEEP") return "resync";
        this.waitsFor = `${words}; ${message}`;
        logger.error(
          { code, file: finding.file, offset: finding.offset },
          `this node's log is damaged and cannot be mended yet: ${this.waitsFor}`,
        );
        failures++;
        before = "";
        await this.#wait(failures);
      }
    }
    return this.#ending;
  }

  async #withDirectory(treat: (directory: DamagedDirectory) => Promise<void>): Promise<void> {
    const directory = await this.#options.host.openDamaged();
    try {
      await treat(directory);
    } finally {
      await directory.close();
    }
  }

  async #treat(directory: DamagedDirectory, finding: Finding): Promise<void> {
    const { host, mender, known, logger, owe } = this.#options;
    const remedy = await directory.remedy(finding);
    const words = describeFinding(finding);
    switch (remedy.type) {
      case "fetch": {
        const mended = await mender.mend(() => directory.mend(remedy.target));
        known.mended(mended);
        const { first, last, from } = mended;
        const kept = mended.quarantined.map(({ file }) => file);
        logger.error(
          { first, last, from, kept },
          `damage was mended with the records ${first} to ${last} of ${from}: ${words}`,
        );
        return;
      }
      case "cut":
        // Durable before anything is cut: who forgot it could be promoted without what it confirmed.
        await owe();
        await host.prepareCut(remedy.last);
        await directory.cut(remedy);
        known.cut();
        logger.error(
          { last: remedy.last },
          `the damaged end of the log was put aside; what comes after offset ${remedy.last} is fetched again: ${words}`,
        );
        return;
      case "none":
        throw notMendable(words);
    }
  }

  async #wait(failures: number): Promise<void> {
    const { clock, random, retryMs } = this.#options;
    if (this.#ending !== undefined) return;
    await new Promise<void>((resolve) => {
      const cancel = clock.after(backoffMs(retryMs, failures, random.unit()), resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

const notMendable = (words: string): ReplicationError =>
  new ReplicationError(
    "REPLICATION_LOG_DAMAGED",
    "this cannot be mended segment by segment: have everything fetched anew (annals resync); what is here is kept under diverged/",
    { words },
  );
