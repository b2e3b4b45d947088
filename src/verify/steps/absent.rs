//! The member has no TOTP. The first step is also the one by which the run knows that.

use serde_json::{Value, json};

use super::{AUTHENTICATE, Call, GET, RECOVER, ROTATE, Step};

pub(super) const STEPS: &[Step] = &[
    Step::probe("get, without a TOTP", |state| Call::Rpc(GET, state.request(Value::Null))),
    Step::probe("get, for an unknown organization", |state| {
        let id = "organization-test-ffffffff-ffff-4fff-8fff-ffffffffffff";
        Call::Rpc(GET, state.request(json!({"organization_id": id})))
    }),
    Step::probe("get, for an unknown member", |state| {
        let id = "member-test-ffffffff-ffff-4fff-8fff-ffffffffffff";
        Call::Rpc(GET, state.request(json!({"member_id": id})))
    }),
    Step::probe("rotate, without a TOTP", |state| Call::Rpc(ROTATE, state.request(Value::Null))),
    Step::probe("recover, without a TOTP", |state| {
        Call::Rpc(RECOVER, state.proven(json!({"recovery_code": "none-none-none"})))
    }),
    Step::probe("authenticate, without a TOTP", |state| {
        Call::Rpc(AUTHENTICATE, state.proven(json!({"code": "000000"})))
    }),
];
