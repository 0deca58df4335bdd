/**
 * The operations of the simulated disk: counting them, injecting faults into them, and letting them complete in a seeded
 * order. It knows when and whether an operation happens, not what it does.
 */
import { setImmediate } from "node:timers";
import { Fate, type Random } from "./fate.js";
import { type Errno, systemError } from "./system-error.js";

export type OperationKind =
  | "open"
  | "create"
  | "read"
  | "write"
  | "syncedWrite"
  | "writeNow"
  | "sync"
  | "truncate"
  | "size"
  | "close"
  | "list"
  | "exists"
  | "stat"
  | "link"
  | "makeDirectory"
  | "rename"
  | "remove"
  | "syncDirectory"
  | "freeBytes"
  | "lock"
  | "unlock";

/** What a disk without space can refuse. */
export const TAKING_SPACE: ReadonlySet<OperationKind> = new Set([
  "create",
  "write",
  "syncedWrite",
  "writeNow",
  "sync",
  "truncate",
  "makeDirectory",
  "rename",
  "syncDirectory",
  "lock",
]);

/** What leaves the disk other than it was. An end in anything else leaves what an end before the next of these leaves. */
export const CHANGES: ReadonlySet<OperationKind> = new Set([
  ...([
    "create",
    "write",
    "syncedWrite",
    "writeNow",
    "sync",
    "truncate",
    "rename",
    "link",
    "remove",
  ] as const),
  ...(["makeDirectory", "syncDirectory", "lock"] as const),
]);

/** What ends the process: a power cut, which takes the page cache with it, or kill -9, which does not. */
export type Ending = "power" | "kill";

interface Aim {
  /** The `at`-th operation from now on, from 1. */
  readonly at: number;
  /** If given, only operations of these kinds count. */
  readonly kinds?: ReadonlySet<OperationKind>;
}

export type Fault =
  /** The process ends in the operation: before, in, or directly after it. */
  | (Aim & { readonly type: "end"; readonly ending: Ending })
  /** The operation fails; if sticky, so does every later one that counts. */
  | (Aim & { readonly type: "fail"; readonly errno: Errno; readonly sticky: boolean });

export interface Operation<Answer> {
  readonly kind: OperationKind;
  readonly path: string;
  /** The whole effect; throws the system's own errors. */
  run(): Answer;
  /** What an injected failure leaves behind, if anything. */
  fail?(fate: Fate): void;
  /** What the operation left behind when the process ended while it was under way. Default: all or nothing. */
  interrupt?(fate: Fate): void;
  /** False for what leaves nothing behind (reads). */
  readonly changes: boolean;
}

interface Waiting {
  readonly process: number;
  turns: number;
  readonly complete: () => void;
  readonly interrupt: (fate: Fate) => void;
}

export interface OperationCounts {
  /** Operations begun, by kind. */
  readonly begun: Map<OperationKind, number>;
  total: number;
  /** Injected failures that an operation has met. */
  failures: number;
  /** Injected ends (power, kill) that an operation has met, and by the operation's kind. */
  ends: number;
  readonly endedIn: Map<OperationKind, number>;
  /** How the last of them ended it: the operation can have been begun long before. */
  lastEnding: Ending | undefined;
  /** Operations that were under way when the process ended. */
  interrupted: number;
}

const TRACE_MAX = 400;

export class Operations {
  readonly counts: OperationCounts = {
    begun: new Map(),
    total: 0,
    failures: 0,
    ends: 0,
    endedIn: new Map(),
    lastEnding: undefined,
    interrupted: 0,
  };
  /** The last operations, oldest first, for whoever reads a failing run. */
  readonly trace: string[] = [];
  /** Most turns of the event loop that an operation takes, by kind. */
  readonly turnsMax = new Map<OperationKind, number>();
  /** Told of each injected failure, at the moment when the operation fails. */
  onFailure: ((kind: OperationKind, path: string) => void) | undefined;
  readonly #random: Random;
  readonly #end: (ending: Ending) => void;
  #armed: { fault: Fault; met: number }[] = [];
  #waiting: Waiting[] = [];
  #scheduled = false;
  #isHeld = false;
  #process = 0;

  constructor(random: Random, end: (ending: Ending) => void) {
    this.#random = random;
    this.#end = end;
  }

  arm(fault: Fault): void {
    this.#armed.push({ fault, met: 0 });
  }

  disarm(): void {
    this.#armed = [];
  }

  /** Something is under way. */
  get isBusy(): boolean {
    return this.#waiting.length > 0 && !this.#isHeld;
  }

  /** The process stands still: it hears of nothing that it began until `resume`. */
  pause(): void {
    this.#isHeld = true;
  }

  resume(): void {
    this.#isHeld = false;
    if (this.#waiting.length > 0) this.#schedule();
  }

  /** The number of the process that is running; operations of an ended one never complete. */
  get process(): number {
    return this.#process;
  }

  /** Resolves in a later turn; never, if the process ends before. */
  perform<Answer>(process: number, operation: Operation<Answer>): Promise<Answer> {
    if (process !== this.#process) return new Promise(() => undefined);
    const verdict = this.#begin(operation);
    return new Promise((resolve, reject) => {
      const complete = (): void => {
        try {
          const outcome = this.#execute(operation, verdict);
          if (outcome !== undefined) resolve(outcome.answer);
        } catch (error) {
          reject(error);
        }
      };
      const interrupt = (fate: Fate): void => interruptOperation(operation, fate);
      const turns = Math.floor(this.#random() * (this.turnsMax.get(operation.kind) ?? 0));
      this.#waiting.push({ process, turns, complete, interrupt });
      this.#schedule();
    });
  }

  /** For `writeNow`: done on the calling thread. Does nothing once the process has ended. */
  performNow(process: number, operation: Operation<void>): void {
    if (process !== this.#process) return;
    this.#execute(operation, this.#begin(operation));
  }

  /** The process ends: what is under way happens in part or not at all, and nobody hears of it. */
  interruptAll(fate: Fate): void {
    this.counts.interrupted += this.#waiting.length;
    for (const waiting of this.#waiting) waiting.interrupt(fate);
    this.#waiting = [];
    this.#isHeld = false;
    this.#process += 1;
  }

  /** Undefined: the process ended in this operation. */
  #execute<Answer>(
    operation: Operation<Answer>,
    verdict: Errno | Ending | undefined,
  ): { answer: Answer } | undefined {
    switch (verdict) {
      case undefined:
        return { answer: operation.run() };
      case "power":
      case "kill":
        this.counts.ends += 1;
        this.counts.lastEnding = verdict;
        countIn(this.counts.endedIn, operation.kind);
        if (this.#random() < 0.4) runUnheard(operation);
        else interruptOperation(operation, new Fate(this.#random));
        this.#end(verdict);
        return undefined;
      default:
        this.counts.failures += 1;
        operation.fail?.(new Fate(this.#random));
        this.onFailure?.(operation.kind, operation.path);
        throw systemError(verdict, operation.kind, operation.path);
    }
  }

  #begin(operation: Operation<unknown>): Errno | Ending | undefined {
    this.counts.total += 1;
    countIn(this.counts.begun, operation.kind);
    const verdict = this.#verdict(operation.kind);
    if (this.trace.length >= TRACE_MAX) this.trace.splice(0, TRACE_MAX / 2);
    this.trace.push(`${this.counts.total} ${operation.kind} ${operation.path} ${verdict ?? ""}`.trimEnd());
    return verdict;
  }

  #verdict(kind: OperationKind): Errno | Ending | undefined {
    let verdict: Errno | Ending | undefined;
    for (const armed of this.#armed) {
      const { fault } = armed;
      if (fault.kinds !== undefined && !fault.kinds.has(kind)) continue;
      armed.met += 1;
      if (armed.met === fault.at) verdict = fault.type === "end" ? fault.ending : fault.errno;
      else if (armed.met > fault.at && fault.type === "fail" && fault.sticky) verdict = fault.errno;
    }
    return verdict;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  /** One turn completes one or a few of the waiting operations, any of them: their callers issued them together. */
  #turn(): void {
    this.#scheduled = false;
    if (this.#isHeld) return;
    const process = this.#process;
    let rounds = this.#random() < 0.3 ? 2 : 1;
    for (const waiting of this.#waiting) waiting.turns -= 1;
    while (rounds > 0 && process === this.#process) {
      rounds -= 1;
      const ready = this.#waiting.filter((waiting) => waiting.turns < 0);
      const chosen = ready[Math.floor(this.#random() * ready.length)];
      if (chosen === undefined) break;
      this.#waiting.splice(this.#waiting.indexOf(chosen), 1);
      chosen.complete();
    }
    if (this.#waiting.length > 0) this.#schedule();
  }
}

function countIn(counts: Map<OperationKind, number>, kind: OperationKind): void {
  counts.set(kind, (counts.get(kind) ?? 0) + 1);
}

function interruptOperation(operation: Operation<unknown>, fate: Fate): void {
  if (!operation.changes) return;
  if (operation.interrupt !== undefined) operation.interrupt(fate);
  else if (fate.coin()) runUnheard(operation);
}

/** The operation happens, but its caller is gone: its answer and its refusal (ENOENT, …) are heard by nobody. */
function runUnheard(operation: Operation<unknown>): unknown {
  try {
    return operation.run();
  } catch (refused) {
    return refused;
  }
}
