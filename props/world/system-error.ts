/** Errors of the simulated system, shaped like Node's: callers may look at `code` and nothing else. */
export type Errno = "EIO" | "ENOSPC" | "ENOENT" | "EEXIST" | "EISDIR" | "ENOTDIR" | "EBADF" | "EINVAL";

export class SystemError extends Error {
  readonly code: Errno;
  readonly syscall: string;
  readonly path: string;

  constructor(code: Errno, systemCall: string, path: string) {
    super(`${code}: simulated, ${systemCall} '${path}'`);
    this.name = "SystemError";
    this.code = code;
    this.syscall = systemCall;
    this.path = path;
  }
}

export function systemError(code: Errno, systemCall: string, path: string): SystemError {
  return new SystemError(code, systemCall, path);
}
