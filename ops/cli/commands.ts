/**
 * Every command of `annals`, in the order of its help. Only the one that is asked for is loaded: half of what a short
 * command takes is loading the others. Help, and a name that is none, need them all; the version needs none.
 */
import type { Command } from "commander";

type AddCommand = (program: Command) => void;

const commands: Readonly<Record<string, () => Promise<AddCommand>>> = {
  serve: async () => (await import("./serve.js")).addServe,
  config: async () => (await import("./config.js")).addConfig,
  import: async () => (await import("./import.js")).addImport,
  snapshot: async () => (await import("./snapshot.js")).addSnapshot,
  backup: async () => (await import("./backup.js")).addBackup,
  restore: async () => (await import("./restore.js")).addRestore,
  migrate: async () => (await import("./migrate.js")).addMigrate,
  drill: async () => (await import("./drill.js")).addDrill,
  verify: async () => (await import("./verify.js")).addVerify,
  dump: async () => (await import("./dump.js")).addDump,
  at: async () => (await import("./at.js")).addAt,
  diff: async () => (await import("./diff.js")).addDiff,
  bisect: async () => (await import("./bisect.js")).addBisect,
  repair: async () => (await import("./repair.js")).addRepair,
  status: async () => (await import("./status.js")).addStatus,
  promote: async () => (await import("./replication.js")).addPromote,
  follow: async () => (await import("./replication.js")).addFollow,
  resync: async () => (await import("./replication.js")).addResync,
  switchover: async () => (await import("./replication.js")).addSwitchover,
  forget: async () => (await import("./replication.js")).addForget,
  undo: async () => (await import("./undo.js")).addUndo,
};

/** Adds the command that `asked` names, or every one. */
export async function addCommands(program: Command, asked: string | undefined): Promise<void> {
  if (asked === "--version" || asked === "-V") return;
  const names = asked !== undefined && Object.hasOwn(commands, asked) ? [asked] : Object.keys(commands);
  for (const name of names) (await commands[name]?.())?.(program);
}
