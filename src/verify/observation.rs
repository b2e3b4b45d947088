//! What a step has shown.

use serde_json::Value;

use super::recorder::Answer;

/// What a step has shown on one side.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) step: &'static str,
    /// The RPC, if the step calls one.
    pub(super) method: Option<&'static str>,
    /// The response of the upstream, or why there is none.
    pub(super) http: Result<Answer, String>,
    /// What the façade made of it.
    pub(super) grpc: Option<Grpc>,
}

/// The status of a call of the façade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grpc {
    pub(super) code: &'static str,
    pub(super) reason: Option<String>,
}

impl Observation {
    /// Returns the body of a response that is a success.
    pub(super) fn success(&self) -> Option<&Value> {
        let answer = self.http.as_ref().ok()?;
        (answer.status == 200).then_some(&answer.body)
    }

    /// Returns the `error_type` of a response that is none.
    pub(super) fn error_type(&self) -> Option<&str> {
        let answer = self.http.as_ref().ok().filter(|answer| answer.status != 200)?;
        answer.body["error_type"].as_str()
    }

    /// Whether the upstream has refused the call, and so done nothing.
    pub(super) fn is_refused(&self) -> bool {
        // 408 and 499 say nothing about what was done.
        let is_refusal = |status| (400..500).contains(&status) && !matches!(status, 408 | 499);
        self.http.as_ref().is_ok_and(|answer| is_refusal(answer.status))
    }

    /// Says why the response says nothing about the call, if that is so.
    pub(super) fn disturbance(&self) -> Option<String> {
        match &self.http {
            Err(why) => Some(why.clone()),
            Ok(answer) if answer.status >= 500 || answer.status == 429 => Some(self.outcome()),
            Ok(_) => None,
        }
    }

    /// Returns the HTTP status, with the type of the error.
    pub(super) fn outcome(&self) -> String {
        match (&self.http, self.error_type()) {
            (Err(_), _) => "no response".to_owned(),
            (Ok(answer), Some(error)) => format!("{} {}", answer.status, shown(error)),
            (Ok(answer), None) => answer.status.to_string(),
        }
    }
}

/// Returns a word of Stytch's as it may be printed: anything longer or stranger may be a value.
pub(super) fn shown(word: &str) -> &str {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    if word.len() <= 80 && word.chars().all(is_plain) { word } else { "(another text)" }
}
