/** What the replication room shows to the others. */
export { Enquiry, type EnquiryOptions } from "./enquiry.js";
export * from "./errors.js";
export * from "./leadership-order.js";
export type * from "./link-ports.js";
export { LinkListener, type LinkListenerOptions } from "./listener.js";
export type { NodeStatement, PeerNote } from "./messages.js";
export * from "./ports.js";
export * from "./position.js";
export { Receiver, type ReceiverOptions } from "./receiver.js";
export { Sender, type SenderEvents } from "./sender.js";
export { systemClock, systemRandom } from "./system.js";
export { TcpNetwork, type TcpOptions, type TlsCertificates } from "./tcp.js";
