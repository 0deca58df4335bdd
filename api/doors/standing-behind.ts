/**
 * Requests that came before those ahead of them on their connection were answered. Node reads on while few bytes of answers wait to leave,
 * so a client that sends and sends behind one request that waits would fill the memory with what it sent: past a bound its connection is not
 * read from until enough of them had their turn.
 */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** A piece that Node reads has room for as many again and more, and is taken whole. */
const BEHIND_MAX = 1_000;

class Queue {
  readonly #socket: Socket;
  #behind = 0;
  #isHeld = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  join(response: ServerResponse): void {
    this.#behind++;
    if (this.#behind >= BEHIND_MAX) this.#hold();
    response.once("socket", () => {
      this.#behind--;
      if (this.#behind <= BEHIND_MAX / 2) this.#goOn();
    });
  }

  #hold(): void {
    if (this.#isHeld) return;
    this.#isHeld = true;
    this.#socket.on("resume", this.#holdAgain);
    this.#socket.pause();
  }

  #goOn(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#socket.off("resume", this.#holdAgain);
    this.#socket.resume();
  }

  /** Node resumes a connection for reasons of its own: a body is read, an answer has left. */
  readonly #holdAgain = (): void => {
    this.#socket.pause();
  };
}

const queues = new WeakMap<Socket, Queue>();

/** The request of this response came while others on its connection are not answered. */
export function standBehind(socket: Socket, response: ServerResponse): void {
  const queue = queues.get(socket) ?? new Queue(socket);
  queues.set(socket, queue);
  queue.join(response);
}
