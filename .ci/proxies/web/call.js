// connect-web, the client of browsers, against an edge: node call.js URL CONTRACT. Prints what it
// sees as JSON, for edge.py.

import { readFileSync } from "node:fs";

import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

const [baseUrl, contract] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(contract)));
const service = registry.getService("stytch.b2b.recovery_codes.v1.RecoveryCodesService");
const errorInfo = registry.getMessage("google.rpc.ErrorInfo");
const client = createClient(service, createGrpcWebTransport({ baseUrl }));
const token = { authorization: "Bearer login" };

/** What a caller sees of a call that fails. */
async function failure(member, options) {
  try {
    await client.rotate({ organizationId: "example-works", memberId: member }, options);
  } catch (error) {
    const { code, metadata } = ConnectError.from(error);
    const [info] = ConnectError.from(error).findDetails(errorInfo);
    return [code, info?.reason, info?.metadata.upstream, metadata.get("grpc-retry-pushback-ms")];
  }
}

/** Whether a call with the key of an earlier one gets its codes, and says so. */
async function replay() {
  const headers = { ...token, "idempotency-key": crypto.randomUUID() };
  const enrolled = { organizationId: "example-works", memberId: "enrolled" };
  const first = await client.rotate(enrolled, { headers });
  let replayed;
  const onHeader = (it) => (replayed = it.get("idempotent-replayed"));
  const second = await client.rotate(enrolled, { headers, onHeader });
  return replayed === "true" && String(first.recoveryCodes) === String(second.recoveryCodes);
}

/** A deadline: the façade answers 20 ms before it, which on a busy machine may be too late, but not each time. */
async function late() {
  for (let left = 100; ; left -= 1) {
    const seen = await failure("slow", { headers: token, timeoutMs: 500 });
    if (seen[1] || left === 0) return seen;
  }
}

const seen = {
  "a replay": await replay(),
  "a refusal": await failure("nobody", { headers: token }),
  "an unknown outcome": await failure("internal-error", { headers: token }),
  "a deadline": await late(),
  "no token": await failure("enrolled", {}),
};
console.log(JSON.stringify(seen));
