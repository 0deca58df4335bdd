/** What the continuous archive tells of itself when asked. Nothing is shown without one. */
import type { ArchiveFigures } from "../backup/archive.js";
import type { Reading, Series } from "./series.js";

export function addArchiveSeries(series: Series, read: () => ArchiveFigures | undefined): void {
  series.gauge("archive_last_offset", "Last offset in the archive", () => read()?.lastOffset);
  series.gauge("archive_lag_records", "Durable records that are not archived", () => read()?.lagRecords);
  series.gauge(
    "archive_lag_bytes",
    "About how many bytes of the log are not archived",
    () => read()?.lagBytes,
  );
  series.gauge(
    "archive_lag_seconds",
    "How long the oldest record that is not archived has waited: what a loss of the disk would cost",
    () => inSeconds(read()?.lagMs),
  );
  series.gauge(
    "archive_age_seconds",
    "Since archiving worked last, whether or not there was something new",
    () => inSeconds(read()?.ageMs),
  );
  series.gauge("archive_last_success_timestamp_seconds", "When archiving worked last", () =>
    inSeconds(read()?.lastSuccessAt),
  );
  series.gauge("archive_refused", "1 when the archive is not this server's to continue", () => {
    const refused = read()?.refused;
    return refused === undefined ? undefined : Number(refused);
  });
  series.gauge("archive_bytes", "Bytes of all files of the archive", () => read()?.archive?.bytes);
  series.gauge("archive_first_offset", "First offset in the archive", () => read()?.archive?.firstOffset);
  series.counter("archive_errors_total", "Rounds of archiving that failed", () => read()?.errors ?? 0);
  series.counters("archive_uploads_total", "Objects sent to the archive", ["kind"], () =>
    Object.entries(read()?.uploads ?? {}).map(([kind, count]): Reading => [{ kind }, count]),
  );
  series.counter(
    "archive_uploaded_bytes_total",
    "Bytes sent to the archive",
    () => read()?.uploadedBytes ?? 0,
  );
  series.counter(
    "archive_swept_objects_total",
    "Objects removed from the archive that nothing named any more",
    () => read()?.sweptObjects ?? 0,
  );
}

const inSeconds = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : ms / 1000);
