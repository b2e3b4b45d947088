// A call, taken apart as the languages need it.

import { shortName } from "../contract.js";

export function callOf({ method, messages, request, ...options }) {
  const [service, rpc] = method.name.split("/");
  const [pkg, stub] = service.split(/\.(?=\w+$)/);
  const path = pkg.replaceAll(".", "/");
  // A file of the contract is named like its package without the version.
  const file = pkg.split(".").at(-2);
  const fields = messages[method.request].fields
    .filter((it) => it.required || request[it.name] != null)
    .map((it) => ({
      ...it,
      value: request[it.name] ?? { int32: 0, bool: false }[it.type] ?? "",
      /** The variable of the environment that has it, if it is secret. */
      env: it.secret && it.name.toUpperCase(),
    }));
  const variables = fields.map((it) => it.env).filter(Boolean);
  if (options.token) variables.push("TOTP_FACADE_TOKEN");
  // A program makes a key of its own, whether or not the form has one.
  const keyed = !method.reads_only;
  const codes = ["UNAVAILABLE", "RESOURCE_EXHAUSTED"];
  if (keyed) codes.push("INTERNAL", "UNKNOWN", "CANCELLED");
  return {
    ...{ ...options, ...comments(keyed, messages[method.response].fields) },
    ...{ service, rpc, pkg, stub, path, file, fields, variables, keyed, codes },
    name: method.name,
    command: method.command.join(" "),
    proto: `${path}/${file}.proto`,
    title: `${stub}/${rpc}`,
    input: shortName(method.request),
    output: shortName(method.response),
    hasObject: fields.some((it) => it.type === "object"),
    policy: `{
  "methodConfig": [{
    "name": [{"service": "${service}", "method": "${rpc}"}],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.1s",
      "maxBackoff": "2s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["${codes.join('", "')}"]
    }
  }]
}`,
  };
}

/** Comments that all languages have. */
function comments(keyed, response) {
  const names = (fields) => fields.map((it) => it.name).join(", ");
  const secrets = response.filter((it) => it.secret);
  const why = keyed ? "The same key makes a retry safe" : "A call that only reads may be retried";
  return {
    aboutKey: "One key for one operation. While its outcome is unknown, call again with the same key.",
    aboutRetries: `${why}. The server's pushback delays a retry, or stops it.`,
    aboutResult: `The response has ${names(response)}.${secrets.length ? ` Never log ${names(secrets)}.` : ""}`,
    aboutRoots: "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names other authorities than the library's.",
    aboutOutcome: "not_sent, rejected, or unknown: the call may have taken effect.",
  };
}
