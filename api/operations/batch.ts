/** Several writes as one: decided one after the other, appended as one record, answered together. All or nothing. */
import { type Static, Type } from "@sinclair/typebox";
import type { Offset } from "../../log/index.js";
import { batch, type Precondition } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { rootOf, type SourceText } from "../exact.js";
import { nearestName } from "../explain.js";
import { elementSpans, memberSpan } from "../json-text.js";
import type { Json } from "../json-write.js";
import { itemsOf, keyProblem, tooMany } from "../names.js";
import type { ApiLimits, ApiOptions } from "../options.js";
import { closed, Key, LogOffset, Revision, Success } from "./fields.js";
import { clientOf, defineOperation, type Operation } from "./operation.js";
import { type Published, type Reply, written } from "./reply.js";
import { DURABLE_PREFIX, ROOM_PREFIX } from "./stream-fields.js";
import type { QueuedWrite } from "./transactions.js";
import { write } from "./write.js";

const PreconditionInput = Type.Union([
  Type.Object({ key: Key, revision: Revision }, closed),
  Type.Object({ queue: Type.String(), message_id: Type.String(), receipt: Type.String() }, closed),
  Type.Object(
    {
      stream: Type.String({ description: "`room/<room>` or `ds/<path>`." }),
      length: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    },
    closed,
  ),
]);

/** Under another name no stream can be there, so a length of 0 would hold whatever was meant. */
const isStreamName = (name: string): boolean =>
  name.isWellFormed() &&
  [ROOM_PREFIX, DURABLE_PREFIX].some((prefix) => name.startsWith(prefix) && name !== prefix);

const BatchInput = Type.Object(
  {
    operations: Type.Array(
      Type.Object(
        {
          command: Type.String({ description: "A write's name, such as `kv.set`." }),
          payload: Type.Optional(Type.Unknown({ description: "Its input, as in the envelope." })),
        },
        closed,
      ),
      { minItems: 1, description: "In order: each sees what those before it did." },
    ),
    preconditions: Type.Optional(
      Type.Array(PreconditionInput, {
        description: "What must hold before: a key's revision, a message's open delivery, a stream's length.",
      }),
    ),
  },
  closed,
);

/** `commands` are all of them, so that what may not be a part is told from what there is not. */
export function batchOperation(commands: () => ReadonlyMap<string, Operation>): Operation {
  return defineOperation({
    name: "batch",
    kind: "write",
    summary: "Do several writes as one, all or nothing",
    description:
      "One record in the log: at no time, also not after a crash, is a part of it there without the rest. The first operation that is refused refuses all; `operation_index` in the error says which. One that merely finds its condition not met (`nx`) is not refused: its result says so.",
    input: BatchInput,
    output: Type.Object({
      success: Success,
      results: Type.Array(Type.Unknown(), { description: "The operations' own answers, in order." }),
      log_offset: LogOffset,
    }),
    errors: [
      "API_BATCH_OPERATION_UNSUPPORTED",
      "API_BATCH_TOO_LARGE",
      "BATCH_PRECONDITION_FAILED",
      "BATCH_VALUES_TOO_LARGE",
      "KV_KEY_INVALID",
    ],
    rest: [{ method: "POST", path: "/batch" }],
    run(input, call, source) {
      const steps = stepsOf(input.operations, commands(), source, call.desk.options);
      if ("type" in steps) return steps;
      const { batchItemsMax } = call.limits;
      const conditions = input.preconditions?.length ?? 0;
      if (conditions > batchItemsMax) return tooMany(conditions, batchItemsMax);
      const preconditions: Precondition[] = [];
      for (const [index, each] of (input.preconditions ?? []).entries()) {
        const checked = precondition(each, call.limits);
        if (checked.type === "refused") return { ...checked, details: { precondition_index: index } };
        preconditions.push(checked);
      }
      return write(batch<Reply>, { preconditions, steps }, batchReply).run(call);
    },
  });
}

type OperationInput = Static<typeof BatchInput>["operations"][number];

function stepsOf(
  operations: readonly OperationInput[],
  find: ReadonlyMap<string, Operation>,
  source: SourceText | undefined,
  options: ApiOptions,
): readonly QueuedWrite[] | Refusal {
  const { batchItemsMax } = options.limits;
  if (operations.length > batchItemsMax) return tooMany(operations.length, batchItemsMax);
  const placeOf = source === undefined ? undefined : payloadPlaces(source);
  const steps: QueuedWrite[] = [];
  let items = 0;
  let index = -1;
  for (const { command, payload } of operations) {
    index += 1;
    const place = index;
    const operation = find.get(command);
    if (operation?.prepare === undefined) return at(index, unsupported(command, operation, find));
    if (clientOf(payload) !== undefined) return at(index, notQueued());
    const own = source && placeOf && { text: source.text, root: () => placeOf(place) };
    const prepared = operation.prepare(payload ?? {}, own, options);
    if (prepared.type === "refused") return at(index, prepared);
    items += itemsOf(payload);
    if (items > batchItemsMax) return at(index, tooMany(items, batchItemsMax));
    steps.push({ name: operation.name, step: prepared });
  }
  return steps;
}

/** Where each operation's payload stands in the text; looked for when the first one is asked for. */
function payloadPlaces(source: SourceText): (index: number) => number {
  let starts: readonly number[] | undefined;
  return (index) => {
    starts ??= findElements(source);
    return memberSpan(source.text, starts[index] ?? 0, "payload")?.start ?? 0;
  };
}

function findElements(source: SourceText): readonly number[] {
  const list = memberSpan(source.text, rootOf(source), "operations");
  return list === undefined ? [] : elementSpans(source.text, list.start).map(({ start }) => start);
}

/** It would be done at once, though the client's other writes wait for its `exec`. */
function notQueued(): Refusal {
  return refusal(
    "API_FIELD_INVALID",
    'field "client_id": an operation of a batch is not queued in a transaction',
  );
}

function unsupported(
  command: string,
  operation: Operation | undefined,
  find: ReadonlyMap<string, Operation>,
): Refusal {
  if (operation !== undefined) {
    return refusal("API_BATCH_OPERATION_UNSUPPORTED", `${operation.name} cannot be part of a batch`);
  }
  const nearest = nearestName(command, [...find.keys()]);
  const hint = nearest === undefined ? "" : `; did you mean ${nearest}?`;
  return refusal("API_COMMAND_UNKNOWN", `Unknown command: ${command.slice(0, 60)}${hint}`);
}

function at(index: number, refused: Refusal): Refusal {
  const details = { ...refused.details, operation_index: index };
  return { ...refused, message: `operation ${index}: ${refused.message}`, details };
}

function precondition(
  input: Static<typeof PreconditionInput>,
  { keyBytesMax }: ApiLimits,
): Precondition | Refusal {
  if ("key" in input) {
    // What can be no key has revision 0, whatever was meant.
    const problem = keyProblem(input.key, keyBytesMax);
    if (problem !== undefined) return refusal("KV_KEY_INVALID", problem);
    return { type: "revision", key: input.key, revision: input.revision };
  }
  if ("stream" in input) {
    const { stream, length } = input;
    if (isStreamName(stream)) return { type: "length", stream, length };
    const message = 'field "stream" of a precondition must be room/<room> or ds/<path>';
    return refusal("API_FIELD_INVALID", message);
  }
  const { queue, message_id: messageId, receipt } = input;
  return { type: "receipt", queue, messageId, receipt };
}

export function batchReply(replies: readonly Reply[], offset: Offset): Reply {
  const payload = { success: true, results: replies.map(resultOf), log_offset: offset };
  const published: Published[] = [];
  for (const reply of replies) if (reply.type === "answered") published.push(...(reply.published ?? []));
  if (published.length === 0) return written(payload, offset);
  return { type: "answered", payload, offset, published };
}

function resultOf(reply: Reply): Json {
  if (reply.type === "answered") return reply.payload;
  return { error: reply.message, error_code: reply.code };
}
