/**
 * Tells those who wait for an answer that its client is gone. A client that sends no more has only finished asking, or is gone: nobody
 * can tell. What is done at once is answered either way. Whoever listens here waits, or gives what would be lost with the client: then
 * it is taken for gone, and its connection closed. One listener a connection, however many of its pipelined requests wait: Node
 * tells the socket, and warns of a leak when many listen there.
 */
import type { Socket } from "node:net";

const waiting = new WeakMap<Socket, Set<() => void>>();

/** Calls `listener` once when the connection ends, as it does now when the client sends no more, unless the function that this returns is called before. */
export function onDeparture(connection: Socket, listener: () => void): () => void {
  const listeners = waiting.get(connection) ?? listen(connection);
  // A listener of its own for each call, so that one function may listen twice.
  const entry = (): void => listener();
  listeners.add(entry);
  if (connection.readableEnded) connection.destroy();
  return () => void listeners.delete(entry);
}

function listen(connection: Socket): Set<() => void> {
  const listeners = new Set<() => void>();
  waiting.set(connection, listeners);
  connection.once("end", () => {
    if (listeners.size > 0) connection.destroy();
  });
  connection.once("close", () => {
    for (const listener of [...listeners]) listener();
  });
  return listeners;
}
