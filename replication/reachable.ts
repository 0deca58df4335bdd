/** Addresses as others can use them: what a node listens on may be every address of its host, or not be told at all. */
import type { Address } from "./ports.js";

const EVERYWHERE: ReadonlySet<string> = new Set(["", "0.0.0.0", "::", "*"]);

/** What a node states, seen from whoever reached it at `host` or was reached from there. */
export function reachable(listen: Address | undefined, host: string | undefined): Address | undefined {
  if (listen === undefined || !EVERYWHERE.has(listen.host)) return listen;
  return host === undefined ? undefined : { host, port: listen.port };
}

/** As `reachable`, from where the node's connection comes. */
export const reachableFrom = (listen: Address | undefined, remote: string): Address | undefined =>
  reachable(listen, hostOf(remote));

/** The host of `host:port` or `[host]:port`. */
export function hostOf(remote: string): string | undefined {
  const end = remote.lastIndexOf(":");
  if (end <= 0) return undefined;
  return remote.slice(0, end).replace(/^\[(.*)\]$/, "$1");
}

export const isSameAddress = (a: Address | undefined, b: Address | undefined): boolean =>
  a?.host === b?.host && a?.port === b?.port;

export const isLoopback = (host: string | undefined): boolean =>
  host !== undefined && (host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host));
