/**
 * Sockets of a listening port that are no link: a handshake is under way, or the last word is leaving. Each is an open file, which the log may need
 * for its next segment, so there are so many of them, and the oldest gives way.
 */
import type { Socket } from "node:net";

/** A handshake among friends takes a few milliseconds. */
export const CROWD_MAX = 128;

export class Crowd {
  readonly #sockets = new Set<Socket>();

  add(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.leave(socket));
    const [oldest] = this.#sockets;
    if (oldest === undefined || this.#sockets.size <= CROWD_MAX) return;
    this.leave(oldest);
    oldest.destroy(new Error(`it was one of more than ${CROWD_MAX} that came or went at once`));
  }

  leave(socket: Socket): void {
    this.#sockets.delete(socket);
  }
}
