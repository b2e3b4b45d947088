// Starts totp-facade on free ports, and learns from its first lines where it listens.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
export const PROGRAM = process.env.TOTP_FACADE ?? `${ROOT}target/debug/totp-facade`;

// Nothing of the developer's own environment may reach the programs.
const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(TOTP_FACADE|STYTCH|OTEL)_/.test(name)),
);
const PORTS = ["--grpc-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--drain-delay", "0s"];
const CONSOLE = ["--console-addr", "127.0.0.1:0"];

/** The façade in front of its sandbox, with a console. `scope` is a test, or `node:test` itself. */
export function dev(scope, ...flags) {
  const control = ["--sandbox-control", "--log", "warn,audit=off"];
  return start(scope, ["dev", ...PORTS, ...CONSOLE, ...control, ...flags], "console");
}

/** The façade in front of a scripted Stytch. */
export function serve(scope, upstream, ...flags) {
  return start(scope, ["serve", ...PORTS, "--log", "warn,audit=off", ...flags], "admin", {
    STYTCH_PROJECT_ID: "project-test-1",
    STYTCH_SECRET: "secret-test-1",
    STYTCH_BASE_URL: upstream,
  });
}

/** A console alone, for the façade at `addr`. */
export function consoleFor(scope, addr, flags = [], env = {}) {
  return start(scope, ["console", ...CONSOLE, "--addr", addr, ...flags], "console", env);
}

/**
 * Runs the program until the scope ends. Resolves once it has printed the address called `last`,
 * to all addresses so far by name; `stop()` ends it earlier.
 */
async function start(scope, args, last, env = {}) {
  const child = spawn(PROGRAM, args, { env: { ...ENVIRONMENT, ...env } });
  const exited = once(child, "exit");
  const stop = async () => {
    child.kill("SIGTERM");
    await exited;
  };
  scope.after(stop);

  let errors = "";
  child.stderr.on("data", (data) => (errors += data));
  const addresses = {};
  for await (const line of createInterface(child.stdout)) {
    const [name, address] = line.split(" listening on ");
    addresses[name] = address;
    if (name === last) {
      child.stdout.resume();
      return { ...addresses, stop };
    }
  }
  throw new Error(`totp-facade ${args.join(" ")} ended:\n${errors}`);
}
