/** Every queue operation as a value, by name. Deciders change, readers ask; both run through `Store`. */
import { ack, ackMany, consume, extend, giveBack, nack } from "./decide-deliveries.js";
import { publish, publishMany } from "./decide-publish.js";
import { create, deleteQueue, due, purge, purgeDead, requeueDead } from "./decide-queues.js";
import { deadLetters, get, isOverdue, lifeEnd, list, peek, stats } from "./readers.js";

export const queue = {
  create,
  publish,
  publishMany,
  consume,
  ack,
  ackMany,
  nack,
  giveBack,
  extend,
  purge,
  delete: deleteQueue,
  requeueDead,
  purgeDead,
  due,
  isOverdue,
  list,
  stats,
  peek,
  deadLetters,
  get,
  lifeEnd,
} as const;
