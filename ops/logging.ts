/** The process's own log: pino, one JSON object a line on stdout, or one readable line. Never a secret, never a value. */
import { destination, type Logger, pino, stdSerializers, stdTimeFunctions } from "pino";
import type { LogLevel } from "./config/settings.js";

export type { Logger } from "pino";

export interface LineSink {
  write(line: string): void;
}

export interface LoggingSettings {
  readonly level: LogLevel;
  readonly format: "json" | "pretty";
}

/** Lines go to stdout at once (no buffer of ours), so that the last one before an exit is there. */
export function createLogger(
  settings: LoggingSettings,
  sink: LineSink = destination({ fd: 1, sync: true }),
): Logger {
  return pino(
    {
      level: settings.level,
      base: { pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: stdSerializers.err, error: stdSerializers.err },
    },
    settings.format === "json" ? sink : { write: (line: string) => sink.write(readable(line)) },
  );
}

/** `2026-01-01T00:00:00.000Z INFO  message key=value …` */
export function readable(line: string): string {
  const entry: unknown = JSON.parse(line);
  if (typeof entry !== "object" || entry === null) return line;
  const { time, level, msg, pid: _pid, err, error, ...rest } = Object.fromEntries(Object.entries(entry));
  const fields = Object.entries(rest).map(([name, value]) => `${name}=${shown(value)}`);
  const head = [String(time), String(level).toUpperCase().padEnd(5), String(msg ?? "")];
  const stack = stackOf(err ?? error);
  return `${[...head, ...fields].join(" ")}\n${stack === undefined ? "" : `${stack}\n`}`;
}

function shown(value: unknown): string {
  if (typeof value === "string" && /^[\x21-\x7e]+$/.test(value) && !value.includes('"')) return value;
  return JSON.stringify(value);
}

function stackOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("stack" in error)) return undefined;
  return String(error.stack).replaceAll(/^/gm, "    ");
}
