//! Whose TOTP the member has, as far as the run knows.

use super::observation::Observation;

/// The TOTP of the member. Only one that the run has made may be replaced or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Totp {
    /// The member has none that the run knows of: the run has made none, or has deleted it.
    None,
    /// The run has made it: a success says so, for Stytch never replaces an active TOTP.
    Ours,
    /// A call to make it ended without an outcome, so it may be somebody else's.
    Unsure,
}

impl Totp {
    /// Returns whose it is after a call that makes one.
    pub(super) fn after_making(self, call: &Observation) -> Self {
        match self {
            _ if call.success().is_some() => Self::Ours,
            Self::None if !call.is_refused() => Self::Unsure,
            known => known,
        }
    }

    /// Returns whose it is after a call that deletes it.
    pub(super) fn after_deleting(self, call: &Observation) -> Self {
        if call.success().is_some() { Self::None } else { self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::verify::recorder::Answer;

    fn observed(status: Option<u16>) -> Observation {
        let http =
            status.map(|status| Answer { status, body: Value::Null }).ok_or_else(String::new);
        Observation { step: "a step", method: None, http, grpc: None }
    }

    #[test]
    fn a_totp_is_ours_after_a_success_alone_and_stays_ours_until_it_is_deleted() {
        const SUCCESS: Option<u16> = Some(200);
        const REFUSED: Option<u16> = Some(400);
        for (before, status, made, deleted) in [
            (Totp::None, SUCCESS, Totp::Ours, Totp::None),
            (Totp::None, REFUSED, Totp::None, Totp::None),
            (Totp::Ours, SUCCESS, Totp::Ours, Totp::None),
            (Totp::Ours, REFUSED, Totp::Ours, Totp::Ours),
            (Totp::Unsure, SUCCESS, Totp::Ours, Totp::None),
            (Totp::Unsure, REFUSED, Totp::Unsure, Totp::Unsure),
        ] {
            let call = observed(status);

            let after = (before.after_making(&call), before.after_deleting(&call));

            assert_eq!(after, (made, deleted), "{before:?}, {status:?}");
        }
        for without_outcome in [None, Some(408), Some(499), Some(500), Some(503)] {
            let call = observed(without_outcome);
            for (before, made) in
                [(Totp::None, Totp::Unsure), (Totp::Ours, Totp::Ours), (Totp::Unsure, Totp::Unsure)]
            {
                assert_eq!(before.after_making(&call), made, "{before:?}, {without_outcome:?}");
                assert_eq!(before.after_deleting(&call), before, "{without_outcome:?}");
            }
        }
    }
}
