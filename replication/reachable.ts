/** Addresses as others can use them: what a node listens on may be every address of its host, or not be told at all. */
import type { Address } from "./ports.js";

/** However it is written: `::`, `[::0]`, `0:0:0:0:0:0:0:0`, `0.0.0.0`, `0`. */
const EVERYWHERE = /^(?:(?:::ffff:)?[0:.]*|\*)$/i;

/** What a node states, seen from whoever reached it at `host` or was reached from there. */
function reachable(listen: Address | undefined, host: string | undefined): Address | undefined {
  if (listen === undefined || !EVERYWHERE.test(listen.host)) return listen;
  return host === undefined ? undefined : { host, port: listen.port };
}

const HTTP = /^(https?:\/\/)(?:\[([^\]]*)\]|([^:/]*))(.*)$/;

/** As `reachable`, of an HTTP address. */
function reachableHttp(http: string | undefined, host: string | undefined): string | undefined {
  const [, scheme, inBrackets, name = inBrackets, rest] = HTTP.exec(http ?? "") ?? [];
  if (name === undefined || !EVERYWHERE.test(name)) return http;
  // A zone is this machine's own name for a network, and no part of a URL.
  if (host === undefined || host.includes("%")) return undefined;
  return `${scheme}${host.includes(":") ? `[${host}]` : host}${rest}`;
}

interface Place {
  readonly listen: Address | undefined;
  readonly http: string | undefined;
}

/**
 * Where a node is, by what it states, to whoever reached it at `host`, or was reached from there. What it is called for replication it is
 * called for HTTP, too; but one that listens on its own machine only may serve HTTP to others.
 */
export function placedAt<Node extends Place>(node: Node, host: string | undefined): Node {
  const listen = reachable(node.listen, host);
  const there = isLoopback(listen?.host) ? (host ?? listen?.host) : (listen?.host ?? host);
  return { ...node, listen, http: reachableHttp(node.http, there) };
}

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
