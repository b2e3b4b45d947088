//! Plays the script on a side, and leaves the member as it found it.

use std::pin::pin;

use futures_util::FutureExt as _;

use super::{
    guard,
    observation::Observation,
    side::Side,
    state::{State, wait_for_a_fresh_code},
    steps::{self, Call, Role, Step},
    totp::Totp,
};

/// How a run against Stytch went.
pub(super) struct Played {
    pub(super) observations: Vec<Observation>,
    /// Why the run ended before the script did.
    pub(super) failure: Option<String>,
    pub(super) cleanup: Cleanup,
}

/// What has become of the TOTPs that the run made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cleanup {
    /// There is none left.
    Clean,
    /// There may be one left, and why.
    Failed(String),
}

/// Plays the script until its end, `stop`, or a response without which it makes no sense to go on.
/// Then deletes what it has made.
pub(super) async fn play(side: &Side, state: &mut State, stop: impl Future<Output = ()>) -> Played {
    let mut stop = pin!(stop);
    let (mut observations, mut failure) = (Vec::new(), None);
    for step in steps::all() {
        // A call that is under way is not cut: its effect would be unknown.
        if stop.as_mut().now_or_never().is_some() {
            failure = Some("stopped by a signal".to_owned());
            break;
        }
        if step.needs.is_some_and(|need| !need.is_met(state)) {
            continue;
        }
        let observation = perform(side, state, step).await;
        failure = objection(step, &observation, observations.is_empty(), state);
        // A response that ends the run says nothing about Stytch.
        if failure.is_some() {
            break;
        }
        observations.push(observation);
    }
    let cleanup = clean_up(side, state).await;
    Played { observations, failure, cleanup }
}

/// Plays the steps of these observations.
pub(super) async fn replay(
    side: &Side,
    state: &mut State,
    played: &[Observation],
) -> Vec<Observation> {
    let mut observations = Vec::new();
    for step in steps::all().filter(|step| played.iter().any(|it| it.step == step.name)) {
        observations.push(perform(side, state, step).await);
    }
    observations
}

/// Plays a step, and notes what it has made.
async fn perform(side: &Side, state: &mut State, step: &'static Step) -> Observation {
    if step.role == Role::Needed {
        // The steps up to the next of these use codes of one time.
        wait_for_a_fresh_code().await;
    }
    let call = (step.call)(state);
    state.note_secrets(&call.fields());
    let observation = side.observe(step, &call).await;
    if call.makes() {
        state.totp = state.totp.after_making(&observation);
    }
    if call.method() == Some(steps::DELETE) {
        state.totp = state.totp.after_deleting(&observation);
    }
    state.learn(&observation);
    if step.role == Role::Refused && call.makes() {
        let _ = clean_up(side, state).await;
    }
    observation
}

/// Says why a response ends the run.
fn objection(
    step: &Step,
    observation: &Observation,
    is_first: bool,
    state: &State,
) -> Option<String> {
    if is_first {
        return guard::objection(observation);
    }
    let what = match observation.disturbance() {
        Some(what) => what,
        // Later steps would rotate or delete it.
        None if state.totp == Totp::Unsure => {
            format!("{}: it is not known whether it made a TOTP", observation.outcome())
        }
        None if state.totp != Totp::Ours
            && matches!(
                observation.error_type(),
                Some("active_totp_exists" | "pending_totp_exists")
            ) =>
        {
            format!("{}: the member has a TOTP that the run has not made", observation.outcome())
        }
        None if step.role == Role::Needed
            && !state.has_session()
            && observation.error_type().is_some_and(|error| error.contains("session")) =>
        {
            format!("{}: the token is none of this member's", observation.outcome())
        }
        None if step.role == Role::Needed && observation.success().is_none() => {
            observation.outcome()
        }
        None => return None,
    };
    Some(format!("step {:?}: {what}; later steps were not played", step.name))
}

/// Deletes the TOTP that the run may have made, with the permissions of the project; but not one
/// that may be somebody else's.
async fn clean_up(side: &Side, state: &mut State) -> Cleanup {
    match state.totp {
        Totp::None => return Cleanup::Clean,
        Totp::Unsure => {
            return Cleanup::Failed("it is not known whether it was made".to_owned());
        }
        Totp::Ours => {}
    }
    let step = &steps::CLEAN_UP;
    let call: Call = (step.call)(state);
    let observation = side.observe(step, &call).await;
    let is_gone = observation.success().is_some()
        || observation.error_type().is_some_and(|error| error.contains("totp"));
    if is_gone {
        state.totp = Totp::None;
        return Cleanup::Clean;
    }
    Cleanup::Failed(format!("its delete failed: {}", observation.outcome()))
}
