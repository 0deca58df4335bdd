/** Every command of `annals`, in the order of its help. */
import type { Command } from "commander";
import { addAt } from "./at.js";
import { addBackup } from "./backup.js";
import { addBisect } from "./bisect.js";
import { addConfig } from "./config.js";
import { addDiff } from "./diff.js";
import { addDrill } from "./drill.js";
import { addDump } from "./dump.js";
import { addImport } from "./import.js";
import { addRepair } from "./repair.js";
import { addRestore } from "./restore.js";
import { addServe } from "./serve.js";
import { addSnapshot } from "./snapshot.js";
import { addUndo } from "./undo.js";
import { addVerify } from "./verify.js";

export const commands: readonly ((program: Command) => void)[] = [
  addServe,
  addConfig,
  addImport,
  addSnapshot,
  addBackup,
  addRestore,
  addDrill,
  addVerify,
  addDump,
  addAt,
  addDiff,
  addBisect,
  addRepair,
  addUndo,
];
