/**
 * How a node wins a leadership, before its epoch begins. Every other node of the set is asked where it is; then each keeps durably that
 * nothing below the new leadership is confirmed any more, and tells its end. What was ever confirmed by a replica is on one of them, so
 * when all have answered and none has more than this node, nothing that was confirmed is lost.
 *
 * The answer of the node that wrote the newest epoch of this log is not needed: it is the one that is replaced, and it confirmed its own
 * writes by the others. It is fenced if it can be reached.
 *
 * First everybody is asked, and only then fenced: a promotion that is refused for what the others said has changed nothing.
 *
 * In a switchover the lead is given: the node that has it must have given it up, durably, before anything else is done, and does so only
 * while it holds its writes for the candidate. So what it answers after a switchover that came to nothing is never lost, whatever
 * messages were lost or late.
 */
import { epoch as asEpoch, type EpochEntry, type EventLog, type Offset } from "../log/index.js";
import { Enquiry } from "./enquiry.js";
import { ReplicationError } from "./errors.js";
import { compareLeaderships, describeLeadership, isHigher, type Leadership } from "./leadership-order.js";
import { LEASE_OVER_MS } from "./lease.js";
import { linkErrorOf } from "./link-error.js";
import type { LinkContext } from "./link-ports.js";
import { describe, type LocalNode } from "./local-node.js";
import type { NodeStatement, PeerNote } from "./messages.js";
import { sleep } from "./pace.js";
import { describeAddress, type Network } from "./ports.js";
import { describePosition, type KnownEnd, type Position } from "./position.js";
import type { PromotionAnswer, PromotionReport } from "./promotion-report.js";

/** For everybody to greet; a promotion is over within two seconds. */
const SURVEY_MS = 700;
/** For the whole conversation with one node. */
const CONVERSATION_MS = 1_600;
/** For those that did not greet in time, once the others are fenced. */
const LATE_MS = 200;
const LINEAGE_BYTES = 16;
const EPOCH_MAX = 0xffff_ffff;

export interface PromotionContext {
  readonly local: LocalNode;
  readonly network: Network;
  readonly link: LinkContext;
}

export interface Won {
  readonly leadership: Leadership;
  readonly answers: readonly PromotionAnswer[];
  readonly warnings: readonly string[];
  /** From there on the own log was read before. */
  readonly verifiedFrom: Offset | undefined;
  /** The end of the node that is replaced, as it was last heard of. */
  readonly oldEnd: Offset | undefined;
  readonly recordsLost: number;
  readonly tookMs: number;
}

/** What a node may be told that is to lead. */
export interface PromoteOptions {
  /** Also when not all can be reached, or one has more. */
  readonly force?: boolean;
  /** The node that gives the lead up for this one: that it did is what this promotion waits for. */
  readonly from?: string | undefined;
  /** Told what it will lead under, before anybody else hears of that. */
  readonly tries?: ((leadership: Leadership) => void) | undefined;
}

/** Who wants to lead, and how. */
export interface Candidacy extends PromoteOptions {
  readonly log: EventLog;
  /** Reads the own log while the others are asked. */
  readonly verify: () => Promise<Offset | undefined>;
  /** The end of the node that this one followed. */
  readonly followed: KnownEnd | undefined;
}

/** One node of the set, as it is asked. */
interface Asked {
  readonly node: PeerNote;
  readonly wasPrimary: boolean;
  readonly opening: Promise<Enquiry>;
  enquiry: Enquiry | undefined;
  /** What it said last. */
  said: NodeStatement | undefined;
  fenced: boolean;
  /** By the stopwatch: until then what it acknowledged before may count at the one that it followed. */
  leasedUntil: number;
  error: ReplicationError | undefined;
  /** The promotion is over, however it ended: who answers now is asked nothing more. */
  isOver: boolean;
}

/** For one question, of a node that does not have to be there. */
export const ASK_MS = 1_000;

/**
 * Asks the nodes of the set for what they have heard of; all of it is heard here, too, and they hear what this one has. Returns how many
 * could be reached.
 */
export async function askAround(
  context: PromotionContext,
  isAsked: (nodeId: string) => boolean = () => true,
): Promise<number> {
  const asked = context.local.list.others.filter(({ nodeId }) => isAsked(nodeId));
  const reached = await Promise.all(
    asked.map(async (node) => {
      try {
        const enquiry = await openEnquiry(context, node, ASK_MS);
        context.local.learnPrimary(enquiry.node, node.listen?.host);
        enquiry.close();
        return true;
      } catch (error) {
        linkErrorOf(error);
        return false;
      }
    }),
  );
  return reached.filter(Boolean).length;
}

/**
 * @throws ReplicationError REPLICATION_NOT_ALL_REACHED, REPLICATION_BETTER_REPLICA (both only without `force`), REPLICATION_FENCED,
 * REPLICATION_LOG_DAMAGED, REPLICATION_LOG_FAILED.
 */
export async function winLeadership(
  context: PromotionContext,
  { log, force = false, from, tries, verify, followed }: Candidacy,
): Promise<Won> {
  const { local, link } = context;
  const since = link.clock.stopwatch();
  const before = local.heard;
  const end = await endOf(log);
  if (!force) mustBeListed(local);
  const writer = log.epochs[log.epochs.length - 1]?.nodeId;
  const asked = local.list.others.map((node) => ask(context, node, node.nodeId === writer));
  const giver = asked.find(({ node }) => node.nodeId === from);
  try {
    const verifying = verify();
    await Promise.all([verifying, within(link, SURVEY_MS, Promise.all(asked.map(greeted)))]);
    const verifiedFrom = await verifying;
    if (!force) {
      judge(asked, end, (each) => each.said !== undefined, "reached", "nothing was changed");
      if (isHigher(local.heard, before)) throw outbid(before, local, "nothing was changed");
    }
    const leadership = nextLeadership(local, link);
    if (from !== undefined) await given(context, giver, leadership);
    tries?.(leadership);
    await local.leadership.raise(leadership, "its own promotion");
    const others = asked.filter((each) => each !== giver);
    await fenceAll(context, others, leadership);
    if (isHigher(local.heard, leadership)) throw outbid(leadership, local, fencedSoFar(asked));
    if (!force) judge(asked, end, (each) => each.fenced, "fenced", fencedSoFar(asked));
    await leasesOver(context, asked, writer);
    if (isHigher(local.heard, leadership)) throw outbid(leadership, local, fencedSoFar(asked));
    return {
      leadership,
      answers: asked.map(answerOf),
      warnings: warningsOf(asked, end),
      verifiedFrom,
      oldEnd: knownEnds(asked, followed).find(({ nodeId }) => nodeId === writer)?.offset,
      recordsLost: beyond(end, knownEnds(asked, followed)),
      tookMs: link.clock.stopwatch() - since,
    };
  } finally {
    for (const each of asked) {
      each.isOver = true;
      each.opening.then(
        (enquiry) => enquiry.close(),
        () => undefined,
      );
    }
  }
}

/** Read from the files: a log that cannot even show its end may not lead. */
async function endOf(log: EventLog): Promise<Position> {
  try {
    await log.whenCommitted(log.endOffset);
    return await log.positionAt(log.committedOffset);
  } catch (error) {
    throw linkErrorOf(error);
  }
}

function mustBeListed(local: LocalNode): void {
  if (local.list.of(local.nodeId) !== undefined) return;
  throw new ReplicationError(
    "REPLICATION_NOT_ALL_REACHED",
    "this node never came onto the primary's list of nodes, so it cannot know whom to ask. With force it leads all the same",
    { listed: false },
  );
}

function nextLeadership(local: LocalNode, { random }: LinkContext): Leadership {
  const above = Math.max(local.heard?.epoch ?? 0, local.own?.epoch ?? 0);
  if (above >= EPOCH_MAX)
    throw new ReplicationError(
      "REPLICATION_FENCED",
      `no epoch is left above ${above}, which was heard of from ${local.leadership.from}; only a restored backup can go on`,
      { epoch: above, from: local.leadership.from },
    );
  return {
    epoch: asEpoch(above + 1),
    lineageId: Buffer.from(random.bytes(LINEAGE_BYTES)).toString("hex"),
  };
}

function openEnquiry(context: PromotionContext, node: PeerNote, timeoutMs: number): Promise<Enquiry> {
  const { listen } = node;
  const { network, link } = context;
  if (listen !== undefined) return Enquiry.open({ address: listen, network, context: link, timeoutMs });
  const message = `where ${node.name} listens is not known`;
  return Promise.reject(new ReplicationError("REPLICATION_CONNECTION_FAILED", message));
}

function ask(context: PromotionContext, node: PeerNote, wasPrimary: boolean): Asked {
  const opening = openEnquiry(context, node, CONVERSATION_MS);
  return {
    node,
    wasPrimary,
    opening,
    enquiry: undefined,
    said: undefined,
    fenced: false,
    leasedUntil: 0,
    error: undefined,
    isOver: false,
  };
}

async function greeted(asked: Asked): Promise<void> {
  try {
    asked.enquiry = await asked.opening;
    asked.said = asked.enquiry.node;
  } catch (error) {
    asked.error = linkErrorOf(error);
  }
}

/** Also a node that greets late is fenced, but it is not waited for long: mostly it is the one that has died. */
async function fenceAll(
  context: PromotionContext,
  asked: readonly Asked[],
  leadership: Leadership,
): Promise<void> {
  const isThere = ({ enquiry }: Asked): boolean => enquiry !== undefined;
  const [there, late] = [asked.filter(isThere), asked.filter((each) => !isThere(each))];
  const fencingLate = Promise.all(late.map((each) => fence(context, each, leadership)));
  await Promise.all(there.map((each) => fence(context, each, leadership)));
  await within(context.link, LATE_MS, fencingLate);
}

/**
 * A primary that cannot be reached, and may be anything but dead, counts what was acknowledged to it until the leases end. This node
 * has acknowledged nothing since it began to ask, the others nothing since they were fenced.
 */
async function leasesOver(
  { local, link }: PromotionContext,
  asked: readonly Asked[],
  writer: string | undefined,
): Promise<void> {
  if (writer === local.nodeId || asked.some(({ wasPrimary, fenced }) => wasPrimary && fenced)) return;
  const now = link.clock.stopwatch();
  const until = Math.max(now + local.leaseMs, ...asked.map(({ leasedUntil }) => leasedUntil));
  if (until > now) await sleep(link.clock, until - now);
}

async function fence(
  { local, link }: PromotionContext,
  asked: Asked,
  leadership: Leadership,
  asks = false,
): Promise<void> {
  try {
    const enquiry = await asked.opening;
    if (asked.isOver) return;
    const { node: said, leaseMs = LEASE_OVER_MS } = await enquiry.fence(leadership, asks);
    asked.said = said;
    asked.leasedUntil = link.clock.stopwatch() + Math.min(leaseMs, LEASE_OVER_MS);
    const isOutbid = isHigher(said.heard, leadership);
    if (isOutbid && said.heard !== undefined) await local.onHeard(said.heard, said);
    asked.fenced = !isOutbid;
  } catch (error) {
    asked.error = linkErrorOf(error);
  }
}

/** The lead is this candidate's only once the other says that it gave it up; nobody else was told anything before. */
async function given(
  context: PromotionContext,
  giver: Asked | undefined,
  leadership: Leadership,
): Promise<void> {
  if (giver !== undefined) await fence(context, giver, leadership, true);
  if (giver?.fenced === true) return;
  const who = giver?.node.name ?? "the node that is to give it up, which is not on the list of nodes,";
  throw new ReplicationError(
    "REPLICATION_NOT_ALL_REACHED",
    `the lead was not given: ${who} did not say that it gave it up${giver?.error === undefined ? "" : `: ${giver.error.code}: ${giver.error.message}`}`,
    { missing: giver?.node.nodeId },
  );
}

/** Refuses when somebody is missing who may have confirmed something, or has more than this node. `state`: what has changed so far. */
function judge(
  asked: readonly Asked[],
  end: Position,
  answered: (asked: Asked) => boolean,
  how: string,
  state: string,
): void {
  const missing = asked.filter((each) => !each.wasPrimary && !answered(each));
  if (missing.length > 0) {
    const names = missing.map(({ node, error }) => `${node.name} (${error?.code ?? "no answer in time"})`);
    throw new ReplicationError(
      "REPLICATION_NOT_ALL_REACHED",
      `not ${how}: ${names.join(", ")}. What they have confirmed could be lost. Bring them back, strike them off the list (forget), or force (${state})`,
      { missing: missing.map(({ node }) => node.nodeId).join(" ") },
    );
  }
  // Whoever lost what it had confirmed cannot say how much that was; only the primary itself could have all of it.
  const primary = asked.find(({ wasPrimary }) => wasPrimary)?.said;
  const hasAll = primary?.end !== undefined && primary.owes !== true && !isBetter(primary.end, end);
  const owing = hasAll ? undefined : asked.find(({ wasPrimary, said }) => !wasPrimary && said?.owes === true);
  if (owing !== undefined)
    throw new ReplicationError(
      "REPLICATION_NOT_ALL_REACHED",
      `${owing.node.name} lost the end of its log to damage, and does not have it again: what it alone had confirmed would be lost. Bring the primary back, or force (${state})`,
      { missing: owing.node.nodeId, owes: true },
    );
  const better = asked.find(({ said }) => said?.end !== undefined && isBetter(said.end, end));
  if (better?.said?.end !== undefined)
    throw new ReplicationError(
      "REPLICATION_BETTER_REPLICA",
      `${describe(better.said)}${better.wasPrimary ? ", the primary," : ""} has more: ${describePosition(better.said.end)}; this node: ${describePosition(end)} (${state})`,
      { nodeId: better.node.nodeId, name: better.node.name, found: better.said.end.offset, own: end.offset },
    );
}

/** What each said of itself now; of one that did not, what this node heard last while it followed it. */
function knownEnds(asked: readonly Asked[], followed: KnownEnd | undefined): KnownEnd[] {
  const said = asked.flatMap(({ node: { nodeId }, said: now }) =>
    now?.end === undefined ? [] : [{ ...now.end, nodeId }],
  );
  const isSaid = said.some(({ nodeId }) => nodeId === followed?.nodeId);
  return followed === undefined || isSaid ? said : [...said, followed];
}

/** How many records others are known to have that this node lacks: so many at least, for where a later leadership began they do not say. */
function beyond(own: Position, ends: readonly KnownEnd[]): number {
  const more = ends.filter((end) => isBetter(end, own)).map(({ offset }) => offset - own.offset);
  return more.length === 0 ? 0 : Math.max(1, ...more);
}

/** Whoever has records of a newer leadership has more, however long the logs are. */
function isBetter(other: Leadership & Pick<Position, "offset">, own: Position): boolean {
  if (other.epoch === 0 || own.epoch === 0) return other.offset > own.offset;
  const order = compareLeaderships(other, own);
  return order > 0 || (order === 0 && other.offset > own.offset);
}

function outbid(sought: Leadership | undefined, local: LocalNode, state: string): ReplicationError {
  const { heard } = local;
  return new ReplicationError(
    "REPLICATION_FENCED",
    `while this node was to be promoted it heard of ${describeLeadership(heard)} from ${local.leadership.from}; it had ${describeLeadership(sought)} (${state})`,
    { epoch: heard?.epoch, from: local.leadership.from },
  );
}

const fencedSoFar = (asked: readonly Asked[]): string =>
  `fenced: ${
    asked
      .filter(({ fenced }) => fenced)
      .map(({ node }) => node.name)
      .join(", ") || "nobody"
  }`;

const answerOf = ({ node, wasPrimary, said, fenced, error }: Asked): PromotionAnswer => ({
  nodeId: node.nodeId,
  name: node.name,
  address: node.listen && describeAddress(node.listen),
  http: node.http,
  wasPrimary,
  reached: fenced,
  end: said?.end?.offset,
  code: fenced ? undefined : error?.code,
});

function warningsOf(asked: readonly Asked[], end: Position): string[] {
  const warnings: string[] = [];
  for (const { node, wasPrimary, said, fenced } of asked) {
    if (said?.owes === true)
      warnings.push(`${node.name} lost the end of its log to damage: what it alone had confirmed is lost`);
    if (!fenced && wasPrimary)
      warnings.push(
        `${node.name}, the primary until now, was not reached: what it wrote and no replica has is put aside when it returns`,
      );
    else if (!fenced)
      warnings.push(
        `${node.name} was not fenced: writes that it alone has confirmed are lost, and it may confirm more`,
      );
    if (said?.end !== undefined && isBetter(said.end, end))
      warnings.push(
        `${node.name} has more than this node: ${describePosition(said.end)}; what this node lacks is put aside there`,
      );
  }
  return warnings;
}

/** What a promotion did, once its epoch has begun. */
export function reportOf(
  { epoch, lineageId, first }: EpochEntry,
  { answers, oldEnd, recordsLost, ...won }: Won,
  how: { readonly forced: boolean; readonly tookMs: number; readonly listens: boolean },
): PromotionReport {
  const mute = "this node does not listen for replicas: set replica_listen_address";
  return {
    epoch,
    lineageId,
    offset: first,
    forced: how.forced,
    answers,
    oldEnd,
    recordsLost,
    warnings: how.listens ? won.warnings : [...won.warnings, mute],
    verifiedFrom: won.verifiedFrom,
    durationMs: how.tookMs,
  };
}

/** Waits for the work, but no longer than that. */
function within(link: LinkContext, ms: number, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const cancel = link.clock.after(ms, resolve);
    void work.finally(() => {
      cancel();
      resolve();
    });
  });
}
