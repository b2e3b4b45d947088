// The client: a channel with retries, what each call carries, and the details of an error.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";

import type { ProtoGrpcType } from "./generated/totp";

const { env } = process;

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

/** The address without its scheme, and the credentials: TLS if the scheme is https. */
export function target(): [string, grpc.ChannelCredentials] {
  const [address, scheme] = (env.TOTP_FACADE_ADDR ?? "http://127.0.0.1:50051").split("://").reverse();
  if (scheme !== "https") return [address, grpc.credentials.createInsecure()];
  const contents = (file?: string) => (file ? readFileSync(file) : null);
  const credentials = grpc.credentials.createSsl(
    contents(env.TOTP_FACADE_CA_FILE),
    contents(env.TOTP_FACADE_CLIENT_KEY_FILE),
    contents(env.TOTP_FACADE_CLIENT_CERT_FILE),
  );
  return [address, credentials];
}

/** Returns a client, whose calls share one channel. */
export function connect() {
  const proto = loadSync("stytch/b2b/totp/v1/totp.proto", {
    includeDirs: [fileURLToPath(new URL("../../proto", import.meta.url))],
    keepCase: true,
    longs: String,
    defaults: true,
  });
  const { stytch } = grpc.loadPackageDefinition(proto) as unknown as ProtoGrpcType;
  const options = { "grpc.service_config": JSON.stringify(retries) };
  return new stytch.b2b.totp.v1.TotpService(...target(), options);
}

/** Returns what a call carries: its key, and the token that says who calls. */
export function metadata(key: string) {
  const metadata = new grpc.Metadata();
  metadata.set("idempotency-key", key);
  if (env.TOTP_FACADE_TOKEN) metadata.set("authorization", `Bearer ${env.TOTP_FACADE_TOKEN}`);
  return metadata;
}

type Start<Response> = (
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  callback: grpc.requestCallback<Response>,
) => grpc.ClientUnaryCall;

/** Makes one call. All its attempts share an idempotency key, and a deadline of 15 seconds. */
export function call<Response>(start: Start<Response>): Promise<Response> {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + 15_000 };
    start(metadata(randomUUID()), options, (error, response) => (error ? reject(error) : resolve(response!)));
  });
}

export function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}

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
export function details(error: grpc.ServiceError) {
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
