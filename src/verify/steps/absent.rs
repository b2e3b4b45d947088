//! The member has no TOTP, as far as a Get shows. What changes something comes later, when the run
//! has deleted a TOTP of its own and the member has none for certain.

use serde_json::{Value, json};

use super::{Call, GET, Step};

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
];
