/** How the nodes of a simulated set are set up, but for their roles, and where what they say of themselves goes. */
import type { ReplicationLogger } from "../../replication/ports.js";
import type { ReplicationSettings } from "../../replication/settings.js";

export const PORT = 15_501;

export function settingsOf(name: string): ReplicationSettings {
  return {
    role: "replica",
    masterAddress: undefined,
    listenAddress: { host: name, port: PORT },
    advertiseAddress: undefined,
    httpAddress: () => `http://${name}`,
    name,
    heartbeatIntervalMs: 200,
    maxLagMs: 2000,
    bufferBytes: 16 * 1024,
    autoReconnect: true,
    reconnectDelayMs: 300,
    replicaTimeoutMs: 1500,
    minReplicasForWrite: 0,
    writeLagMsMax: 0,
    rejoin: true,
    checkIntervalMs: 1000,
    secrets: () => [Buffer.from("of the set")],
  };
}

export function loggerOf(name: string, note: (line: string) => void): ReplicationLogger {
  const at =
    (level: string) =>
    (_: Readonly<Record<string, unknown>>, message: string): void =>
      note(`${name} ${level}: ${message}`);
  return { info: at("info"), warn: at("warn"), error: at("error") };
}
