/** Every command of `annals`, in the order of its help. */
import type { Command } from "commander";
import { addConfig } from "./config.js";
import { addImport } from "./import.js";
import { addServe } from "./serve.js";

export const commands: readonly ((program: Command) => void)[] = [addServe, addConfig, addImport];
