/** SIGTERM and SIGINT for a command that has made something aside, which it removes before it ends. A second one ends it at once. */
import { CliFailure, exitCodes } from "./failure.js";

export function interruption(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () =>
      interrupted.abort(
        new CliFailure(exitCodes.failed, `ended by ${signal}; what it had made aside is removed again`),
      ),
    );
  }
  return interrupted.signal;
}
