/**
 * The documented transactions: `multi` opens one, writes that name the client are queued in it, `exec` runs them as one batch.
 * Only `exec` writes to the log. Each client is told by its `client_id`, through every door. Without one `multi` and `watch` make
 * one up and name it, and what needs one that is open is refused; only in the envelope it is, as documented, the request id.
 * Over REST it never is: a request id differs with each request, or a proxy gives the same to everybody.
 */
import { Type } from "@sinclair/typebox";
import { batch, noTransaction, unchanged } from "../../projections/index.js";
import { errorTable, type Refusal, refusal } from "../errors.js";
import { batchReply } from "./batch.js";
import type { Call } from "./call.js";
import { CLIENT_ID_MAX, closed, Key, LogOffset, Success } from "./fields.js";
import { defineOperation } from "./operation.js";
import { type Reply, shown } from "./reply.js";
import type { OpenTransaction } from "./transactions.js";
import { type Write, write } from "./write.js";

const Client = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: CLIENT_ID_MAX,
    description: "Whose transaction. Default: in the envelope the request id, over REST a new one.",
  }),
);
const OnlyClient = Type.Object({ client_id: Client }, closed);

/** Of what opens a transaction or watches: one that nobody has is better than one that somebody may have. */
const clientOrNew = (input: { client_id?: string }, call: Call): string =>
  input.client_id ?? call.client ?? call.desk.options.newRequestId();

const clientOf = (input: { client_id?: string }, call: Call): string | Refusal =>
  input.client_id ??
  call.client ??
  refusal("API_FIELD_MISSING", 'field "client_id" is missing: whose transaction? multi and watch answer it');

export const multi = defineOperation({
  name: "transaction.multi",
  kind: "read",
  ofNow: true,
  summary: "Open a transaction",
  description:
    "From now on writes with this `client_id` are queued. Without one the answer names a new one. A transaction that is left alone is forgotten after a while, and at a restart.",
  input: OnlyClient,
  output: Type.Object({ success: Success, client_id: Type.String() }),
  errors: ["API_TRANSACTION_OPEN", "API_TRANSACTIONS_FULL"],
  rest: [{ method: "POST", path: "/transaction/multi" }],
  run(input, call) {
    const elsewhere = call.refuseElsewhere();
    if (elsewhere !== undefined) return elsewhere;
    const client = clientOrNew(input, call);
    return call.desk.transactions.begin(client) ?? shown({ success: true, client_id: client });
  },
});

export const exec = defineOperation({
  name: "transaction.exec",
  kind: "write",
  summary: "Run what a transaction queued, as one record",
  description:
    "All or nothing. If a watched key has changed nothing is run: `aborted`. If a write is refused nothing is run either, and the error names it. Either way the transaction is over; only what asks to be tried again (Retry-After) leaves it open, and an `Idempotency-Key` that was used before (`IDEMPOTENCY_KEY_REUSED`).",
  input: OnlyClient,
  output: Type.Union([
    Type.Object({ success: Success, results: Type.Array(Type.Unknown()), log_offset: LogOffset }),
    Type.Object({ aborted: Type.Literal(true), message: Type.String() }),
  ]),
  errors: ["BATCH_TRANSACTION_NOT_FOUND", "BATCH_VALUES_TOO_LARGE"],
  rest: [{ method: "POST", path: "/transaction/exec" }],
  async run(input, call): Promise<Reply> {
    const client = clientOf(input, call);
    if (typeof client !== "string") return client;
    const { transactions } = call.desk;
    const transaction = transactions.take(client);
    if (transaction?.watchedIn !== undefined && transaction.watchedIn !== newestEpoch(call)) return aborted();
    const reply = await settled(execution(transaction), call, transaction !== undefined);
    if (transaction !== undefined && leavesOpen(reply)) transactions.putBack(client, transaction);
    return abortedAsDocumented(reply);
  },
});

/** Decided also without a transaction, because a repeat with an idempotency key finds its answer there. */
function execution(transaction: OpenTransaction | undefined): Write {
  if (transaction === undefined) return write(noTransaction, {}, batchReply);
  const preconditions = [...transaction.watched.values()];
  return write(batch<Reply>, { preconditions, steps: transaction.writes }, batchReply);
}

/**
 * What the log refuses is a reply here, too. Requests that execute different transactions of one client look the same; while it has
 * one open, this is not the request that executed another.
 */
async function settled(execution: Write, call: Call, isNew: boolean): Promise<Reply> {
  try {
    return await execution.run(call, call.once && { ...call.once, isNew });
  } catch (error) {
    return call.failure(error);
  }
}

/** Nothing has happened, and the same may succeed: in a while (the disk is busy or full, say), or with another key. */
function leavesOpen(reply: Reply): boolean {
  if (reply.type !== "refused") return false;
  return reply.code === "IDEMPOTENCY_KEY_REUSED" || errorTable[reply.code].retryAfterSecs !== undefined;
}

function abortedAsDocumented(reply: Reply): Reply {
  if (reply.type !== "refused" || reply.code !== "BATCH_PRECONDITION_FAILED") return reply;
  return aborted();
}

const aborted = (): Reply => shown({ aborted: true, message: "a watched key has changed" });

/** Undefined while the log has no record. */
const newestEpoch = ({ desk }: Call): number | undefined => desk.options.log.epochs.at(-1)?.epoch;

export const discard = defineOperation({
  name: "transaction.discard",
  kind: "read",
  ofNow: true,
  summary: "Forget what a transaction queued, and its watches",
  input: OnlyClient,
  output: Type.Object({ success: Success }),
  errors: ["BATCH_TRANSACTION_NOT_FOUND"],
  rest: [{ method: "POST", path: "/transaction/discard" }],
  run(input, call) {
    const elsewhere = call.refuseElsewhere();
    if (elsewhere !== undefined) return elsewhere;
    const client = clientOf(input, call);
    if (typeof client !== "string") return client;
    if (call.desk.transactions.take(client) !== undefined) return shown({ success: true });
    return refusal("BATCH_TRANSACTION_NOT_FOUND", "this client has no open transaction");
  },
});

export const watch = defineOperation({
  name: "transaction.watch",
  kind: "read",
  ofNow: true,
  summary: "Let the next transaction run only if keys stay as they are",
  description:
    "Before `multi`, with the `client_id` that the answer names. A key that was changed, deleted, set or has expired by `exec` aborts it.",
  input: Type.Object({ client_id: Client, keys: Type.Array(Key, { minItems: 1 }) }, closed),
  output: Type.Object({ success: Success, client_id: Type.String() }),
  errors: ["KV_KEY_INVALID", "API_TRANSACTION_OPEN", "API_TRANSACTIONS_FULL", "API_BATCH_TOO_LARGE"],
  rest: [{ method: "POST", path: "/transaction/watch" }],
  run(input, call) {
    const elsewhere = call.refuseElsewhere();
    if (elsewhere !== undefined) return elsewhere;
    const client = clientOrNew(input, call);
    const { transactions } = call.desk;
    const refused = transactions.mayWatch(client);
    if (refused !== undefined) return refused;
    const epoch = newestEpoch(call);
    return call.query(
      unchanged,
      { keys: input.keys },
      (found): Reply =>
        transactions.watch(client, found, epoch) ?? shown({ success: true, client_id: client }),
    );
  },
});

export const unwatch = defineOperation({
  name: "transaction.unwatch",
  kind: "read",
  ofNow: true,
  summary: "Forget the watches",
  input: OnlyClient,
  output: Type.Object({ success: Success }),
  errors: [],
  rest: [{ method: "POST", path: "/transaction/unwatch" }],
  run(input, call) {
    const elsewhere = call.refuseElsewhere();
    if (elsewhere !== undefined) return elsewhere;
    const client = clientOf(input, call);
    if (typeof client !== "string") return client;
    call.desk.transactions.unwatch(client);
    return shown({ success: true });
  },
});

export const transactionOperations = [multi, exec, discard, watch, unwatch];
