/** What the replication room shows to the others. */
export { Enquiry, type EnquiryOptions } from "./enquiry.js";
export * from "./errors.js";
export type * from "./host.js";
export * from "./leadership-order.js";
export type * from "./link-ports.js";
export { LinkListener, type LinkListenerOptions } from "./listener.js";
export type { NodeStatement, PeerNote } from "./messages.js";
export { ReplicationNode, type ReplicationNodeOptions } from "./node.js";
export * from "./ports.js";
export * from "./position.js";
export type { PromotionAnswer, PromotionReport } from "./promotion-report.js";
export { Receiver, type ReceiverOptions } from "./receiver.js";
export { Sender, type SenderEvents } from "./sender.js";
export type * from "./settings.js";
export { type StartingRole, startingRole } from "./starting-role.js";
export type * from "./stats.js";
export { systemClock, systemRandom } from "./system.js";
export { TcpNetwork, type TcpOptions, type TlsCertificates } from "./tcp.js";
