/** Authorities and certificates for tests of TLS, made with openssl in a directory of their own. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TlsCertificates } from "../../replication/tcp.js";

export const hasOpenssl = (() => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
const DAYS = 2;

export class CertificateDirectory {
  readonly path = mkdtempSync(join(tmpdir(), "annals-tls-"));

  #openssl(...words: string[]): void {
    execFileSync("openssl", words, { cwd: this.path, stdio: "ignore" });
  }

  authority(name: string): void {
    const made = ["-keyout", `${name}.key`, "-out", `${name}.pem`];
    this.#openssl("req", "-x509", ...KEY, "-subj", `/CN=${name}`, "-days", `${DAYS}`, ...made);
  }

  /** Of a node on this machine. */
  signed(name: string, by: string, days = DAYS): TlsCertificates {
    writeFileSync(this.file(`${name}.ext`), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    this.#openssl("req", ...KEY, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
    const authority = ["-CA", `${by}.pem`, "-CAkey", `${by}.key`, "-CAcreateserial"];
    const made = ["-extfile", `${name}.ext`, "-out", `${name}.pem`];
    this.#openssl("x509", "-req", "-in", `${name}.csr`, ...authority, "-days", `${days}`, ...made);
    return {
      ca: readFileSync(this.file(`${by}.pem`)),
      certificate: readFileSync(this.file(`${name}.pem`)),
      key: readFileSync(this.file(`${name}.key`)),
    };
  }

  file(name: string): string {
    return join(this.path, name);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
