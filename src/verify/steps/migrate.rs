//! A TOTP from another provider.

use serde_json::{Value, json};

use super::{AUTHENTICATE, Call, DELETE, MIGRATE, Step};
use crate::verify::state::State;

pub(super) const STEPS: &[Step] = &[
    Step::probe("delete, with the project's permissions", delete),
    Step::needed("migrate, with recovery codes", |state| {
        let codes = ["their-old-1", "their-old-2"];
        let more = json!({"secret": state.import, "recovery_codes": codes});
        Call::Rpc(MIGRATE, state.request(more))
    }),
    Step::probe("authenticate, with a code of the migrated TOTP", |state| {
        Call::Rpc(AUTHENTICATE, state.proven(json!({"code": state.code(0)})))
    }),
    Step::probe("delete, after the migration", delete),
    Step::probe("migrate, without recovery codes", |state| {
        let more = json!({"secret": state.import, "recovery_codes": []});
        Call::Rpc(MIGRATE, state.request(more))
    }),
    Step::probe("delete, at the end", delete),
];

fn delete(state: &State) -> Call {
    Call::Rpc(DELETE, state.request(Value::Null))
}
