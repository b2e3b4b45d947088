// Enrols a member and logs in: totp-facade from TypeScript.
//
//     npm ci && npm run generate && npm run check && npm start
//
// Runs against `totp-facade dev`, unless ADDR, ORGANIZATION and MEMBER in the environment say
// otherwise.

import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { TOTP } from "otpauth";
import protobuf from "protobufjs";

import type { ProtoGrpcType } from "./generated/totp";
import type { TotpServiceClient } from "./generated/stytch/b2b/totp/v1/TotpService";

const addr = process.env.ADDR ?? "127.0.0.1:50051";
const who = {
  organization_id: process.env.ORGANIZATION ?? "example-works",
  member_id: process.env.MEMBER ?? "fresh",
};

// Every call carries an idempotency key, so gRPC may retry it after any failure. The server's
// pushback delays retries, and stops those that cannot help. Without keys, retry reads only:
// docs/retries.md.
const retries = {
  methodConfig: [
    {
      name: [
        { service: "stytch.b2b.totp.v1.TotpService" },
        { service: "stytch.b2b.recovery_codes.v1.RecoveryCodesService" },
      ],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "CANCELLED"],
      },
    },
  ],
};

// google.rpc.Status and the two kinds of details that this program reads.
const rpc = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message BadRequest {
    message FieldViolation { string field = 1; string description = 2; }
    repeated FieldViolation field_violations = 1;
  }
`, { keepCase: true }).root;

/** Returns the details of a failed call: the reason, `upstream`, and the invalid fields. */
function details(error: grpc.ServiceError) {
  const found = { reason: "", upstream: "", fields: [] as string[] };
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(bytes)) return found;
  const status = rpc.lookupType("google.rpc.Status").decode(bytes) as any;
  for (const { type_url, value } of status.details) {
    if (type_url.endsWith("/google.rpc.ErrorInfo")) {
      const info = rpc.lookupType("google.rpc.ErrorInfo").decode(value) as any;
      found.reason = info.reason;
      found.upstream = info.metadata.upstream;
    } else if (type_url.endsWith("/google.rpc.BadRequest")) {
      const bad = rpc.lookupType("google.rpc.BadRequest").decode(value) as any;
      found.fields = bad.field_violations.map((violation: any) => violation.field);
    }
  }
  return found;
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}

type Unary<Req, Res> = (
  request: Req,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  callback: (error: grpc.ServiceError | null, answer?: Res) => void,
) => grpc.ClientUnaryCall;

/**
 * Makes one call. All its attempts carry the same idempotency key, and share a deadline of five
 * seconds.
 */
function call<Req, Res>(method: Unary<Req, Res>, request: Req): Promise<Res> {
  return new Promise((resolve, reject) => {
    const metadata = new grpc.Metadata();
    metadata.set("idempotency-key", randomUUID());
    const options = { deadline: Date.now() + 5_000 };
    method(request, metadata, options, (error, answer) => (error ? reject(error) : resolve(answer!)));
  });
}

/** Registers a TOTP. Replaces an active one. */
async function create(client: TotpServiceClient) {
  const create = client.create.bind(client) as Unary<typeof who, any>;
  try {
    return await call(create, who);
  } catch (error) {
    if (!isServiceError(error) || details(error).reason !== "ACTIVE_TOTP_EXISTS") throw error;
    console.log("there is an active TOTP; removing it");
    await call(client.delete.bind(client) as Unary<typeof who, any>, who);
    return await call(create, who);
  }
}

const proto = loadSync("stytch/b2b/totp/v1/totp.proto", {
  includeDirs: [fileURLToPath(new URL("../../proto", import.meta.url))],
  keepCase: true,
  longs: String,
  defaults: true,
});
const { stytch } = grpc.loadPackageDefinition(proto) as unknown as ProtoGrpcType;
const client = new stytch.b2b.totp.v1.TotpService(addr, grpc.credentials.createInsecure(), {
  "grpc.service_config": JSON.stringify(retries),
});

const created = await create(client);
writeFileSync("qr.png", Buffer.from(created.qr_code.split(",")[1], "base64"));
console.log(`scan qr.png, or type ${created.secret}`);

// In place of the member's authenticator app.
const code = new TOTP({ secret: created.secret }).generate();
// In place of the intermediate session token that a login with Stytch returns.
const login = `sandbox-login.${who.member_id}.${randomUUID()}`;
const authenticate = client.authenticate.bind(client) as Unary<object, any>;
const session = await call(authenticate, {
  ...who,
  code,
  intermediate_session_token: login,
  set_mfa_enrollment: "enroll",
});
const until = new Date(Number(session.member_session.expires_at.seconds) * 1000);
console.log(`logged in, until ${until.toISOString()}`);

try {
  await call(authenticate, { ...who, code, session_token: session.session_token });
} catch (error) {
  if (!isServiceError(error)) throw error;
  const { reason, upstream, fields } = details(error);
  console.log(`the same code again: ${grpc.status[error.code]} ${reason} ${upstream} [${fields}]`);
}
client.close();
