/** The codes with which a command ends. Promises to supervisors and scripts; `ops/docs/operations.md` lists them. */

export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  damaged: 3,
  storageFailed: 4,
  locked: 5,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** How a command ends that met a coded failure, and what its one line says last. */
export interface Advice {
  readonly exitCode: ExitCode;
  readonly advice: string;
}
