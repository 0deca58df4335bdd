/** What a drill tells monitoring. After a failure the time of the last success stays: its age is what an alert watches. */
import type { DrillReport } from "./drill.js";

const LAST_SUCCESS = "annals_drill_last_success_timestamp_seconds";

/** `before` is the file as the last drill left it, if there is one. `report` is undefined when the drill came to no end. */
export function drillMetrics(report: DrillReport | undefined, before: string, nowMs: number): string {
  const success = report?.success === true;
  const lastSuccess = success ? nowMs / 1000 : lastSuccessIn(before);
  const gauges: (readonly [name: string, help: string, value: number | undefined])[] = [
    ["annals_drill_success", "1 when the last drill found everything as it was recorded.", success ? 1 : 0],
    ["annals_drill_last_run_timestamp_seconds", "When it ran, seconds since 1970.", nowMs / 1000],
    [LAST_SUCCESS, "When a drill was successful last, seconds since 1970.", lastSuccess],
    ["annals_drill_backup_age_seconds", "How old the backup was.", seconds(report?.ageMs)],
    ["annals_drill_rpo_seconds", "Age of the newest record that could be had back.", seconds(report?.rpoMs)],
    [
      "annals_drill_rto_seconds",
      "From the beginning of the restore until a server was ready.",
      seconds(report?.rtoMs),
    ],
    ["annals_drill_last_offset", "Last offset that was restored.", report?.lastOffset],
  ];
  return gauges
    .filter(([, , value]) => value !== undefined)
    .map(([name, help, value]) => `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name} ${value}\n`)
    .join("");
}

const seconds = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : ms / 1000);

function lastSuccessIn(before: string): number | undefined {
  const found = new RegExp(`^${LAST_SUCCESS} ([0-9.]+)$`, "m").exec(before)?.[1];
  return found === undefined ? undefined : Number(found);
}
