/** Before a node follows another: whether that one follows it, so that no record would ever come. */
import { Enquiry } from "./enquiry.js";
import { ReplicationError } from "./errors.js";
import { linkErrorOf } from "./link-error.js";
import { type Address, describeAddress } from "./ports.js";
import { ASK_MS, type PromotionContext } from "./promotion.js";

/**
 * Asks the node at the address who it is, whatever it is called by. One that leads follows nobody, whatever was heard of it before; one
 * that cannot be asked may be followed, and the link finds out. @throws ReplicationError REPLICATION_CIRCLE.
 */
export async function refuseCircle(
  address: Address,
  { local, network, link: context }: PromotionContext,
): Promise<void> {
  const at = describeAddress(address);
  try {
    const enquiry = await Enquiry.open({ address, network, context, timeoutMs: ASK_MS });
    const { nodeId, name, leads } = enquiry.node;
    enquiry.close();
    const isBelow = local.below?.nodes.some((below) => below.nodeId === nodeId) === true;
    if (!leads && isBelow)
      throw circle(
        `${name} at ${at} follows this node, so this one cannot follow it: nothing was changed`,
        nodeId,
      );
  } catch (error) {
    const { code } = linkErrorOf(error);
    if (code === "REPLICATION_CIRCLE") throw error;
    if (code === "REPLICATION_SELF")
      throw circle(`${at} is this node itself: nothing was changed`, local.nodeId);
  }
}

const circle = (words: string, nodeId: string): ReplicationError =>
  new ReplicationError("REPLICATION_CIRCLE", words, { nodeId });
