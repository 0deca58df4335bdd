/**
 * Looks around in the set now and then. A primary that was cut off hears that way that it was replaced, a new one tells those that it
 * cannot see, and a replica whose primary is gone finds the new one. Whoever is fenced, or has lost its primary, follows the new one by
 * itself once it knows where that is – if the settings let it. Who gave its lead up, and finds that it was not taken, takes it back.
 */
import { isHigher } from "./leadership-order.js";
import type { LocalNode } from "./local-node.js";
import { type Address, type Clock, describeAddress, type ReplicationLogger } from "./ports.js";
import { isSameAddress } from "./reachable.js";
import type { ReplicationSettings } from "./settings.js";
import type { Upstream } from "./upstream.js";

export interface SeekerOptions {
  readonly settings: ReplicationSettings;
  readonly clock: Clock;
  readonly logger: ReplicationLogger;
  readonly local: LocalNode;
  /** Asks those nodes of the set that are not connected with this one. */
  readonly ask: () => Promise<unknown>;
  readonly upstream: () => Upstream | undefined;
  /** A change of the role is under way. */
  readonly isChanging: () => boolean;
  readonly follow: (address: Address) => Promise<void>;
  /** Leads again, if it gave its lead up to a node that does not lead. */
  readonly takeBack: () => Promise<void>;
}

export class Seeker {
  readonly #options: SeekerOptions;
  #cancel: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  #stopped = false;

  constructor(options: SeekerOptions) {
    this.#options = options;
  }

  /** Resolves when nobody is being asked any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#looking;
  }

  /** The next look comes after so long, or sooner if that is what the settings say of reconnecting; later ones as they say. */
  lookIn(ms: number): void {
    const { clock, settings } = this.#options;
    if (this.#stopped) return;
    this.#cancel?.();
    this.#cancel = clock.after(Math.min(ms, settings.reconnectDelayMs), () => {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
        this.lookIn(settings.reconnectDelayMs);
      });
    });
  }

  /** Follows the primary that was heard of, if this node has none, or one that was replaced, or that follows this node. */
  consider(): void {
    const { settings, logger, local, isChanging, follow, upstream } = this.#options;
    const { primary } = local.leadership;
    const listen = primary?.listen;
    if (!settings.rejoin || this.#stopped || isChanging() || listen === undefined) return;
    const isLost = isHigher(local.heard, local.own) || upstream()?.isBelow === true;
    if (primary?.nodeId === local.nodeId || !isLost) return;
    if (!this.#mayTurnTo(listen)) return;
    const words = describeAddress(listen);
    logger.warn({ primary: words }, `this node follows ${words} from now on`);
    follow(listen).catch((error: unknown) =>
      logger.error({ err: error }, `this node could not turn to ${words}`),
    );
  }

  async #look(): Promise<void> {
    const { local, upstream, ask, isChanging, takeBack } = this.#options;
    if (!isChanging() && (local.leads || upstream()?.node === undefined)) await ask();
    this.consider();
    if (!isChanging()) await takeBack();
  }

  #mayTurnTo(listen: Address): boolean {
    const { local, settings } = this.#options;
    if (local.leads) return local.role === "master" && local.isFenced;
    const upstream = this.#options.upstream();
    if (upstream === undefined || isSameAddress(upstream.address, listen)) return false;
    if (upstream.isBelow) return true;
    // What it learns while it greets is known when that is over.
    if (upstream.progress.phase === "greeting") return false;
    const { node, isFedByReplica } = upstream;
    // Whoever feeds this node without leading will get there itself, if it can.
    if (isFedByReplica) return upstream.lateForMs >= settings.replicaTimeoutMs;
    return node === undefined || (node.primary?.nodeId === node.nodeId && isHigher(local.heard, node.own));
  }
}
