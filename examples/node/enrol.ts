// Enrols a member and logs in: totp-facade from TypeScript.
//
//     npm ci && npm run generate && npm run check && npm start
//
// Runs against `totp-facade dev`, unless the environment says otherwise: ../README.md.

import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";

import { status } from "@grpc/grpc-js";
import { TOTP } from "otpauth";

import { call, connect, details, isServiceError } from "./facade.ts";
import type { AuthenticateResponse__Output as Session } from "./generated/stytch/b2b/totp/v1/AuthenticateResponse";
import type { CreateResponse__Output as Created } from "./generated/stytch/b2b/totp/v1/CreateResponse";
import type { DeleteResponse__Output as Deleted } from "./generated/stytch/b2b/totp/v1/DeleteResponse";

const who = {
  organization_id: process.env.ORGANIZATION ?? "example-works",
  member_id: process.env.MEMBER ?? "fresh",
};
const client = connect();

/** Registers a TOTP. Replaces an active one. */
async function create() {
  try {
    return await call<Created>((...rest) => client.create(who, ...rest));
  } catch (error) {
    if (!isServiceError(error) || details(error).reason !== "ACTIVE_TOTP_EXISTS") throw error;
    console.log("there is an active TOTP; removing it");
    await call<Deleted>((...rest) => client.delete(who, ...rest));
    return await call<Created>((...rest) => client.create(who, ...rest));
  }
}

const created = await create();
writeFileSync("qr.png", Buffer.from(created.qr_code.split(",")[1], "base64"));
console.log(`scan qr.png, or type ${created.secret}`);

// In place of the member's authenticator app.
const code = new TOTP({ secret: created.secret }).generate();
// In place of the intermediate session token that a login with Stytch returns.
const login = `sandbox-login.${who.member_id}.${randomUUID()}`;
const proof = { intermediate_session_token: login, set_mfa_enrollment: "enroll" };
const session = await call<Session>((...rest) => client.authenticate({ ...who, code, ...proof }, ...rest));
const until = new Date(Number(session.member_session?.expires_at?.seconds) * 1000);
console.log(`logged in, until ${until.toISOString()}`);

try {
  const { session_token } = session;
  await call<Session>((...rest) => client.authenticate({ ...who, code, session_token }, ...rest));
} catch (error) {
  if (!isServiceError(error)) throw error;
  const { reason, upstream, fields } = details(error);
  console.log(`the same code again: ${status[error.code]} ${reason} ${upstream} [${fields}]`);
}
client.close();
