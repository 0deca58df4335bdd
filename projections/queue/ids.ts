/**
 * Message ids and receipts as text: `<offset>-<place>` of the event that they stand for. Nothing random, so a replay gives the
 * same; never used twice, since no event shares its place.
 */
import { type Offset, offset } from "../../log/index.js";
import type { EventRef } from "./contract.js";

const ID = /^([1-9]\d{0,15})-(0|[1-9]\d{0,9})$/;

export function idOf(ref: EventRef): string {
  return `${ref.offset}-${ref.place}`;
}

/** The id of an event of the record that is being decided, when the record has its offset and the event its place. */
export function idWithin(ref: EventRef, record: Offset): string {
  return `${ref.offset === 0 ? record : ref.offset}-${ref.place}`;
}

/** Undefined when no event can have this id. */
export function parseId(id: string): EventRef | undefined {
  const [, record, place] = ID.exec(id) ?? [];
  const ref = { offset: offset(Number(record)), place: Number(place) };
  return Number.isSafeInteger(ref.offset) ? ref : undefined;
}

export function sameRef(a: EventRef, b: EventRef): boolean {
  return a.offset === b.offset && a.place === b.place;
}

/** The order of the log. */
export function compareRefs(a: EventRef, b: EventRef): number {
  return a.offset - b.offset || a.place - b.place;
}
