// Prints the closing line `N passed, N failed, N skipped` from vitest's JSON report.
import { readFileSync } from "node:fs";

const [, , reportPath, status] = process.argv;
let line = "0 passed, 1 failed";
try {
  const report = JSON.parse(readFileSync(reportPath, "utf8"));
  line = `${report.numPassedTests} passed, ${report.numFailedTests} failed, ${report.numPendingTests} skipped`;
} catch (error) {
  // No report: the run ended before the tests (format, lint, types, build); that counts as one failure.
  if (status === "0") line = `0 passed, 1 failed`;
}
process.stdout.write(`${line}\n`);
