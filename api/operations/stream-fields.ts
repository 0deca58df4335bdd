/** The fields that operations on rooms share, and how rooms, events and refusals look from outside. */
import { type TObject, Type } from "@sinclair/typebox";
import type {
  AppendStreamCommand,
  CreateStreamCommand,
  NewStreamMessage,
  Producer,
  ReadSlice,
  Retention,
} from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { type Json, type JsonObject, JsonText } from "../json-write.js";
import { closed } from "./fields.js";
import { defineOperation, type Operation, type OperationDefinition } from "./operation.js";
import { jsonTextOf } from "./values.js";

/** Rooms and durable streams share one space of names; this is the part of each. */
export const ROOM_PREFIX = "room/";
export const DURABLE_PREFIX = "ds/";
export const roomName = (room: string): string => ROOM_PREFIX + room;

/** An operation on rooms is measured under the name of its room. */
export function defineRoomOperation<Input extends TObject>(
  definition: OperationDefinition<Input>,
): Operation {
  return defineOperation({ ...definition, subject: roomOf });
}

/** The input was checked; `stream.list` names no room. */
function roomOf(input: unknown): string {
  if (typeof input !== "object" || input === null) return "";
  const room: unknown = Reflect.get(input, "room");
  return typeof room === "string" ? room : "";
}

/** A room's events are JSON texts. */
export const ROOM_TYPE = "application/json";

export const Room = Type.String({ description: "Any Unicode except nothing at all; bounded in bytes." });

const count = (description: string) =>
  Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description });

export const StreamOffset = count("Number of an event in its room, from 0, without gaps.");

export const retentionFields = {
  max_events: Type.Optional(count("Events kept; 0 = all. Older ones go with each publish. Default 0.")),
  max_bytes: Type.Optional(
    count("Bytes of data kept; 0 = all. Whole publishes go, never the newest. Default 0."),
  ),
  max_age_secs: Type.Optional(count("Seconds that an event is kept; 0 = for ever. Default 0.")),
};

interface RetentionInput {
  max_events?: number;
  max_bytes?: number;
  max_age_secs?: number;
}

function retentionOf({ max_events = 0, max_bytes = 0, max_age_secs = 0 }: RetentionInput): Retention {
  return {
    ...(max_events > 0 ? { count: max_events } : {}),
    ...(max_bytes > 0 ? { bytes: max_bytes } : {}),
    ...(max_age_secs > 0 ? { ageMs: max_age_secs * 1000 } : {}),
  };
}

/** What creates a room. One without a name would have its prefix for one, and no list would show it. */
export function createCommand(input: RetentionInput & { room: string }): CreateStreamCommand | Refusal {
  const { room } = input;
  if (room === "") return refusal("STREAM_NAME_INVALID", "a room's name must not be empty");
  return { name: roomName(room), contentType: ROOM_TYPE, retention: retentionOf(input) };
}

export const eventFields = {
  event: Type.String({ description: "What kind of event it is." }),
  data: Type.Unknown({ description: "Any JSON, kept as the JSON text that was sent." }),
  metadata: Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), {
      description: "Kept with the event, as it was sent, and given back.",
    }),
  ),
};

export const publishFields = {
  expected_offset: Type.Optional(
    count("Publish only if this will be the offset of the (first) event; else 409 and nothing happens."),
  ),
  producer_id: Type.Optional(
    Type.String({
      description: "With `producer_epoch` and `producer_seq`: a repeat is recognised and changes nothing.",
    }),
  ),
  producer_epoch: Type.Optional(count("Grows when the producer begins anew, with `producer_seq` 0.")),
  producer_seq: Type.Optional(count("Number of this request within the epoch, from 0.")),
};

interface PublishOptions {
  expected_offset?: number;
  producer_id?: string;
  producer_epoch?: number;
  producer_seq?: number;
}

export function publishCommand(
  room: string,
  messages: readonly NewStreamMessage[],
  options: PublishOptions,
): AppendStreamCommand | Refusal {
  const producer = producerOf(options);
  if (producer !== undefined && "code" in producer) return producer;
  const { expected_offset } = options;
  const command = { name: roomName(room), messages };
  if (producer === undefined && expected_offset === undefined) return command;
  return {
    ...command,
    ...(producer === undefined ? {} : { producer }),
    ...(expected_offset === undefined ? {} : { expectedOffset: expected_offset }),
  };
}

function producerOf(options: PublishOptions): Producer | Refusal | undefined {
  const { producer_id: id, producer_epoch: epoch, producer_seq: seq } = options;
  if (id === undefined && epoch === undefined && seq === undefined) return undefined;
  if (id !== undefined && epoch !== undefined && seq !== undefined) return { id, epoch, seq };
  return refusal("API_FIELD_MISSING", "producer_id, producer_epoch and producer_seq go together");
}

/** `data` is whatever JSON was sent: a string, or the exact text of anything else; so is `metadata`, an object. */
export function messageOf(input: {
  event: string;
  data?: unknown;
  metadata?: unknown;
}): NewStreamMessage | Refusal {
  // A schema of any value lets a missing one pass.
  if (input.data === undefined) return refusal("API_FIELD_MISSING", 'field "data" is missing');
  const message = { bytes: jsonTextOf(input.data), tag: input.event };
  return input.metadata === undefined ? message : { ...message, metadata: jsonTextOf(input.metadata) };
}

export const RoomEvent = Type.Object(
  {
    id: Type.String({ description: "A UUID, the same at every reading, on every node." }),
    offset: StreamOffset,
    room: Type.String(),
    event: Type.String(),
    data: Type.Array(Type.Integer({ minimum: 0, maximum: 255 }), {
      description: "The bytes of the JSON text.",
    }),
    timestamp: Type.Integer({ description: "Seconds since 1970." }),
    metadata: Type.Record(Type.String(), Type.Unknown()),
  },
  closed,
);

export function eventsOf(room: string, slices: readonly ReadSlice[]): readonly Json[] {
  return slices.flatMap((slice) =>
    slice.messages.map((message, index) => eventJson(room, slice, message, index)),
  );
}

function eventJson(room: string, slice: ReadSlice, message: Uint8Array, index: number): JsonObject {
  const metadata = slice.metadata[index];
  return {
    id: eventId(slice, index),
    offset: slice.first + index,
    room,
    event: slice.tags[index] ?? "",
    data: new JsonText(`[${message.join(",")}]`),
    timestamp: Math.floor(slice.timestamp / 1000),
    metadata: metadata === undefined ? {} : new JsonText(metadata),
  };
}

/**
 * Where the event stands in the log, in the form of a UUID of version 8 (RFC 9562: of the vendor's own making): 48 bits of the
 * record's offset, 24 of the place in it, 48 of the number at that place. Nothing is drawn, so that every reading agrees.
 */
function eventId({ event, skip }: ReadSlice, index: number): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
  const offset = hex(event.offset, 12).slice(-12);
  const place = hex(event.place, 6).slice(-6);
  const number = hex(skip + index, 12).slice(-12);
  return `${offset.slice(0, 8)}-${offset.slice(8)}-8${place.slice(0, 3)}-8${place.slice(3)}-${number}`;
}
