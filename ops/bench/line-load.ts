/**
 * Closed-loop load on a server that talks lines over TCP: each connection sends its next request when the answer to the last
 * is whole. The dialogue says what to send and what an answer is.
 */
import { connect, type Socket } from "node:net";

export interface Dialogue {
  /** The next request of a connection. */
  request(): string;
  /**
   * Looks at what has come in, from `at` on: where the next answer ends, whether it counts as one operation done, and what
   * to send for it (undefined = the next request). Undefined while the answer is not whole.
   * Throws when the server refused.
   */
  answer(text: string, at: number): { end: number; counts: boolean; send?: string } | undefined;
}

/** Runs for `seconds` and returns operations done per second. */
export async function lineLoad(
  port: number,
  connections: number,
  seconds: number,
  dialogue: Dialogue,
): Promise<number> {
  let done = 0;
  let failed: Error | undefined;
  const talk = (socket: Socket): void => {
    let text = "";
    socket.setNoDelay(true);
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      let at = 0;
      let out = "";
      try {
        for (let next = dialogue.answer(text, at); next !== undefined; next = dialogue.answer(text, at)) {
          at = next.end;
          if (next.counts) done += 1;
          out += next.send ?? dialogue.request();
        }
      } catch (error) {
        failed ??= error instanceof Error ? error : new Error(String(error));
        socket.destroy();
        return;
      }
      text = text.slice(at);
      socket.write(out);
    });
    socket.on("error", (error) => {
      failed ??= error;
    });
    socket.write(dialogue.request());
  };
  const sockets = await Promise.all(
    Array.from(
      { length: connections },
      () =>
        new Promise<Socket>((resolve, reject) => {
          const socket = connect(port, "127.0.0.1", () => resolve(socket));
          socket.once("error", reject);
        }),
    ),
  );
  const started = performance.now();
  for (const socket of sockets) talk(socket);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const elapsed = (performance.now() - started) / 1000;
  for (const socket of sockets) socket.destroy();
  if (failed !== undefined) throw failed;
  return done / elapsed;
}

/** The line that begins at `at`, or undefined while its end is not there. */
export function lineAt(text: string, at: number): string | undefined {
  const end = text.indexOf("\r\n", at);
  return end < 0 ? undefined : text.slice(at, end);
}
