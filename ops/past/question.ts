/** What is asked of a past state, and what it answers: plain data, so that both travel between threads. */
import type { PastDigest, PastReply, PastValue, Refusal } from "../../api/index.js";
import type { Offset } from "../../log/index.js";
import type { ConfigValues } from "../config/settings.js";
import type { Found } from "./past-folds.js";

export type Question =
  | { readonly type: "read"; readonly operation: string; readonly input: unknown }
  | { readonly type: "value"; readonly key: string }
  | { readonly type: "digest" };

export type Answer = PastReply | PastValue | PastDigest;

export interface Ask {
  readonly question: Question;
  /** The state after this record, which is committed. */
  readonly at: Offset;
  /** When the question is asked, ms since 1970; at the earliest the record's own time. */
  readonly time: number;
}

/** What the thread that looks back is started with. */
export interface PastThreadSettings {
  readonly version: string;
  readonly dataDirectory: string;
  readonly values: ConfigValues;
}

export interface AskMessage {
  readonly type: "ask";
  readonly id: number;
  readonly ask: Ask;
  /** How far the log is known to be committed. */
  readonly end: Offset;
}

export type ToThread = AskMessage | { readonly type: "cancel"; readonly id: number };

export interface PastFigures {
  readonly folds: number;
  readonly bytes: number;
  readonly replayedRecords: number;
}

export type FromThread = { readonly id: number; readonly figures: PastFigures } & (
  | { readonly type: "answered"; readonly outcome: Outcome; readonly found: Found | undefined }
  | {
      readonly type: "failed";
      readonly message: string;
      readonly code: string | undefined;
      readonly stack: string | undefined;
    }
);

export type Outcome = Answer | Refusal;
