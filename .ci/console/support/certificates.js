// Authorities and certificates, made by openssl in a folder of the test's own.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder that is removed when the scope ends. */
export function folder(scope) {
  const path = mkdtempSync(join(tmpdir(), "totp-facade-console-"));
  scope.after(() => rmSync(path, { recursive: true }));
  return path;
}

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];

export class Authority {
  constructor(path, name) {
    this.path = path;
    this.file = join(path, `${name}.pem`);
    this.key = join(path, `${name}.pem.key`);
    this.openssl("req", "-x509", ...KEY, "-subj", `/CN=${name}`, "-keyout", this.key, "-out", this.file);
  }

  /** A certificate for a name such as `IP:127.0.0.1` or `URI:spiffe://…`; its files. */
  certify(name, alternative) {
    const file = join(this.path, `${name}.crt`);
    const key = join(this.path, `${name}.key`);
    this.openssl(
      "req", "-x509", ...KEY, "-subj", "/", "-CA", this.file, "-CAkey", this.key,
      "-addext", `subjectAltName=${alternative}`, "-addext", "basicConstraints=critical,CA:FALSE",
      "-keyout", key, "-out", file,
    );
    return { file, key };
  }

  openssl(...args) {
    execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  }

  write(name, text) {
    const file = join(this.path, name);
    writeFileSync(file, text);
    return file;
  }
}
