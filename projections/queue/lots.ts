/**
 * Messages that can go all at once. Every message is in one lot: those of a queue that are ready (waiting or delayed), in flight,
 * or dead; its row has the lot's number. A purge condemns the lot: from then on no message of it is there, and what it
 * was charged is given back, in one step however many they are. Their slots are taken back afterwards, a bounded number at a
 * time: by the messages that come, by commands on their way, and by a timer. That is local and no answer tells of it.
 *
 * A condemned lot's number is not given out again before its last slot was taken back, so a slot that still has the number
 * is one of those, and a slot that was taken back and given out again is not.
 */
export class Lot {
  readonly number: number;
  messages = 0;
  chargedBytes = 0;

  constructor(number: number) {
    this.number = number;
  }
}

interface Condemned {
  readonly lot: Lot;
  /** Every slot of the lot, perhaps twice, and others that are not in it any more. */
  readonly slots: Iterator<number>;
}

export class Lots {
  readonly #condemned: Condemned[] = [];
  readonly #vacant: number[] = [];
  /** 0 is the number of no lot: a free slot's. */
  #numbers = 1;

  open(): Lot {
    return new Lot(this.#vacant.pop() ?? this.#numbers++);
  }

  get hasCondemned(): boolean {
    return this.#condemned.length > 0;
  }

  /** `slots` must give every slot of the lot. */
  condemn(lot: Lot, slots: Iterable<number>): void {
    this.#condemned.push({ lot, slots: slots[Symbol.iterator]() });
  }

  /** Looks at the next slot of a condemned lot and tells the lot's number with it; undefined when there is none. */
  next(): { readonly slot: number; readonly lot: number } | undefined {
    for (let last = this.#condemned.at(-1); last !== undefined; last = this.#condemned.at(-1)) {
      const { done, value } = last.slots.next();
      if (done !== true) return { slot: value, lot: last.lot.number };
      this.#condemned.pop();
      this.#vacant.push(last.lot.number);
    }
    return undefined;
  }

  /** Whoever asks has taken back all slots there are. */
  forgetCondemned(): void {
    for (const { lot } of this.#condemned.splice(0)) this.#vacant.push(lot.number);
  }
}
