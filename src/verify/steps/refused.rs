//! Requests that are malformed: most of them the façade would not send.

use http::Method;
use serde_json::{Value, json};

use super::{Call, MIGRATE, Raw, Step};

const TOTP: &str = "/v1/b2b/totp";

pub(super) const STEPS: &[Step] = &[
    Step::refused("create, for too few minutes", |state| {
        Call::post(TOTP, &state.request(json!({"expiration_minutes": 4})))
    }),
    Step::refused("create, with a field missing", |state| {
        Call::post(TOTP, &json!({"organization_id": state.organization_id}))
    }),
    Step::refused("create, with a field of another type", |state| {
        Call::post(TOTP, &state.request(json!({"expiration_minutes": "sixty"})))
    }),
    Step::refused("create, with bad JSON", |_| Call::Raw(Raw::post(TOTP, "{".to_owned()))),
    Step::refused("create, with a charset in the content type", |state| {
        let body = state.request(Value::Null).to_string();
        let content_type = "application/json; charset=utf-8";
        Call::Raw(Raw { content_type, ..Raw::post(TOTP, body) })
    }),
    Step::refused("create, without credentials", |state| {
        let body = state.request(Value::Null).to_string();
        Call::Raw(Raw { has_credentials: false, ..Raw::post(TOTP, body) })
    }),
    Step::refused("create, with a wrong HTTP method", |_| {
        let post = Raw::post(TOTP, String::new());
        Call::Raw(Raw { method: Method::GET, body: None, ..post })
    }),
    Step::refused("migrate, with a secret that is not base32", |state| {
        let secret = "018-not-base32-018-not-base32";
        Call::Rpc(MIGRATE, state.request(json!({"secret": secret, "recovery_codes": []})))
    }),
];
