/** How fast the processor is at this moment: what absolute figures have to be read beside. */
import crc32 from "crc/calculators/crc32";
import { spreadOf } from "./statistics.js";

const BLOCK_BYTES = 64 * 1024;
/** Of a thread alone, on the machine for which the goals were set, by the same loop. */
const BLOCKS_PER_SECOND_THERE = 7_200;
const TRIES = 7;
const TRY_MS = 15;

const block = Uint8Array.from({ length: BLOCK_BYTES }, (_, at) => at * 7);

/**
 * The pace of one thread for plain JavaScript that stays in its caches, as a share of what it was where the goals were set: a checksum by tables, a
 * byte at a time. Clock, neighbours on the same core, and a hypervisor's share are in it; memory, disk and system calls are not.
 */
export function pace(): number {
  return spreadOf(Array.from({ length: TRIES }, blocksPerSecond)).median / BLOCKS_PER_SECOND_THERE;
}

function blocksPerSecond(): number {
  const began = performance.now();
  let blocks = 0;
  let took = 0;
  for (; took < TRY_MS; took = performance.now() - began, blocks++) crc32(block);
  return (blocks / took) * 1000;
}
