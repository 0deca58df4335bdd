/** What the replication room shows to the others. */

export { hasPrimarysLog, isBehind } from "./behind.js";
export type { Confirmation } from "./confirmations.js";
export { Enquiry, type EnquiryOptions } from "./enquiry.js";
export * from "./errors.js";
export type { HandoverOutcome } from "./handover.js";
export type * from "./host.js";
export { LEADERSHIP_FILE } from "./leadership-file.js";
export * from "./leadership-order.js";
export { endDamaged } from "./link-error.js";
export * from "./link-ports.js";
export { LinkListener, type LinkListenerOptions } from "./listener.js";
export type { NodeStatement, PeerNote } from "./messages.js";
export { ReplicationNode } from "./node.js";
export type * from "./node-options.js";
export { sleep } from "./pace.js";
export * from "./ports.js";
export * from "./position.js";
export type * from "./promotion-report.js";
export { Receiver, type ReceiverOptions } from "./receiver.js";
export { Seldom } from "./seldom.js";
export { Sender, type SenderEvents } from "./sender.js";
export type * from "./settings.js";
export { mayStandAlone } from "./standing-alone.js";
export { type StartingRole, startingRole } from "./starting-role.js";
export type * from "./stats.js";
export { systemClock, systemRandom } from "./system.js";
export { TcpNetwork, type TcpOptions, type TlsCertificates } from "./tcp.js";
