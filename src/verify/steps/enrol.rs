//! Enrolment, and the first codes of a TOTP.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::{AUTHENTICATE, CREATE, Call, GET, MIGRATE, Step};
use crate::verify::state::{State, invented_token};

pub(super) const STEPS: &[Step] = &[
    Step::probe("create, without a proof", |state| Call::Rpc(CREATE, state.request(Value::Null))),
    Step::needed("create, while the first is pending", |state| {
        Call::Rpc(CREATE, state.proven(json!({"expiration_minutes": 30})))
    }),
    Step::probe("get, while the TOTP is pending", |state| {
        Call::Rpc(GET, state.request(Value::Null))
    }),
    Step::probe("authenticate, without a proof", |state| {
        Call::post("/v1/b2b/totp/authenticate", &state.request(json!({"code": state.code(-1)})))
    }),
    Step::probe("authenticate, with an unknown intermediate session token", |state| {
        with(state, "intermediate_session_token", invented_token())
    }),
    Step::probe("authenticate, with an unknown session token", |state| {
        with(state, "session_token", invented_token())
    }),
    Step::probe("authenticate, with a malformed session JWT", |state| {
        with(state, "session_jwt", "not-a-jwt".to_owned())
    }),
    Step::probe("authenticate, with a forged session JWT", |state| {
        with(state, "session_jwt", forged_jwt())
    }),
    Step::probe("authenticate, with another member's session", |state| {
        with(state, "session_token", state.other().to_owned())
    })
    .with(super::Need::OtherSession),
    Step::probe("authenticate, with a wrong code", |state| {
        Call::Rpc(AUTHENTICATE, state.proven(json!({"code": state.wrong_code()})))
    }),
    Step::probe("authenticate, with five digits", |state| {
        Call::post("/v1/b2b/totp/authenticate", &state.proven(json!({"code": "12345"})))
    }),
    Step::probe("authenticate, with a recovery code", |state| {
        let code = state.recovery_code(0);
        Call::post("/v1/b2b/totp/authenticate", &state.proven(json!({"code": code})))
    }),
    Step::probe("authenticate, with claims above 4 KiB", |state| {
        let claims = json!({"code": state.code(-1), "session_duration_minutes": 30,
            "session_custom_claims": {"verify": "x".repeat(5000)}});
        Call::Rpc(AUTHENTICATE, state.proven(claims))
    }),
    Step::needed("authenticate, with the first code", |state| {
        let more = json!({"code": state.code(0), "session_duration_minutes": 30,
            "set_mfa_enrollment": "enroll", "session_custom_claims": {"verify": "first"}});
        Call::Rpc(AUTHENTICATE, state.proven(more))
    }),
    Step::probe("authenticate, with the same code again", |state| {
        Call::Rpc(AUTHENTICATE, state.proven(json!({"code": state.code(0)})))
    }),
    Step::probe("authenticate, with the code before", |state| {
        Call::Rpc(AUTHENTICATE, state.proven(json!({"code": state.code(-1)})))
    }),
    Step::probe("authenticate, with the JWT and claims without a duration", |state| {
        let more = json!({"code": state.code(1), "session_jwt": state.jwt(),
            "session_custom_claims": {"verify_late": "second"}});
        Call::Rpc(AUTHENTICATE, state.request(more))
    }),
    Step::probe("create, with an active TOTP", |state| {
        Call::Rpc(CREATE, state.proven(Value::Null))
    }),
    Step::probe("migrate, with an active TOTP", |state| {
        let more = json!({"secret": state.import, "recovery_codes": []});
        Call::Rpc(MIGRATE, state.request(more))
    }),
    Step::probe("get, with an active TOTP", |state| Call::Rpc(GET, state.request(Value::Null))),
];

/// An authenticate with a code that is good and a proof that is not.
fn with(state: &State, field: &str, token: String) -> Call {
    let mut request = state.request(json!({"code": state.code(-1)}));
    request[field] = token.into();
    Call::Rpc(AUTHENTICATE, request)
}

/// A JWT that nobody has signed.
fn forged_jwt() -> String {
    let part = |json: Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let header = part(json!({"alg": "RS256", "typ": "JWT", "kid": "jwk-test-forged"}));
    let claims = part(json!({"sub": "member-test-forged", "exp": 4_102_444_800_u64}));
    format!("{header}.{claims}.{}", BASE64URL_NOPAD.encode(&[7; 256]))
}
