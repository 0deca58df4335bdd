/** The certificates of a node: read at its start, and anew when it is told so, because they end some day and the node should not. */
import { X509Certificate } from "node:crypto";
import type { TlsCertificates } from "../../replication/index.js";
import type { ConfigValues } from "../config/settings.js";
import { readCertificates } from "./node-settings.js";

export class NodeCertificates {
  /** Of the start: other files need a restart. */
  readonly #values: ConfigValues;
  #current: TlsCertificates;

  private constructor(values: ConfigValues, current: TlsCertificates) {
    this.#values = values;
    this.#current = current;
  }

  /** Undefined: links are not encrypted. @throws Error that names the setting. */
  static async read(values: ConfigValues): Promise<NodeCertificates | undefined> {
    const current = await readCertificates(values);
    return current === undefined ? undefined : new NodeCertificates(values, current);
  }

  get current(): TlsCertificates {
    return this.#current;
  }

  /** When this node's own certificate ends, ms since 1970. */
  get expiresAt(): number {
    return Date.parse(new X509Certificate(this.#current.certificate).validTo);
  }

  /** Reads the files again. @throws Error that names the setting; those of before stay then. */
  async renew(): Promise<TlsCertificates> {
    this.#current = (await readCertificates(this.#values)) ?? this.#current;
    return this.#current;
  }
}
