/** Which directory an address means, if it means one: a path, or a `file:` address of this machine. */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

export function directoryAddress(address: string): string | undefined {
  // Resolved it would be wherever the command runs: a variable that is not set, most likely.
  if (address === "") return undefined;
  if (!/^[a-z][a-z0-9+.-]+:/i.test(address)) return resolve(address);
  // Without the slash (`file:backups`) the parser would take the rest for a path from the root.
  if (!/^file:\//i.test(address) || !URL.canParse(address)) return undefined;
  const url = new URL(address);
  // Neither belongs to a path: a name with these characters has them percent-encoded.
  if (url.search !== "" || url.hash !== "") return undefined;
  // Of another machine, or with a slash in a name.
  return url.host !== "" || /%2f/i.test(url.pathname) ? undefined : fileURLToPath(url);
}
