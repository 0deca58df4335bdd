/** Addresses of nodes as people write them: `host`, `host:port`, `[::1]:port`. */
import type { Address } from "../../replication/index.js";
import { DEFAULT_REPLICATION_PORT } from "../config/replication-settings.js";

const ADDRESS = /^(?:\[([0-9A-Fa-f:.%a-z]+)\]|([0-9A-Za-z._-]+))(?::(\d{1,5}))?$/;
const PORT_MAX = 65_535;

/** Undefined for what is none. */
export function parseAddress(text: string): Address | undefined {
  const [whole, inBrackets, name, digits] = ADDRESS.exec(text) ?? [];
  const host = inBrackets ?? name;
  const port = digits === undefined ? DEFAULT_REPLICATION_PORT : Number(digits);
  return whole === undefined || host === undefined || port > PORT_MAX ? undefined : { host, port };
}
