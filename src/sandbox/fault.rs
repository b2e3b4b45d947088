//! Faults that the seed or the control endpoint can inject into calls.

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

/// The maximum number of rules in force.
const MAX_RULES: usize = 100;
/// Twice the 30 seconds after which Stytch itself gives up.
const MAX_LATENCY: Duration = Duration::from_secs(60);

/// A fault to inject into a call. With a latency alone, the call succeeds, but late.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fault {
    /// The HTTP status of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The type of Stytch's error in the response. Without it, the response is an HTML page, as a
    /// proxy would send.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    /// The `Retry-After` header, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
    /// How long to wait before anything else, such as `250ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<String>,
    /// Where to cut the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<CutAt>,
    /// Whether the call takes effect although it fails.
    takes_effect: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CutAt {
    /// Before the first byte of the response.
    BeforeAnswer,
    /// In the middle of the response's body.
    WithinAnswer,
}

impl Fault {
    /// Checks each field, and that the fields make a fault together; returns what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(status) = self.status
            && !(300..=599).contains(&status)
        {
            return Err("status must be from 300 to 599".into());
        }
        if let Some(latency) = &self.latency {
            let time =
                humantime::parse_duration(latency).map_err(|error| format!("latency: {error}"))?;
            if time > MAX_LATENCY {
                return Err("latency must be at most 60s".into());
            }
        }
        if self.latency.is_none() && self.cut.is_none() && !self.replaces_response() {
            return Err("one of status, error_type, latency and cut is required".into());
        }
        if self.takes_effect && !self.replaces_response() && self.cut.is_none() {
            return Err("takes_effect needs a status, an error_type or a cut".into());
        }
        Ok(())
    }

    /// Returns how long to wait before anything else.
    pub(super) fn latency(&self) -> Duration {
        let latency = self.latency.as_deref().map(humantime::parse_duration);
        latency.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether to execute the operation despite the fault.
    pub(super) fn executes(&self) -> bool {
        self.takes_effect
            || self.cut == Some(CutAt::WithinAnswer)
            || !(self.replaces_response() || self.cut.is_some())
    }

    /// Applies the fault to the response of the operation, if it was executed.
    pub(super) async fn apply(&self, response: Option<Response>) -> Response {
        let mut response = match response {
            Some(response) if !self.replaces_response() => response,
            _ => self.failure(),
        };
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.cut {
            None => {}
            Some(CutAt::BeforeAnswer) => drop(response.extensions_mut().insert(Cut)),
            Some(CutAt::WithinAnswer) => response = truncated(response).await,
        }
        response
    }

    fn replaces_response(&self) -> bool {
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

/// Cuts a response after the first half of its body. Its `Content-Length` stays that of the whole.
async fn truncated(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half: Result<Bytes, Cut> = Ok(body.slice(..body.len() / 2));
    let cut = async {
        // Without a pause, hyper would see the error before it has written the first half.
        tokio::task::yield_now().await;
        Err(Cut)
    };
    Response::from_parts(head, Body::from_stream(iter([half]).chain(once(cut))))
}

/// A fault, and the calls that it affects.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Assigned by the sandbox, from 1.
    #[serde(skip_deserializing)]
    id: u64,
    /// Affects only calls to this path, which has its parameters in braces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Affects only calls with this `member_id`, compared as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member_id: Option<String>,
    /// Removes the rule after this many calls; never, if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calls: Option<u64>,
    /// Affects this share of the calls, from 0 to 1; all of them, if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    /// How many calls the rule has affected.
    #[serde(skip_deserializing)]
    met: u64,
    fault: Fault,
}

/// The rules in force, oldest first.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    last_id: u64,
}

impl Rules {
    /// Adds a rule and returns it with its id, or returns why the rule is refused.
    pub(super) fn add(&mut self, mut rule: Rule) -> Result<Rule, String> {
        rule.fault.check()?;
        if rule.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("share must be from 0 to 1".into());
        }
        if rule.calls == Some(0) {
            return Err("calls must be at least 1".into());
        }
        if self.rules.len() >= MAX_RULES {
            return Err(format!("there are already {MAX_RULES} rules"));
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

    /// Returns the fault of the first rule that affects the call, and counts the call.
    pub(super) fn fault_for(&mut self, path: &str, member_id: &str) -> Option<Fault> {
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
