/** Addresses of nodes as people write them: `host`, `host:port`, `[::1]:port`. */
import type { Address } from "../../replication/index.js";
import { ADDRESS, DEFAULT_REPLICATION_PORT } from "../config/replication-settings.js";

/** Undefined for what is none. */
export function parseAddress(text: string): Address | undefined {
  const [, inBrackets, name, digits] = ADDRESS.exec(text) ?? [];
  const host = inBrackets ?? name;
  return host === undefined ? undefined : { host, port: Number(digits ?? DEFAULT_REPLICATION_PORT) };
}
