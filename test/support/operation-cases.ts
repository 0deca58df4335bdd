/**
 * What every operation answers, as a table: given some commands, when this input, then this payload or this error. The
 * contract test runs each row through the envelope and through every REST binding of the operation.
 */
import { batchCases } from "./cases/batch-cases.js";
import type { OperationCase } from "./cases/case.js";
import { historyCases } from "./cases/history-cases.js";
import { keyCases } from "./cases/key-cases.js";
import { lookCases } from "./cases/look-cases.js";
import { pointCases } from "./cases/point-cases.js";
import { queueCases } from "./cases/queue-cases.js";
import { consumerCases } from "./cases/queue-delivery-cases.js";
import { letterCases } from "./cases/queue-letter-cases.js";
import { replicationCases } from "./cases/replication-cases.js";
import { streamCases } from "./cases/stream-cases.js";
import { transactionCases } from "./cases/transaction-cases.js";
import { valueCases } from "./cases/value-cases.js";

export type { OperationCase } from "./cases/case.js";

export const operationCases: readonly OperationCase[] = [
  ...valueCases,
  ...batchCases,
  ...keyCases,
  ...transactionCases,
  ...queueCases,
  ...consumerCases,
  ...letterCases,
  ...streamCases,
  ...pointCases,
  ...lookCases,
  ...historyCases,
  ...replicationCases,
];
