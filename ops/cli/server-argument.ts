/** The address of a running server, as every command takes it. */
import { InvalidArgumentError } from "commander";

export const DEFAULT_SERVER = "http://127.0.0.1:15500";

/** Nothing stands behind the port: the paths are the server's own. */
export function isServerAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, pathname, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && pathname === "/" && search === "" && hash === "";
}

/** @throws InvalidArgumentError */
export function serverArgument(text: string): string {
  if (isServerAddress(text)) return text;
  throw new InvalidArgumentError(`not an address like ${DEFAULT_SERVER}`);
}
