/** One row of the tables of operation cases, and what its rows are made from. */
import type { ApiLimits } from "../../../api/index.js";
import type { KvRules, QueueRules, StreamRules } from "../../../projections/index.js";
import type { ReplicationDoubleOptions } from "../replication-double.js";

export interface OperationCase {
  readonly operation: string;
  readonly says: string;
  readonly given?: readonly (readonly [command: string, input: object])[];
  /** JSON text where digits matter, else the input itself. */
  readonly input: object | string;
  /** Equal to the payload, apart from log_offset and revision; a function where the payload is not known beforehand. */
  readonly payload?: unknown;
  /** The payload's exact text. */
  readonly text?: string;
  readonly error?: string;
  /** What the refusal tells besides, for programs. */
  readonly details?: object;
  readonly rules?: Partial<KvRules>;
  readonly queueRules?: Partial<QueueRules>;
  readonly streamRules?: Partial<StreamRules>;
  readonly limits?: Partial<ApiLimits>;
  readonly replication?: ReplicationDoubleOptions | "off";
  /** Retention has removed what lies before. */
  readonly firstOffset?: number;
  /** The body of the REST routes, where it isn't the payload. */
  readonly rest?: unknown;
  /** An input that only the envelope takes. */
  readonly envelopeOnly?: true;
  /** Input that only JSON can carry: not tried in a query. */
  readonly bodyOnly?: true;
}

export const set = (key: string, value: unknown): readonly [string, object] => ["kv.set", { key, value }];
/** The test server's clock. */
export const NOW = 1_700_000_000_000;
