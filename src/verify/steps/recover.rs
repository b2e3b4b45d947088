//! Recovery codes.

use serde_json::{Value, json};

use super::{Call, RECOVER, ROTATE, Step};
use crate::verify::state::State;

pub(super) const STEPS: &[Step] = &[
    Step::probe("recover, with a recovery code", |state| recover(state, state.recovery_code(1))),
    Step::probe("recover, with the same code again", |state| {
        recover(state, state.recovery_code(1))
    }),
    Step::probe("recover, with a wrong code", |state| recover(state, "none-none-none")),
    Step::probe("recover, with six digits", |state| recover(state, &state.wrong_code())),
    Step::probe("rotate", |state| Call::Rpc(ROTATE, state.request(Value::Null))),
    Step::probe("recover, with a code that was replaced", |state| {
        recover(state, state.old_recovery_codes.get(2).map_or("none-none-none", String::as_str))
    }),
    Step::probe("recover, with a new code", |state| recover(state, state.recovery_code(0))),
];

fn recover(state: &State, code: &str) -> Call {
    Call::Rpc(RECOVER, state.proven(json!({"recovery_code": code})))
}
