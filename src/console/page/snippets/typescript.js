import { code, free, json } from "./text.js";

export function typescript(call) {
  const { proto, title, input, tls, keyed } = call;
  return code`
// Calls ${call.name}. Once, beside the contract's folder proto/:
//   npm install @grpc/grpc-js @grpc/proto-loader protobufjs
//   npx proto-loader-gen-types --keepCase --grpcLib=@grpc/grpc-js --outDir=generated --includeDirs proto -- ${proto}
// Then, with Node.js 22.18 or later: node call.mts

${keyed && 'import { randomUUID } from "node:crypto";\n'}
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";

import type { ${input} } from "./generated/${call.path}/${input}";
import type { ProtoGrpcType } from "./generated/${call.file}";

// ${call.aboutRetries}
const retries = ${call.policy};

const definition = loadSync("${proto}", { includeDirs: ["proto"], keepCase: true });
const contract = grpc.loadPackageDefinition(definition) as unknown as ProtoGrpcType;
${tls && `// ${call.aboutRoots}`}
const client = new contract.${call.service}(
  ${json(call.address)},
  grpc.credentials.create${tls ? "Ssl" : "Insecure"}(),
  { "grpc.service_config": JSON.stringify(retries) },
);
const metadata = new grpc.Metadata();
${keyed && [`// ${call.aboutKey}`, 'metadata.set("idempotency-key", randomUUID());']}
${call.token && 'metadata.set("authorization", "Bearer " + process.env.TOTP_FACADE_TOKEN);'}
const request: ${input} = {
  ${call.fields.map((it) => `${it.name}: ${valueOf(it)},`)}
};
client.${call.rpc}(request, metadata, { deadline: Date.now() + ${call.deadlineMs} }, (error, response) => {
  if (error) {
    console.error(describe(error));
    process.exitCode = 1;
  } else {
    // ${call.aboutResult}
    console.log("${title} succeeded:", response?.request_id);
  }
  client.close();
});

function describe(error: grpc.ServiceError): string {
  const { root } = protobuf.parse(${"`"}
    syntax = "proto3";
    package google.rpc;
    message Any { string type_url = 1; bytes value = 2; }
    message Status { repeated Any details = 3; }
    message ErrorInfo { string reason = 1; map<string, string> metadata = 3; }
    message BadRequest { repeated FieldViolation field_violations = 1; }
    message FieldViolation { string field = 1; string description = 2; }
  ${"`"}, { keepCase: true });
  const decode = (type: string, bytes: any): any =>
    root.lookupType("google.rpc." + type).decode(bytes);
  // ${call.aboutOutcome}
  let [reason, outcome, fields] = ["none", "unknown", ""];
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  for (const { type_url, value } of bytes ? decode("Status", bytes).details : []) {
    if (type_url.endsWith("/google.rpc.ErrorInfo")) {
      const info = decode("ErrorInfo", value);
      [reason, outcome] = [info.reason, info.metadata.upstream];
    } else if (type_url.endsWith("/google.rpc.BadRequest")) {
      for (const it of decode("BadRequest", value).field_violations) {
        fields += "\n  field " + it.field + ": " + it.description;
      }
    }
  }
  return (
    "${title} failed: " + grpc.status[error.code] + ": " + error.details +
    "\n  reason: " + reason + "\n  outcome: " + outcome + fields
  );
}
`;
}

function valueOf({ env, repeated, type, value }) {
  if (env) return `process.env.${env}${repeated ? '?.split(",")' : ""}`;
  // The outermost one is a Struct, not a Value.
  return type === "object" ? free(value, WRITE).slice(15, -2) : json(value);
}

/** A google.protobuf.Value. */
const WRITE = {
  null: '{ nullValue: "NULL_VALUE" }',
  boolean: (it) => `{ boolValue: ${it} }`,
  number: (it) => `{ numberValue: ${json(it)} }`,
  string: (it) => `{ stringValue: ${json(it)} }`,
  list: (it) => `{ listValue: { values: [${it}] } }`,
  // A plain "__proto__" would be the prototype.
  member: (name, it) => `${name === "__proto__" ? '["__proto__"]' : json(name)}: ${it}`,
  object: (it) => `{ structValue: { fields: { ${it} } } }`,
};
