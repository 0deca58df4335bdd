/** The secrets of a node: read at its start, and anew when it is told so, because one gives way to another while no node stops. */
import { isAmong, type Secrets } from "../../replication/index.js";
import type { ConfigValues } from "../config/settings.js";
import { readSecrets } from "./node-settings.js";

export class NodeSecrets {
  /** Of the start: another file needs a restart. */
  readonly #values: ConfigValues;
  #current: Secrets;

  private constructor(values: ConfigValues, current: Secrets) {
    this.#values = values;
    this.#current = current;
  }

  /** @throws Error that names the setting, here and below. */
  static async read(
    values: ConfigValues,
    environment: Readonly<Record<string, string | undefined>>,
  ): Promise<NodeSecrets> {
    return new NodeSecrets(values, await readSecrets(values, environment));
  }

  get current(): Secrets {
    return this.#current;
  }

  /** They may change; a variable of the environment is what it was. */
  get areInFile(): boolean {
    return this.#values["replication.secret_file"] !== "";
  }

  /**
   * Reads the file again. One in which none of those of before is left would have this node understand nobody any more, one after the
   * other as links end: that is a file without the empty line, or a step too many at once. Those of before stay then.
   */
  async renew(): Promise<Secrets> {
    const next = await readSecrets(this.#values, {});
    if (!next.some((secret) => isAmong(this.#current, secret)))
      throw new Error(
        `${this.#values["replication.secret_file"]}: holds no secret of before: the new one goes above the one of before, with an empty line between, until all nodes know both; after a restart the file is taken as it is (replication.secret_file)`,
      );
    this.#current = next;
    return next;
  }
}
