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

/** A question, as a job of the state worker. */
export interface PastJob {
  readonly type: "past";
  readonly ask: Ask;
  /** How far the log is known to be committed. */
  readonly end: Offset;
  /** As the server runs with them now; rules and limits may have changed since the thread began. */
  readonly values: ConfigValues;
}

export interface PastFigures {
  readonly folds: number;
  readonly bytes: number;
  readonly replayedRecords: number;
}

export interface PastAnswered {
  readonly type: "past";
  readonly outcome: Outcome;
  /** How the state was found; undefined when there is none. */
  readonly found: Found | undefined;
  readonly figures: PastFigures;
}

export type Outcome = Answer | Refusal;
