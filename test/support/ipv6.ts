/** Whether this machine has an IPv6 loopback: some containers have none. */
import * as net from "node:net";

export function hasIpv6(): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.createServer().once("error", () => resolve(false));
    probe.listen(0, "::1", () => probe.close(() => resolve(true)));
  });
}
