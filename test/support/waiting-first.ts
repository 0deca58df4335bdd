/**
 * The order of the suite's files. Those that mostly wait (for times to pass, for processes to stop) come first, each beside files that
 * compute: at the end they would leave the machine with nothing to do.
 */
import { BaseSequencer, type TestSpecification } from "vitest/node";

const WAITING = [
  "test/conformance/durable-streams.test.ts",
  "test/process/sync-failure.test.ts",
  "test/ops/lifecycle.test.ts",
  "test/process/kill.test.ts",
];

export class WaitingFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const at = WAITING.findIndex((name) => moduleId.endsWith(name));
      return at < 0 ? WAITING.length : at;
    };
    // A stable sort: the others stay as vitest has them.
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}
