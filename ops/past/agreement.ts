/**
 * How far two logs are the same. The chained crc at an offset is a fingerprint of everything up to it: where two logs have the same,
 * they are the same up to there, and from the first difference on they never agree again. So halving finds the place.
 */

/** A log that tells its fingerprints: a directory, or a node. */
export interface CrcSource {
  readonly name: string;
  readonly clusterId: string;
  readonly firstOffset: number;
  readonly endOffset: number;
  crcAt(offset: number): Promise<number>;
}

export interface Agreement {
  /** Undefined: they differ from the first record on that both still have. */
  readonly sameUpTo: number | undefined;
  /** The first offset at which both have a record, and another one; undefined when the shorter one is all in the longer. */
  readonly firstDifferent: number | undefined;
  /** The first offset that both have. */
  readonly comparedFrom: number;
  /** Fingerprints that were asked for, of each. */
  readonly asked: number;
}

/** @throws RangeError when no offset is in both. */
export async function agreementOf(a: CrcSource, b: CrcSource): Promise<Agreement> {
  const comparedFrom = Math.max(a.firstOffset, b.firstOffset);
  const end = Math.min(a.endOffset, b.endOffset);
  if (end < comparedFrom) {
    throw new RangeError(
      `${a.name} has offsets ${a.firstOffset} to ${a.endOffset}, ${b.name} ${b.firstOffset} to ${b.endOffset}: none is in both`,
    );
  }
  let asked = 0;
  const isSame = async (offset: number): Promise<boolean> => {
    asked += 1;
    const [ours, theirs] = await Promise.all([a.crcAt(offset), b.crcAt(offset)]);
    return ours === theirs;
  };
  // Chains of two clusters begin apart, and must never be called the same by accident of 32 bits.
  const related = a.clusterId === b.clusterId;
  if (related && (await isSame(end))) {
    return { sameUpTo: end, firstDifferent: undefined, comparedFrom, asked };
  }
  if (!related || !(await isSame(comparedFrom))) {
    return { sameUpTo: undefined, firstDifferent: comparedFrom, comparedFrom, asked };
  }
  // Invariant: the same at `same`, different at `different`.
  let [same, different] = [comparedFrom, end];
  while (different - same > 1) {
    const middle = same + Math.floor((different - same) / 2);
    if (await isSame(middle)) same = middle;
    else different = middle;
  }
  return { sameUpTo: same, firstDifferent: different, comparedFrom, asked };
}
