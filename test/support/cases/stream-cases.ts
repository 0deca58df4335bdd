/** Cases of the operations on rooms. */
import { NOW, type OperationCase } from "./case.js";

const room = "orders";
const create = (settings: object = {}): readonly [string, object] => ["stream.create", { room, ...settings }];
const publish = (data: unknown, more: object = {}): readonly [string, object] => [
  "stream.publish",
  { room, event: "made", data, ...more },
];
const producer = (epoch: number, seq: number) => ({
  producer_id: "p",
  producer_epoch: epoch,
  producer_seq: seq,
});
const event = (offset: number, record: number, data: string, more: object = {}) => ({
  id: `00000000-${record.toString(16).padStart(4, "0")}-8000-8000-000000000000`,
  offset,
  room,
  event: "made",
  data: [...Buffer.from(data)],
  timestamp: NOW / 1000,
  metadata: {},
  ...more,
});
const consumed = (events: readonly object[], next: number, end = next, earliest = 0) => ({
  events,
  next_offset: next,
  end_offset: end,
  earliest_offset: earliest,
  generation: 1,
});
const tooLong = { streamRules: { nameBytesMax: 10 }, error: "STREAM_NAME_INVALID" };

type Row = Omit<OperationCase, "operation">;
const rowsOf = (operation: string, rows: readonly Row[]): OperationCase[] =>
  rows.map((row) => ({ operation, ...row }));

/** What `stream.publish` and its batch refuse alike; `input` is what either needs besides. */
const refusals = (input: object): Row[] => [
  { says: "to no room", input: { room, ...input }, error: "STREAM_NOT_FOUND" },
  {
    says: "not where it was expected",
    given: [create(), publish(1)],
    input: { room, ...input, expected_offset: 3 },
    error: "STREAM_OFFSET_MISMATCH",
    details: { expected: 3, actual: 1 },
  },
  {
    says: "by an older epoch",
    given: [create(), publish(1, producer(2, 0))],
    input: { room, ...input, ...producer(1, 0) },
    error: "STREAM_PRODUCER_STALE",
    details: { epoch: 2 },
  },
  {
    says: "with a request missing",
    given: [create(), publish(1, producer(1, 0))],
    input: { room, ...input, ...producer(1, 2) },
    error: "STREAM_PRODUCER_GAP",
    details: { expected: 1, received: 2 },
  },
  {
    says: "a new epoch that begins late",
    given: [create(), publish(1, producer(1, 0))],
    input: { room, ...input, ...producer(2, 1) },
    error: "STREAM_PRODUCER_EPOCH_START",
  },
  {
    says: "a producer without a name",
    given: [create()],
    input: { room, ...input, ...producer(0, 0), producer_id: "" },
    error: "STREAM_PRODUCER_INVALID",
  },
  {
    says: "half a producer",
    given: [create()],
    input: { room, ...input, producer_id: "p" },
    error: "API_FIELD_MISSING",
  },
  {
    says: "one producer too many",
    given: [create(), publish(1, producer(0, 0))],
    input: { room, ...input, ...producer(0, 0), producer_id: "q" },
    streamRules: { producersMax: 1 },
    error: "STREAM_PRODUCERS_FULL",
  },
  {
    says: "more data than a message may have",
    given: [create()],
    input: { room, ...input },
    streamRules: { messageBytesMax: 2 },
    error: "STREAM_MESSAGE_TOO_LARGE",
  },
];

const brokenName = '"\\ud800"';

export const streamCases: readonly OperationCase[] = [
  ...rowsOf("stream.create", [
    { says: "a new one", input: { room }, payload: { success: true, room, generation: 1 } },
    {
      says: "with a retention",
      input: { room, max_events: 5, max_bytes: 0, max_age_secs: 60 },
      payload: { success: true, room, generation: 1 },
    },
    {
      says: "an age that no number of ms can be",
      input: { room, max_age_secs: Number.MAX_SAFE_INTEGER },
      error: "STREAM_CONFIG_INVALID",
    },
    { says: "one that is there", given: [create()], input: { room }, error: "STREAM_EXISTS" },
    { says: "no name", input: { room: "" }, error: "STREAM_NAME_INVALID" },
    { says: "a long name", input: { room }, ...tooLong },
    {
      says: "one too many",
      given: [["stream.create", { room: "a" }]],
      input: { room },
      streamRules: { streamsMax: 1 },
      error: "STREAM_TOO_MANY",
    },
    {
      says: "again after a delete, as a later generation",
      given: [create(), ["stream.delete", { room }]],
      input: { room },
      payload: { success: true, room, generation: 2 },
    },
  ]),
  ...rowsOf("stream.get_or_create", [
    {
      says: "a new one",
      input: { room, max_events: 5 },
      payload: { success: true, room, created: true, generation: 1 },
    },
    {
      says: "an age that no number of ms can be",
      input: { room, max_age_secs: Number.MAX_SAFE_INTEGER },
      error: "STREAM_CONFIG_INVALID",
    },
    {
      says: "one that is there",
      given: [create()],
      input: { room },
      payload: { success: true, room, created: false, generation: 1 },
    },
    { says: "no name", input: { room: "" }, error: "STREAM_NAME_INVALID" },
    { says: "a long name", input: { room }, ...tooLong },
    {
      says: "one too many",
      given: [["stream.create", { room: "a" }]],
      input: { room },
      streamRules: { streamsMax: 1 },
      error: "STREAM_TOO_MANY",
    },
  ]),
  ...rowsOf("stream.publish", [
    {
      says: "the first",
      given: [create()],
      input: { room, event: "made", data: { a: 1 } },
      payload: { offset: 0, room, next_offset: 1 },
    },
    {
      says: "where it was expected",
      given: [create(), publish(1)],
      input: { room, event: "made", data: null, expected_offset: 1 },
      payload: { offset: 1, room, next_offset: 2 },
    },
    {
      says: "a producer's next",
      given: [create(), publish(1, producer(0, 0))],
      input: { room, event: "made", data: 2, ...producer(0, 1) },
      payload: { offset: 1, room, next_offset: 2 },
    },
    {
      says: "a producer's repeat",
      given: [create(), publish(1, producer(0, 0))],
      input: { room, event: "made", data: 1, ...producer(0, 0) },
      payload: { offset: null, room, duplicate: true, next_offset: 1 },
    },
    { says: "no data", given: [create()], input: { room, event: "made" }, error: "API_FIELD_MISSING" },
    {
      says: "an event's name that is no text",
      given: [create()],
      input: `{"room":"${room}","event":${brokenName},"data":1}`,
      error: "STREAM_MESSAGE_INVALID",
    },
    ...refusals({ event: "made", data: { long: true } }),
  ]),
  ...rowsOf("stream.publish_batch", [
    {
      says: "three at once",
      given: [create(), publish(0)],
      input: { room, events: [1, 2, 3].map((data) => ({ event: "made", data })) },
      payload: { first_offset: 1, count: 3, room, next_offset: 4 },
    },
    { says: "none", given: [create()], input: { room, events: [] }, error: "API_FIELD_INVALID" },
    {
      says: "one without data",
      given: [create()],
      input: { room, events: [{ event: "made" }] },
      error: "API_FIELD_MISSING",
    },
    {
      says: "too many",
      given: [create()],
      input: { room, events: [1, 2, 3].map((data) => ({ event: "made", data })) },
      streamRules: { batchMessagesMax: 2 },
      error: "STREAM_BATCH_TOO_LARGE",
    },
    {
      says: "a name that is no text",
      given: [create()],
      input: `{"room":"${room}","events":[{"event":${brokenName},"data":1}]}`,
      error: "STREAM_MESSAGE_INVALID",
    },
    ...refusals({ events: [{ event: "made", data: { long: true } }] }),
  ]),
  ...rowsOf("stream.consume", [
    {
      says: "an empty room",
      given: [create()],
      input: { room, subscriber_id: "s" },
      payload: consumed([], 0),
    },
    {
      says: "everything, as it was sent",
      given: [create(), publish({ b: 1, a: [true] }), publish("täxt", { metadata: { by: "me" } })],
      input: { room, subscriber_id: "s" },
      payload: consumed(
        [event(0, 2, '{"b":1,"a":[true]}'), event(1, 3, '"täxt"', { metadata: { by: "me" } })],
        2,
      ),
    },
    {
      says: "from an offset, as many as wanted",
      given: [create(), publish(1), publish(2), publish(3)],
      input: { room, subscriber_id: "s", from_offset: 1, limit: 1 },
      payload: consumed([event(1, 3, "2")], 2, 3),
    },
    {
      says: "beyond the end",
      given: [create(), publish(1)],
      input: { room, subscriber_id: "s", from_offset: 7 },
      payload: consumed([], 7, 1),
    },
    {
      says: "what is kept of a room that keeps one",
      given: [create({ max_events: 1 }), publish(1), publish(2)],
      input: { room, subscriber_id: "s", from_offset: 1 },
      payload: consumed([event(1, 3, "2")], 2, 2, 1),
    },
    {
      says: "what was trimmed",
      given: [create({ max_events: 1 }), publish(1), publish(2)],
      input: { room, subscriber_id: "s" },
      error: "STREAM_OFFSET_TRIMMED",
      details: { earliest: 1, requested: 0 },
    },
    { says: "no room", input: { room, subscriber_id: "s" }, error: "STREAM_NOT_FOUND" },
    {
      says: "a limit of none",
      given: [create()],
      input: { room, subscriber_id: "s", limit: 0 },
      error: "API_FIELD_INVALID",
    },
  ]),
  ...rowsOf("stream.stats", [
    {
      says: "of a room that keeps two",
      given: [
        create({ max_events: 2 }),
        publish(1),
        publish(2),
        publish(3),
        ["stream.consume", { room, subscriber_id: "s", from_offset: 1 }],
      ],
      input: { room },
      payload: {
        name: room,
        message_count: 2,
        min_offset: 1,
        max_offset: 2,
        next_offset: 3,
        subscriber_count: 1,
        total_published: 3,
        total_consumed: 2,
        dropped: 1,
        created_at: NOW,
        generation: 1,
      },
    },
    { says: "of no room", input: { room }, error: "STREAM_NOT_FOUND" },
  ]),
  ...rowsOf("stream.list", [
    { says: "none", input: {}, payload: { rooms: [], count: 0 } },
    {
      says: "in order",
      given: [
        ["stream.create", { room: "b" }],
        ["stream.create", { room: "a" }],
      ],
      input: {},
      payload: { rooms: ["a", "b"], count: 2 },
    },
    {
      says: "after one",
      given: [
        ["stream.create", { room: "b" }],
        ["stream.create", { room: "a" }],
      ],
      input: { after: "a" },
      payload: { rooms: ["b"], count: 1 },
    },
  ]),
  ...rowsOf("stream.trim", [
    {
      says: "some",
      given: [create(), publish(1), publish(2)],
      input: { room, before_offset: 1 },
      payload: { success: true, earliest_offset: 1 },
    },
    {
      says: "beyond the end",
      given: [create()],
      input: { room, before_offset: 1 },
      error: "STREAM_OFFSET_BEYOND_END",
      details: { end: 0, requested: 1 },
    },
    { says: "no room", input: { room, before_offset: 0 }, error: "STREAM_NOT_FOUND" },
  ]),
  ...rowsOf("stream.delete", [
    {
      says: "one that is there",
      given: [create(), publish(1)],
      input: { room },
      payload: { success: true, room, deleted: room },
    },
    { says: "one that is not", input: { room }, error: "STREAM_NOT_FOUND" },
  ]),
];
