/** Every queue operation as a value, by name. Deciders change, readers ask; both run through `Store`. */
import type { Decider, Reader } from "../decision.js";
import type * as c from "./contract.js";

type Nothing = Record<string, never>;

export interface QueueOperations {
  readonly create: Decider<c.CreateCommand, c.CreateAnswer>;
  readonly publish: Decider<c.PublishCommand, c.PublishAnswer>;
  readonly publishMany: Decider<c.PublishManyCommand, c.PublishManyAnswer>;
  readonly consume: Decider<c.ConsumeCommand, c.ConsumeAnswer>;
  readonly ack: Decider<c.AckCommand, { acked: true }>;
  readonly ackMany: Decider<c.AckManyCommand, c.AckManyAnswer>;
  readonly nack: Decider<c.NackCommand, c.NackAnswer>;
  readonly extend: Decider<c.ExtendCommand, c.ExtendAnswer>;
  readonly purge: Decider<c.QueueQuery, c.PurgeAnswer>;
  readonly delete: Decider<c.QueueQuery, c.DeleteQueueAnswer>;
  readonly requeueDead: Decider<c.RequeueDeadCommand, c.RequeueDeadAnswer>;
  readonly purgeDead: Decider<c.QueueQuery, c.PurgeAnswer>;
  readonly due: Decider<c.DueCommand, c.DueAnswer>;
  readonly list: Reader<Nothing, c.ListAnswer>;
  readonly stats: Reader<c.QueueQuery, c.QueueStats>;
  readonly peek: Reader<c.PeekQuery, c.PeekAnswer>;
  readonly deadLetters: Reader<c.DeadLettersQuery, c.DeadLettersAnswer>;
  /** One message, whatever its state. Refuses with QUEUE_NOT_FOUND, QUEUE_MESSAGE_NOT_FOUND. */
  readonly get: Reader<c.MessageQuery, c.SeenMessage>;
}
