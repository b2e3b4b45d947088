//! The authenticator app of a member, for whoever tries things without a phone.

use super::{clock::seconds, store::Shared};

/// The authenticator apps of a sandbox's members.
#[derive(Clone)]
#[allow(missing_debug_implementations)] // The store has secrets.
pub struct Authenticator(pub(super) Shared);

/// What an authenticator app shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The digits.
    pub code: String,
    /// For how many more seconds it is shown.
    pub seconds_left: u64,
    /// Whether it has been used, so that only the next one is accepted.
    pub is_used: bool,
}

impl Authenticator {
    /// Returns what the app of a member shows, given the member's id or external id. `None` if the
    /// member has no TOTP, pending or active.
    pub fn code(&self, member: &str) -> Option<Code> {
        let store = self.0.lock();
        let now = store.now();
        let mut members = store.members.iter();
        let member = members
            .find(|it| ["member_id", "external_id"].iter().any(|id| it.object[*id] == member))?;
        let (generator, used_steps) = member.generator(now)?;
        let now = seconds(now);
        let code = generator.generate(now).to_string();
        let is_used = generator.check(&code, now).is_some_and(|step| used_steps.contains(&step));
        Some(Code { code, seconds_left: generator.next_step(now).saturating_sub(now), is_used })
    }
}
