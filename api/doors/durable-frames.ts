/**
 * Server-sent events of a durable stream, as text: a `data` event, and behind each one a `control` event that says where
 * the reader stands. Nothing that a writer has stored can end an event or begin another: every line break of a payload,
 * of whichever kind a browser takes for one, becomes a `data:` line of its own.
 */
import { bareType } from "./durable-headers.js";

export interface ControlEvent {
  readonly streamNextOffset: string;
  /** While the stream is open. */
  readonly streamCursor?: string;
  readonly upToDate?: true;
  /** The last event of the connection. */
  readonly streamClosed?: true;
}

/** A line of base64 is not longer, so that a reader need not hold a large message as one line. A multiple of four. */
const BASE64_LINE = 65_536;

export function controlFrame(control: ControlEvent): string {
  return `event: control\ndata:${JSON.stringify(control)}\n\n`;
}

/** The payload is UTF-8; a broken sequence in it shows as U+FFFD, since the format is text. */
export function textFrame(payload: Buffer): string {
  const lines = payload.toString("utf8").split(/\r\n|\r|\n/);
  return `event: data\n${lines.map(dataLine).join("")}\n`;
}

/** Readers take one space after the colon away, so a line that begins with one gets another. */
function dataLine(line: string): string {
  return line.startsWith(" ") ? `data: ${line}\n` : `data:${line}\n`;
}

export function base64Frame(payload: Buffer): string {
  const text = payload.toString("base64");
  const lines: string[] = [];
  for (let at = 0; at < text.length; at += BASE64_LINE)
    lines.push(`data:${text.slice(at, at + BASE64_LINE)}\n`);
  return `event: data\n${lines.join("")}\n`;
}

/** Text and JSON travel as they are, everything else as base64. */
export function needsBase64(contentType: string): boolean {
  const type = bareType(contentType);
  return !type.startsWith("text/") && type !== "application/json";
}
