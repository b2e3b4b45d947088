//! Faults that a call can be made to meet with, by the seed or at run time.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, RETRY_AFTER},
    },
    response::{Html, IntoResponse as _, Response},
};
use futures_util::stream::{StreamExt as _, iter, once};
use serde::{Deserialize, Serialize};

use super::{error::ApiError, serve::Cut};

/// Rules at a time, at most.
const MAX_RULES: usize = 100;
/// Stytch itself gives up after 30 seconds.
const MAX_LATENCY: Duration = Duration::from_secs(60);

/// What happens to a call. Without a status, an error type or a cut, it is only late.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fault {
    /// The answer's HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The answer is Stytch's error of this type; without it, an HTML page as of a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    /// The header `Retry-After`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
    /// How long the answer takes, for instance `250ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<String>,
    /// Where the connection breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<CutAt>,
    /// Whether the call has taken effect when it fails.
    takes_effect: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CutAt {
    /// Before the answer begins.
    BeforeAnswer,
    /// In the middle of it.
    WithinAnswer,
}

impl Fault {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(status) = self.status
            && !(300..=599).contains(&status)
        {
            return Err("status must be from 300 to 599".into());
        }
        if let Some(latency) = &self.latency {
            let time = humantime::parse_duration(latency).map_err(|e| format!("latency: {e}"))?;
            if time > MAX_LATENCY {
                return Err("latency must be at most 60s".into());
            }
        }
        if self.latency.is_none() && self.cut.is_none() && !self.replaces_the_answer() {
            return Err("one of status, error_type, latency and cut is required".into());
        }
        if self.takes_effect && !self.replaces_the_answer() && self.cut.is_none() {
            return Err("takes_effect needs a status, an error_type or a cut".into());
        }
        Ok(())
    }

    /// How long to wait before anything else.
    pub(super) fn latency(&self) -> Duration {
        let latency = self.latency.as_deref().map(humantime::parse_duration);
        latency.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether the call is to be carried out all the same.
    pub(super) fn lets_through(&self) -> bool {
        self.takes_effect
            || self.cut == Some(CutAt::WithinAnswer)
            || !(self.replaces_the_answer() || self.cut.is_some())
    }

    /// What becomes of `answer`, which is there if the call was let through.
    pub(super) async fn applied(&self, answer: Option<Response>) -> Response {
        let mut answer = match answer {
            Some(answer) if !self.replaces_the_answer() => answer,
            _ => self.failure(),
        };
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.cut {
            None => {}
            Some(CutAt::BeforeAnswer) => drop(answer.extensions_mut().insert(Cut)),
            Some(CutAt::WithinAnswer) => answer = halved(answer).await,
        }
        answer
    }

    fn replaces_the_answer(&self) -> bool {
        self.status.is_some() || self.error_type.is_some()
    }

    fn failure(&self) -> Response {
        if let Some(error_type) = &self.error_type {
            return ApiError::response(error_type, self.status);
        }
        let status = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let page =
            format!("<html>\n<head><title>{status}</title></head>\n<body></body>\n</html>\n");
        (status, Html(page)).into_response()
    }
}

/// The first half of an answer that announces the whole.
async fn halved(answer: Response) -> Response {
    let (mut head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half: Result<Bytes, Cut> = Ok(body.slice(..body.len() / 2));
    let cut = async {
        // What is ready at once is not written first.
        tokio::task::yield_now().await;
        Err(Cut)
    };
    Response::from_parts(head, Body::from_stream(iter([half]).chain(once(cut))))
}

/// A fault, and the calls that meet with it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Numbers the rules, from 1.
    #[serde(skip_deserializing)]
    id: u64,
    /// Only calls to this path, as the API's documentation writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Only calls that name the member so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member_id: Option<String>,
    /// Ends after that many calls; never, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calls: Option<u64>,
    /// Meets this share of the calls, from 0 to 1; all of them, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    /// How many calls have met with it.
    #[serde(skip_deserializing)]
    met: u64,
    fault: Fault,
}

/// The rules in force, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    last_id: u64,
}

impl Rules {
    /// Adds a rule.
    pub(super) fn add(&mut self, mut rule: Rule) -> Result<Rule, String> {
        rule.fault.check()?;
        if rule.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("share must be from 0 to 1".into());
        }
        if rule.calls == Some(0) {
            return Err("calls must be at least 1".into());
        }
        if self.rules.len() >= MAX_RULES {
            return Err(format!("there are {MAX_RULES} rules already"));
        }
        self.last_id += 1;
        (rule.id, rule.met) = (self.last_id, 0);
        self.rules.push(rule.clone());
        Ok(rule)
    }

    pub(super) fn all(&self) -> &[Rule] {
        &self.rules
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// What this call meets with: the first rule that takes it.
    pub(super) fn meet(&mut self, path: &str, member_id: &str) -> Option<Fault> {
        let index = self.rules.iter().position(|rule| {
            rule.path.as_deref().is_none_or(|only| only == path)
                && rule.member_id.as_deref().is_none_or(|only| only == member_id)
                && rule.share.is_none_or(|share| fastrand::f64() < share)
        })?;
        let rule = &mut self.rules[index];
        rule.met += 1;
        let fault = rule.fault.clone();
        if rule.calls.is_some_and(|calls| rule.met >= calls) {
            self.rules.remove(index);
        }
        Some(fault)
    }
}
