/** Every operation, by name. A new one is added here and nowhere else. */
import { adminOperations } from "./admin.js";
import { batchOperation } from "./batch.js";
import { historyOperations } from "./history.js";
import { valueOperations } from "./kv.js";
import { batchOperations } from "./kv-batches.js";
import { keyOperations } from "./kv-keys.js";
import { restoreOperations } from "./kv-restore.js";
import { lookOperations } from "./look.js";
import type { Operation } from "./operation.js";
import { pointOperations } from "./points.js";
import { queueOperations } from "./queue.js";
import { deliveryOperations } from "./queue-deliveries.js";
import { letterOperations } from "./queue-letters.js";
import { replicationOperations } from "./replication.js";
import { snapshotOperations } from "./snapshots.js";
import { streamOperations } from "./stream.js";
import { transactionOperations } from "./transaction.js";

const single: readonly Operation[] = [
  ...valueOperations,
  ...batchOperations,
  ...keyOperations,
  ...queueOperations,
  ...deliveryOperations,
  ...letterOperations,
  ...streamOperations,
  ...adminOperations,
  ...snapshotOperations,
  ...pointOperations,
  ...lookOperations,
  ...historyOperations,
  ...restoreOperations,
  ...replicationOperations,
];

export const operations: readonly Operation[] = [
  ...single,
  ...transactionOperations,
  batchOperation(() => commands),
];

/** What the command envelope can run, aliases included. */
export const commands: ReadonlyMap<string, Operation> = byCommand(operations);

function byCommand(list: readonly Operation[]): ReadonlyMap<string, Operation> {
  return new Map(
    list
      .filter((operation) => operation.envelope !== false)
      .flatMap((operation) =>
        [operation.name, ...(operation.aliases ?? [])].map((name): [string, Operation] => [name, operation]),
      ),
  );
}

/**
 * Keys that the raw door can't serve, because `/kv/<name>` is a route of its own or will be one: refused for every
 * method, so that a key that can be written can always be read at the same place.
 */
export const reservedKeys: ReadonlySet<string> = new Set(["stats", "scan", "keys", "dbsize", "ws"]);
