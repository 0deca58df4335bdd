/**
 * Promise: a read that names a token is answered from a state that holds what the token tells of, or not at all; and a replica calls lost only what
 * is lost, as long as no promotion was forced.
 */
import { PromiseBroken } from "./promise-broken.js";

export interface AnsweredRead {
  readonly node: string;
  readonly token: { readonly offset: number; readonly epoch: number; readonly body: string };
  /** What the answering node had at the token's offset; undefined when retention took it. */
  readonly found: string | undefined;
}

export function checkTokens(reads: readonly AnsweredRead[]): void {
  for (const { node, token, found } of reads)
    if (found !== undefined && found !== token.body)
      throw new PromiseBroken(
        "tokens",
        `${node} answered for offset ${token.offset} of epoch ${token.epoch} from a log that has another record there`,
      );
}

/** `found`: what the history has there in the end. */
export function checkRefusedTokens(
  refused: readonly Omit<AnsweredRead, "found">[],
  found: (offset: number) => string | undefined,
): void {
  for (const { node, token } of refused)
    if (found(token.offset) === token.body)
      throw new PromiseBroken(
        "tokens",
        `${node} called offset ${token.offset} of epoch ${token.epoch} lost, and it is in the history`,
      );
}
