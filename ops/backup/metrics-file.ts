/**
 * What a backup tells monitoring, as a text file for the node exporter's textfile collector. It is replaced after a success
 * and left alone after a failure: the age of the last success is what an alert watches, whatever the reason.
 */
import { open, rename, rm } from "node:fs/promises";
import type { BackupReport } from "./backup.js";

interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly value: number;
}

export function backupMetrics(report: BackupReport): string {
  const gauges: readonly Gauge[] = [
    {
      name: "annals_backup_last_success_timestamp_seconds",
      help: "When the last backup was made, seconds since 1970.",
      value: report.createdAt / 1000,
    },
    { name: "annals_backup_last_offset", help: "Last offset that it contains.", value: report.lastOffset },
    { name: "annals_backup_bytes", help: "Bytes of all its files.", value: report.bytes },
    {
      name: "annals_backup_sent_bytes",
      help: "Bytes that were not in the repository before.",
      value: report.sentBytes,
    },
    {
      name: "annals_backup_duration_seconds",
      help: "How long it took.",
      value: report.durationMs / 1000,
    },
  ];
  return gauges
    .map(({ name, help, value }) => `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name} ${value}\n`)
    .join("");
}

/** Also where a service's umask leaves others nothing: the collector is another user. */
const READABLE_BY_ALL = 0o644;

/** Replaces the file at `path` whole: the collector never sees half of it. */
export async function writeMetricsFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    const file = await open(temporary, "w");
    try {
      await file.writeFile(text);
      await file.chmod(READABLE_BY_ALL);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
