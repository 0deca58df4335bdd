/** The operations on rooms: event streams that are read from an offset. */
import { Type } from "@sinclair/typebox";
import type { Offset } from "../../log/index.js";
import { type AppendOutcome, stream } from "../../projections/index.js";
import type { JsonObject } from "../json-write.js";
import type { Call } from "./call.js";
import { closed, LogOffset, Success } from "./fields.js";
import { type Answered, type Reply, shown, written } from "./reply.js";
import {
  createCommand,
  defineRoomOperation,
  eventFields,
  eventsOf,
  messageOf,
  publishCommand,
  publishFields,
  ROOM_PREFIX,
  Room,
  RoomEvent,
  retentionFields,
  roomName,
  StreamOffset,
} from "./stream-fields.js";
import { write } from "./write.js";

const CONSUME_LIMIT = 100;
/** Past it a page ends early, and `next_offset` says where to go on: an answer stays small enough to be written at once. */
const PAGE_EVENTS_MAX = 10_000;
const PAGE_BYTES_MAX = 4 * 1_048_576;
const LIST_MAX = 10_000;

const Generation = Type.Integer({
  description: "Grows with every room ever created: another one means that the room was made anew.",
});

export const create = defineRoomOperation({
  name: "stream.create",
  kind: "write",
  summary: "Create a room",
  input: Type.Object({ room: Room, ...retentionFields }, closed),
  output: Type.Object({
    success: Success,
    room: Type.String(),
    generation: Generation,
    log_offset: LogOffset,
  }),
  errors: ["STREAM_CONFIG_INVALID", "STREAM_EXISTS", "STREAM_NAME_INVALID", "STREAM_TOO_MANY"],
  rest: [{ method: "POST", path: "/stream/{room}" }],
  prepare(input) {
    const { room } = input;
    const command = createCommand(input);
    if ("code" in command) return command;
    return write(stream.create, command, ({ generation }, offset) =>
      written({ success: true, room, generation, log_offset: offset }, offset),
    );
  },
});

export const getOrCreate = defineRoomOperation({
  name: "stream.get_or_create",
  kind: "write",
  summary: "Create a room unless it is there",
  description: "One that is there keeps its retention.",
  input: Type.Object({ room: Room, ...retentionFields }, closed),
  output: Type.Object({
    success: Success,
    room: Type.String(),
    created: Type.Boolean(),
    generation: Generation,
    log_offset: LogOffset,
  }),
  errors: ["STREAM_CONFIG_INVALID", "STREAM_NAME_INVALID", "STREAM_TOO_MANY"],
  rest: [{ method: "PUT", path: "/stream/{room}" }],
  prepare(input) {
    const { room } = input;
    const command = createCommand(input);
    if ("code" in command) return command;
    return write(stream.getOrCreate, command, ({ created, generation }, offset) =>
      written({ success: true, room, created, generation, log_offset: offset }, offset),
    );
  },
});

const publishErrors = [
  "STREAM_NOT_FOUND",
  "STREAM_OFFSET_MISMATCH",
  "STREAM_PRODUCER_STALE",
  "STREAM_PRODUCER_GAP",
  "STREAM_PRODUCER_EPOCH_START",
  "STREAM_PRODUCER_INVALID",
  "STREAM_PRODUCERS_FULL",
  "STREAM_MESSAGE_INVALID",
  "STREAM_MESSAGE_TOO_LARGE",
] as const;

const duplicateFields = {
  duplicate: Type.Optional(
    Type.Literal(true, { description: "The producer's request was accepted before; nothing happened now." }),
  ),
  next_offset: Type.Integer({ description: "Offset that the room's next event will have." }),
  log_offset: LogOffset,
};

export const publish = defineRoomOperation({
  name: "stream.publish",
  kind: "write",
  summary: "Publish an event to a room",
  description:
    "`offset` is the event's; in the answer to a producer's repeat, whose offset is not remembered, it is null.",
  input: Type.Object({ room: Room, ...eventFields, ...publishFields }, closed),
  output: Type.Object({
    offset: Type.Union([StreamOffset, Type.Null()]),
    room: Type.String(),
    ...duplicateFields,
  }),
  errors: publishErrors,
  exact: [["data"], ["metadata"]],
  rest: [{ method: "POST", path: "/stream/{room}/publish" }],
  prepare(input) {
    const message = messageOf(input);
    if ("code" in message) return message;
    const command = publishCommand(input.room, [message], input);
    if ("code" in command) return command;
    return write(stream.publish, command, (outcome, offset) => {
      const { room } = input;
      const duplicate = duplicateOf(outcome);
      const payload = {
        offset: firstOf(outcome),
        room,
        duplicate,
        next_offset: outcome.end,
        log_offset: offset,
      };
      return published(payload, outcome, offset, [input]);
    });
  },
});

export const publishBatch = defineRoomOperation({
  name: "stream.publish_batch",
  kind: "write",
  summary: "Publish events to a room, all or none",
  description: "One record: the events stand together, at consecutive offsets, also after a crash.",
  input: Type.Object(
    { room: Room, events: Type.Array(Type.Object(eventFields, closed), { minItems: 1 }), ...publishFields },
    closed,
  ),
  output: Type.Object({
    first_offset: Type.Union([StreamOffset, Type.Null()]),
    count: Type.Integer(),
    room: Type.String(),
    ...duplicateFields,
  }),
  errors: [...publishErrors, "STREAM_BATCH_TOO_LARGE"],
  exact: [
    ["events", "data"],
    ["events", "metadata"],
  ],
  rest: [{ method: "POST", path: "/stream/{room}/publish/batch" }],
  prepare(input) {
    const messages = [];
    for (const event of input.events) {
      const message = messageOf(event);
      if ("code" in message) return message;
      messages.push(message);
    }
    const command = publishCommand(input.room, messages, input);
    if ("code" in command) return command;
    const { room } = input;
    return write(stream.publish, command, (outcome, offset) => {
      const payload = {
        first_offset: firstOf(outcome),
        count: messages.length,
        room,
        duplicate: duplicateOf(outcome),
        next_offset: outcome.end,
        log_offset: offset,
      };
      return published(payload, outcome, offset, input.events);
    });
  },
});

function firstOf(outcome: AppendOutcome): number | null {
  return outcome.type === "appended" ? outcome.first : null;
}

function duplicateOf(outcome: AppendOutcome): true | undefined {
  return outcome.type === "duplicate" ? true : undefined;
}

/** A producer's repeat is counted once. */
function published(
  payload: JsonObject & { readonly room: string },
  outcome: AppendOutcome,
  offset: Offset,
  events: readonly { readonly event: string }[],
): Answered {
  if (outcome.type !== "appended") return written(payload, offset);
  const { room } = payload;
  const counted = events.map(({ event }) => ({ room, eventType: event, count: 1 }));
  return { type: "answered", payload, offset, published: counted };
}

export const consume = defineRoomOperation({
  name: "stream.consume",
  kind: "read",
  summary: "Read a room's events from an offset",
  description:
    "The subscriber's name counts in the room's statistics; where to go on is `next_offset`, which the client keeps. A page may be shorter than `limit`: the end is reached when `next_offset` is `end_offset`.",
  input: Type.Object(
    {
      room: Room,
      subscriber_id: Type.String({ maxLength: 1_024 }),
      from_offset: Type.Optional(StreamOffset),
      limit: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: Number.MAX_SAFE_INTEGER,
          description: `Most events wanted; default ${CONSUME_LIMIT}, more than ${PAGE_EVENTS_MAX} come in pages.`,
        }),
      ),
    },
    closed,
  ),
  output: Type.Object({
    events: Type.Array(RoomEvent),
    next_offset: Type.Integer({ description: "After the last event; `from_offset` when there is none." }),
    end_offset: Type.Integer({ description: "Offset of the next event to be published." }),
    earliest_offset: Type.Integer({ description: "The oldest that is kept." }),
    generation: Generation,
  }),
  errors: ["STREAM_NOT_FOUND", "STREAM_OFFSET_TRIMMED"],
  rest: [{ method: "GET", path: "/stream/{room}/consume/{subscriber_id}" }],
  run: (input, call) => readPage(input, call),
});

interface ConsumeInput {
  room: string;
  subscriber_id: string;
  from_offset?: number;
  limit?: number;
}

async function readPage(input: ConsumeInput, call: Call): Promise<Reply> {
  const { room, subscriber_id, from_offset = 0, limit = CONSUME_LIMIT } = input;
  const limits = { messagesMax: Math.min(limit, PAGE_EVENTS_MAX), bytesMax: PAGE_BYTES_MAX };
  const query = { name: roomName(room), from: from_offset, subscriber: subscriber_id, limits };
  const found = await call.query(stream.consume, query, (answer) => answer);
  if ("code" in found) return found;
  const { plan, next, end, earliest } = found;
  const events = plan.count === 0 ? [] : eventsOf(room, await call.desk.options.store.bodies(plan));
  return shown({
    events,
    next_offset: next,
    end_offset: end,
    earliest_offset: earliest,
    generation: found.stream.generation,
  });
}

export const stats = defineRoomOperation({
  name: "stream.stats",
  kind: "read",
  summary: "What a room holds",
  input: Type.Object({ room: Room }, closed),
  output: Type.Object({
    name: Type.String(),
    message_count: Type.Integer(),
    min_offset: Type.Integer({ description: "The oldest event that is kept; `next_offset` when none is." }),
    max_offset: Type.Integer({
      description: "The newest event; 0 also when there was none yet: see `next_offset`.",
    }),
    next_offset: Type.Integer(),
    subscriber_count: Type.Integer({
      description: "Subscribers seen since the process began: up to 1,000 of a room, 100,000 of all.",
    }),
    total_published: Type.Integer(),
    total_consumed: Type.Integer({ description: "Since the process began." }),
    dropped: Type.Integer({ description: "Events that the room's retention removed." }),
    created_at: Type.Integer({ description: "Ms since 1970." }),
    generation: Generation,
  }),
  errors: ["STREAM_NOT_FOUND"],
  rest: [{ method: "GET", path: "/stream/{room}/stats" }],
  run({ room }, call) {
    return call.query(stream.stats, { name: roomName(room) }, (found) => {
      const { facts, earliest, subscribers, consumed } = found;
      return shown({
        name: room,
        message_count: facts.end - earliest,
        min_offset: earliest,
        max_offset: Math.max(0, facts.end - 1),
        next_offset: facts.end,
        subscriber_count: subscribers,
        total_published: facts.end,
        total_consumed: consumed,
        dropped: earliest,
        created_at: facts.createdAt,
        generation: facts.generation,
      });
    });
  },
});

export const list = defineRoomOperation({
  name: "stream.list",
  kind: "read",
  summary: "List rooms",
  description: `In order of their names, at most ${LIST_MAX}; \`after\` goes on behind the last one.`,
  input: Type.Object({ after: Type.Optional(Type.String({ description: "Rooms after this one." })) }, closed),
  output: Type.Object({ rooms: Type.Array(Type.String()), count: Type.Integer() }),
  errors: [],
  rest: [{ method: "GET", path: "/stream/list" }],
  run({ after = "" }, call) {
    const query = { prefix: ROOM_PREFIX, after: roomName(after), limit: LIST_MAX };
    return call.query(stream.list, query, ({ names }) => {
      const rooms = names.map((name) => name.slice(ROOM_PREFIX.length));
      return shown({ rooms, count: rooms.length });
    });
  },
});

export const trim = defineRoomOperation({
  name: "stream.trim",
  kind: "write",
  summary: "Remove a room's oldest events",
  input: Type.Object({ room: Room, before_offset: StreamOffset }, closed),
  output: Type.Object({ success: Success, earliest_offset: StreamOffset, log_offset: LogOffset }),
  errors: ["STREAM_NOT_FOUND", "STREAM_OFFSET_BEYOND_END"],
  rest: [{ method: "POST", path: "/stream/{room}/trim" }],
  prepare({ room, before_offset }) {
    const command = { name: roomName(room), before: before_offset };
    return write(stream.trim, command, ({ earliest }, offset) =>
      written({ success: true, earliest_offset: earliest, log_offset: offset }, offset),
    );
  },
});

export const del = defineRoomOperation({
  name: "stream.delete",
  kind: "write",
  summary: "Delete a room",
  input: Type.Object({ room: Room }, closed),
  output: Type.Object({
    success: Success,
    room: Type.String(),
    deleted: Type.String({ description: "The room's name." }),
    log_offset: LogOffset,
  }),
  errors: ["STREAM_NOT_FOUND"],
  rest: [{ method: "DELETE", path: "/stream/{room}" }],
  prepare({ room }) {
    return write(stream.delete, { name: roomName(room) }, (_answer, offset) =>
      written({ success: true, room, deleted: room, log_offset: offset }, offset),
    );
  },
});

export const streamOperations = [create, getOrCreate, publish, publishBatch, consume, stats, list, trim, del];
