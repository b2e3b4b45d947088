//! A lost phone: the TOTP is deleted, and another one enrolled.

use serde_json::{Value, json};

use super::{AUTHENTICATE, CREATE, Call, DELETE, Need, RECOVER, ROTATE, Step};

pub(super) const STEPS: &[Step] = &[
    Step::probe("delete, with the member's session", |state| {
        Call::Rpc(DELETE, state.session(Value::Null))
    }),
    Step::probe("delete, without a TOTP", |state| Call::Rpc(DELETE, state.request(Value::Null))),
    Step::probe("rotate, without a TOTP", |state| Call::Rpc(ROTATE, state.request(Value::Null))),
    Step::probe("recover, without a TOTP", |state| {
        Call::Rpc(RECOVER, state.proven(json!({"recovery_code": "none-none-none"})))
    }),
    Step::probe("authenticate, without a TOTP", |state| {
        Call::Rpc(AUTHENTICATE, state.proven(json!({"code": "000000"})))
    }),
    Step::needed("create, after a delete", |state| Call::Rpc(CREATE, state.proven(Value::Null))),
    Step::probe("authenticate, with the used intermediate session token", |state| {
        let more = json!({"code": state.code(-1), "intermediate_session_token": state.login()});
        Call::Rpc(AUTHENTICATE, state.request(more))
    })
    .with(Need::Login),
    Step::probe("authenticate, with two proofs", |state| {
        let more = json!({"code": state.code(-1), "session_jwt": state.jwt()});
        Call::Rpc(AUTHENTICATE, state.proven(more))
    }),
    Step::probe("authenticate, with a session and an empty token", |state| {
        let more = json!({"code": state.code(-1), "intermediate_session_token": ""});
        Call::post("/v1/b2b/totp/authenticate", &state.proven(more))
    }),
    Step::needed("authenticate, to unenroll from MFA", |state| {
        let more = json!({"code": state.code(0), "set_mfa_enrollment": "unenroll"});
        Call::Rpc(AUTHENTICATE, state.proven(more))
    }),
    Step::probe("delete, with another member's session", |state| {
        Call::Rpc(DELETE, state.request(json!({"session_token": state.other()})))
    })
    .with(Need::OtherSession),
];
