/** A line of progress with rate and time left, rewritten in place on a terminal; silent elsewhere unless asked for. */

export interface ProgressStream {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

export interface ProgressOptions {
  readonly what: string;
  /** What is counted: "B" is shown in binary units. */
  readonly unit: string;
  readonly stream: ProgressStream;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  /** Lines also where nobody watches: one every few seconds. */
  readonly always?: boolean;
}

/** Ends the line on the terminal that is still being rewritten, if there is one: whoever tells something else begins a line. */
export function leaveLine(): void {
  leaveOpen?.();
}

let leaveOpen: (() => void) | undefined;

const TERMINAL_MS = 200;
const PLAIN_MS = 5000;

export class Progress {
  readonly #options: ProgressOptions;
  readonly #intervalMs: number;
  readonly #begun: number;
  #shownAt: number;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#intervalMs =
      options.stream.isTTY === true ? TERMINAL_MS : options.always === true ? PLAIN_MS : Infinity;
    this.#begun = options.stopwatch();
    this.#shownAt = this.#begun;
  }

  /** `total` may be unknown. Cheap: most calls show nothing. */
  update(done: number, total: number | undefined): void {
    const now = this.#options.stopwatch();
    if (now - this.#shownAt < this.#intervalMs) return;
    this.#shownAt = now;
    this.#show(this.#text(done, total, now));
  }

  /** Shows the end and leaves the line. */
  finish(done: number, total: number | undefined): void {
    if (this.#intervalMs === Infinity) return;
    this.#show(this.#text(done, total, this.#options.stopwatch()));
    leaveLine();
  }

  #show(text: string): void {
    if (this.#options.stream.isTTY === true) {
      this.#options.stream.write(`\r${text}\u001b[K`);
      leaveOpen = () => {
        leaveOpen = undefined;
        this.#options.stream.write("\n");
      };
    } else {
      this.#options.stream.write(`${text}\n`);
    }
  }

  #text(done: number, total: number | undefined, now: number): string {
    const seconds = (now - this.#begun) / 1000;
    const rate = seconds > 0 ? done / seconds : 0;
    const { what, unit } = this.#options;
    const parts = [`${what}: ${amount(done, unit)}`];
    if (total !== undefined && total > 0)
      parts.push(`of ${amount(total, unit)} (${Math.floor((done / total) * 100)} %)`);
    if (rate > 0) parts.push(`${amount(Math.round(rate), unit)}/s`);
    if (total !== undefined && rate > 0 && done < total)
      parts.push(`${duration((total - done) / rate)} left`);
    return parts.join("  ");
  }
}

export function amount(count: number, unit: string): string {
  if (unit !== "B") return `${count.toLocaleString("en-US")} ${unit}`;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let index = 0;
  while (value >= 1024 && index < units.length - 1) {
    value /= 1024;
    index++;
  }
  return `${index === 0 ? value : value.toFixed(1)} ${units[index] ?? ""}`;
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}
