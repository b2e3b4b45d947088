//! `verify`: compares the sandbox with Stytch itself.
//!
//! The same steps are played twice, through the façade: against a test project of Stytch's, then
//! against a sandbox whose member is like the one that Stytch showed. A recorder stands between the
//! façade and its upstream, so that what is compared is the JSON that Stytch sends, and not what
//! the façade makes of it.
//!
//! # Layout
//!
//! `steps` is the script, and `state` what a run has learned so far. `play` plays the steps on a
//! `side`: a façade that is `listening` where only this user can call it, in front of a `recorder`.
//! Each step leaves an `observation`; `comparison` finds the differences between two of them by the
//! `form` of each value, and `questions` answers those of `docs/sandbox.md`. `report` is what the
//! user reads.

mod comparison;
mod form;
mod guard;
mod listening;
mod observation;
mod play;
mod questions;
mod recorder;
mod report;
mod setup;
mod side;
mod state;
mod steps;
mod totp;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    config::{VerifyConfig, sandbox_url},
    sandbox::{OTHER_MEMBER, Sandbox, Seed},
    stytch,
};
use observation::Observation;
use play::Played;
pub use questions::QUESTIONS;
pub use report::Report;
pub use setup::SetupError;
use side::Side;
use state::{State, Tokens};

/// Compares the sandbox with Stytch. At `stop`, it plays no further step, cleans up, and reports
/// what it has found so far.
///
/// # Errors
///
/// When it cannot start. Whatever happens later is in the report.
pub async fn verify(
    config: VerifyConfig,
    stop: impl Future<Output = ()>,
) -> Result<Report, SetupError> {
    let base_url = config.stytch.base_url.to_string();
    let project_id = config.stytch.project_id.clone();
    let stytch = Side::start(&config.stytch).await?;
    let tokens = tokens(&config);
    let mut state = State::new(config.organization_id, config.member_id, tokens);
    state.note_secrets(&json!({"secret": config.stytch.secret.expose_secret()}));
    let mut played = play::play(&stytch, &mut state, stop).await;
    let repeated = match subject(&played.observations) {
        None => None,
        Some((organization, member)) => {
            let tokens = state.tokens();
            match repeat(&config.stytch, organization, member, tokens, &played).await {
                Ok(repeated) => Some(repeated),
                // What is known of Stytch by now is reported all the same.
                Err(error) => {
                    played.failure.get_or_insert(format!("the sandbox: {error}"));
                    None
                }
            }
        }
    };
    Ok(Report::new(base_url, project_id, &state, played, repeated))
}

fn tokens(config: &VerifyConfig) -> Tokens {
    let text = |token: &Option<secrecy::SecretString>| {
        token.as_ref().map(|token| token.expose_secret().to_owned())
    };
    Tokens {
        session: text(&config.session_token),
        login: text(&config.login_token),
        other: text(&config.other_session_token),
    }
}

/// Returns the first organization and member that Stytch has shown.
fn subject(observations: &[Observation]) -> Option<(&Value, &Value)> {
    observations.iter().find_map(|observation| {
        let body = observation.success()?;
        Some((body.get("organization")?, body.get("member")?))
    })
}

/// What the sandbox has shown, and what the run against it knows.
type Repeated = (Vec<Observation>, State);

/// Plays the same steps against a sandbox with such an organization and member.
async fn repeat(
    settings: &stytch::Settings,
    organization: &Value,
    member: &Value,
    tokens: &Tokens,
    played: &Played,
) -> Result<Repeated, SetupError> {
    let seed = Seed::like(organization, member);
    let name = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let (organization_id, member_id) =
        (name(organization, "organization_id"), name(member, "member_id"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|it| SetupError::of(&it))?;
    let upstream = stytch::Settings {
        base_url: sandbox_url(listener.local_addr().map_err(|it| SetupError::of(&it))?),
        project_id: seed.project.project_id.clone(),
        secret: seed.project.secret.clone().into(),
        secret_file: None,
        ca_file: None,
        ..settings.clone()
    };
    let serving = tokio::spawn(Sandbox::new(seed).run(listener, std::future::pending()));
    let tokens = Tokens {
        session: tokens.session.as_ref().map(|_| format!("sandbox-session.{member_id}")),
        login: tokens.login.as_ref().map(|_| format!("sandbox-login.{member_id}")),
        other: tokens.other.as_ref().map(|_| format!("sandbox-session.{OTHER_MEMBER}")),
    };
    let side = Side::start(&upstream).await?;
    let mut state = State::new(organization_id, member_id, tokens);
    let observations = play::replay(&side, &mut state, &played.observations).await;
    serving.abort();
    Ok((observations, state))
}
