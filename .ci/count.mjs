// Prints the closing line `N passed, N failed, N skipped` from vitest's JSON reports and exits with 0 only when the
// commands did (`status`) and something passed. A command that failed without a failed test (install, format, lint,
// types, build, a file that does not load) counts as one failure, so that the line never looks better than the run.
import { existsSync, readFileSync } from "node:fs";

const [, , status = "1", ...reports] = process.argv;
let passed = 0;
let failed = 0;
let skipped = 0;
for (const path of reports.filter((each) => existsSync(each))) {
  try {
    const report = JSON.parse(readFileSync(path, "utf8"));
    passed += report.numPassedTests;
    failed += report.numFailedTests;
    skipped += report.numPendingTests + report.numTodoTests;
    for (const file of report.testResults) {
      for (const test of file.assertionResults.filter((each) => each.status === "failed")) {
        process.stdout.write(`FAILED ${test.fullName}\n`);
      }
      if (file.status === "failed" && file.assertionResults.length === 0) {
        process.stdout.write(`FAILED to load ${file.name}\n`);
      }
    }
  } catch (error) {
    process.stdout.write(`${path} is no report: ${error instanceof Error ? error.message : error}\n`);
    failed += 1;
  }
}
if (failed === 0 && (status !== "0" || passed === 0)) failed = 1;
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exitCode = failed === 0 ? 0 : 1;
