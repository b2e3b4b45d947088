//! What can go wrong upstream, by cause.

use std::{
    error::Error as _,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::{Map, Value};

use super::{
    lenient::{FreeForm, fitting},
    mask::Mask,
};
use crate::proto::{Depth, Form};

/// The longest wait that Stytch may ask of a caller.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(60);
/// The longest error type, identifier and address that are given out. Stytch's own are shorter by far.
const MAX_TYPE: usize = 100;
const MAX_ID: usize = 128;
const MAX_URL: usize = 256;

/// What is known about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Provably nothing reached Stytch.
    NotSent,
    /// Stytch, or something in front of it, answered that nothing was done.
    Rejected,
    /// The request was sent and may have taken effect.
    Unknown,
}

impl Upstream {
    /// The value of the metadata entry `upstream`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::NotSent, Self::Rejected, Self::Unknown].into_iter().find(|it| it.as_str() == name)
    }
}

/// A call that brought no usable answer. `Display` says what failed and `source()` why; neither holds
/// a request or an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection: refused, no such host, TLS, or too slow; or Stytch said that it did not process the
    /// request. Nothing was sent, as far as anybody is concerned.
    #[error("Stytch cannot be reached")]
    Unreachable(#[source] reqwest::Error),

    /// The circuit breaker is open: Stytch has not been answering, so it was not tried.
    #[error("Stytch has not been answering, so it was not tried")]
    CircuitOpen {
        /// How long until it is tried again.
        wait: Duration,
        /// Whether an earlier attempt of this call, which then only reads, had left.
        sent: bool,
    },

    /// The upstream timeout ran out.
    #[error("Stytch did not answer in time")]
    TimedOut {
        /// Whether the request had left by then.
        sent: bool,
    },

    /// The connection broke after the request was sent and before an answer came.
    #[error("the connection to Stytch broke")]
    Disconnected(#[source] reqwest::Error),

    /// Stytch refused, with an error of its own: nothing was done.
    #[error("Stytch refused with {} {}", .0.http_status.as_u16(), .0.error_type)]
    Rejected(Box<ApiError>),

    /// Refused by something in front of Stytch, with a status that says that it passed nothing on.
    #[error("refused with {} by something in front of Stytch", .http_status.as_u16())]
    Intercepted {
        /// The HTTP status.
        http_status: StatusCode,
        /// How long it asks to wait, at most 60 s.
        retry_after: Option<Duration>,
    },

    /// A failure (5xx, 408, 499) that does not say whether anything was done.
    #[error("Stytch failed with {}", .http_status.as_u16())]
    Failed {
        /// The HTTP status.
        http_status: StatusCode,
        /// Its error, where the answer was Stytch's and not a proxy's.
        api: Option<Box<ApiError>>,
        /// How long the answer asks to wait, at most 60 s.
        retry_after: Option<Duration>,
    },

    /// A redirect, or a refusal that is not Stytch's: whoever answered is not the API.
    #[error("answered {} by something other than Stytch's API", .http_status.as_u16())]
    Foreign {
        /// The HTTP status.
        http_status: StatusCode,
    },

    /// A success that cannot be read.
    #[error("Stytch's {} answer cannot be read: {why}", .http_status.as_u16())]
    Unreadable {
        /// The HTTP status.
        http_status: StatusCode,
        /// Stytch's identifier of the call, where at least that could be read.
        request_id: Option<String>,
        /// What is wrong with it.
        why: Unreadable,
    },
}

/// Why a body cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The connection broke within the body.
    #[error("it is cut short")]
    CutShort,
    /// More bytes than any answer of Stytch's has.
    #[error("it is too long")]
    TooLong,
    /// Nothing came, as with HTTP 204.
    #[error("it is empty")]
    Empty,
    /// Not a JSON object.
    #[error("it is not a JSON object")]
    NotJson,
    /// A field is missing without which the answer is worthless.
    #[error("an essential field is missing")]
    Incomplete,
}

/// An error object of Stytch's, in either of its two spellings: bounded, and without the secrets that were sent.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The HTTP status; `status_code` in the body is not trusted.
    pub http_status: StatusCode,
    /// What went wrong (`error_type`, or `error` in the OAuth2 spelling): letters, digits and `_`. The key to map
    /// by. Empty when there is nothing in it that can be said.
    pub error_type: String,
    /// Text for people (`error_message` or `error_description`). Not stable.
    pub error_message: String,
    /// Where it is documented (`error_url` or `error_uri`). Not stable. Empty when it cannot be said.
    pub error_url: String,
    /// Free-form extras.
    pub error_details: Option<Map<String, Value>>,
    /// Stytch's identifier of the call.
    pub request_id: Option<String>,
    /// How long Stytch asks to wait, at most 60 s.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// What is known about the call.
    pub fn upstream(&self) -> Upstream {
        match self {
            Self::Unreachable(_)
            | Self::CircuitOpen { sent: false, .. }
            | Self::TimedOut { sent: false } => Upstream::NotSent,
            Self::Rejected(_) | Self::Intercepted { .. } => Upstream::Rejected,
            Self::CircuitOpen { sent: true, .. }
            | Self::TimedOut { sent: true }
            | Self::Disconnected(_)
            | Self::Failed { .. }
            | Self::Foreign { .. }
            | Self::Unreadable { .. } => Upstream::Unknown,
        }
    }

    /// Stytch's identifier of the call, where it sent one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Unreadable { request_id, .. } => request_id.as_deref(),
            Self::Rejected(_)
            | Self::Failed { .. }
            | Self::Unreachable(_)
            | Self::CircuitOpen { .. }
            | Self::TimedOut { .. }
            | Self::Disconnected(_)
            | Self::Intercepted { .. }
            | Self::Foreign { .. } => self.api()?.request_id.as_deref(),
        }
    }

    /// The HTTP status of the answer, where there was one.
    pub fn http_status(&self) -> Option<StatusCode> {
        match self {
            Self::Rejected(api) => Some(api.http_status),
            Self::Failed { http_status, .. }
            | Self::Intercepted { http_status, .. }
            | Self::Foreign { http_status }
            | Self::Unreadable { http_status, .. } => Some(*http_status),
            Self::Unreachable(_)
            | Self::CircuitOpen { .. }
            | Self::TimedOut { .. }
            | Self::Disconnected(_) => None,
        }
    }

    /// Stytch's error object, where there was one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Rejected(api) => Some(api),
            Self::Failed { api, .. } => api.as_deref(),
            Self::Unreachable(_)
            | Self::CircuitOpen { .. }
            | Self::TimedOut { .. }
            | Self::Disconnected(_)
            | Self::Intercepted { .. }
            | Self::Foreign { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// How long the answer asks to wait, at most 60 s.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected(api) => api.retry_after,
            Self::Failed { retry_after, .. } | Self::Intercepted { retry_after, .. } => {
                *retry_after
            }
            Self::Unreachable(_)
            | Self::CircuitOpen { .. }
            | Self::TimedOut { .. }
            | Self::Disconnected(_)
            | Self::Foreign { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// The error that an answer other than 2xx stands for, without what `mask` covers.
    pub fn from_answer(
        http_status: StatusCode,
        headers: &HeaderMap,
        body: Result<&[u8], Unreadable>,
        mask: impl FnOnce() -> Mask,
    ) -> Self {
        // An odd field must not cost the type of the error.
        let body =
            body.ok().and_then(|body| fitting(body, &ERROR, FreeForm::Kept, &mut |_| ()).ok());
        let body = body.and_then(|body| serde_json::from_slice(&body).ok());
        let retry_after = retry_after(headers, SystemTime::now());
        let api = body.and_then(|body| ApiError::read(http_status, retry_after, body, mask));
        match api.map(Box::new) {
            None if is_interception(http_status) => Self::Intercepted { http_status, retry_after },
            api if http_status.is_server_error() || is_giving_up(http_status) => {
                Self::Failed { http_status, api, retry_after }
            }
            None => Self::Foreign { http_status },
            Some(_) if http_status.is_redirection() => Self::Foreign { http_status },
            Some(api) if api.outcome_is_unknown() => {
                Self::Failed { http_status, api: Some(api), retry_after }
            }
            Some(api) => Self::Rejected(api),
        }
    }
}

/// Whether a status by itself says that whoever sent it passed nothing on: it wants to be asked as a proxy (407)
/// or a portal (511), finds the request too large (413, 414, 431) or too early (425), is not meant by it (421),
/// or will have no more of them now (429). Any other may come from behind it, too.
fn is_interception(http_status: StatusCode) -> bool {
    matches!(http_status.as_u16(), 407 | 413 | 414 | 421 | 425 | 429 | 431 | 511)
}

/// Whether a status says that somebody stopped waiting: for the request (408), or for its sender (499). It may
/// have been passed on by then.
fn is_giving_up(http_status: StatusCode) -> bool {
    matches!(http_status.as_u16(), 408 | 499)
}

/// Error types that say that the project's own credentials are at fault.
pub(crate) const OUR_CREDENTIALS: [&str; 6] = [
    "invalid_b2b_endpoint",
    "invalid_project_id_authentication",
    "invalid_secret_authentication",
    "unauthorized_credentials",
    "unauthorized_project_id_live",
    "unauthorized_project_id_test",
];

/// An error object, in both spellings. The details travel as a message of their own.
const ERROR: Form = Form::Message(&[
    ("error_type", Form::Text),
    ("error", Form::Text),
    ("error_message", Form::Text),
    ("error_description", Form::Text),
    ("error_url", Form::Text),
    ("error_uri", Form::Text),
    ("request_id", Form::Text),
    ("error_details", Form::Object(Depth::TOP)),
]);

impl ApiError {
    /// Whether Stytch refuses this service rather than what was asked of it.
    pub fn is_about_our_credentials(&self) -> bool {
        OUR_CREDENTIALS.contains(&self.error_type.as_str())
    }

    fn read(
        http_status: StatusCode,
        retry_after: Option<Duration>,
        mut body: Map<String, Value>,
        mask: impl FnOnce() -> Mask,
    ) -> Option<Self> {
        let mut text = |names: &[&str]| {
            names.iter().find_map(|name| match body.get_mut(*name)?.take() {
                Value::String(text) if !text.is_empty() => Some(text),
                _ => None,
            })
        };
        let error_type = text(&["error_type", "error"])?;
        let message = text(&["error_message", "error_description"]).unwrap_or_default();
        let url = text(&["error_url", "error_uri"]).unwrap_or_default();
        let id = text(&["request_id"]);
        let mask = mask();
        Some(Self {
            http_status,
            error_type: name(&error_type, &mask),
            error_message: mask.text(&message),
            error_url: if is_header(&url, MAX_URL) && mask.text(&url) == url {
                url
            } else {
                String::new()
            },
            request_id: id.and_then(|id| request_id(id, &mask)),
            error_details: match body.remove("error_details") {
                Some(Value::Object(details)) => mask.object(&details),
                _ => None,
            },
            retry_after,
        })
    }

    /// These say that Stytch gave up, not that it refused, whichever status they come with.
    fn outcome_is_unknown(&self) -> bool {
        matches!(
            self.error_type.as_str(),
            "client_closed_request" | "internal_server_error" | "server_unavailable"
        )
    }
}

/// An error type with nothing in it but what error types are made of, and no secret.
fn name(error_type: &str, mask: &Mask) -> String {
    let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let name: String = error_type.chars().filter(is_part).take(MAX_TYPE).collect();
    if mask.hides_name(error_type) || mask.hides_name(&name) { String::new() } else { name }
}

/// Stytch's identifier of a call, if it can be handed on.
pub(super) fn request_id(id: String, mask: &Mask) -> Option<String> {
    (is_header(&id, MAX_ID) && !mask.hides_name(&id)).then_some(id)
}

/// Whether `text` can stand in a header and is of a sane length.
fn is_header(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether the peer says that it has not processed this request, in HTTP/2's two ways (RFC 9113, 8.7): it refused
/// the stream, or it closes the connection and the stream is above the last that it has looked at, which is the
/// only case in which h2 gives a stream the error of a GOAWAY from the peer.
pub(super) fn was_not_processed(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.filter_map(|cause| cause.downcast_ref::<h2::Error>()).any(|error| {
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || is_refused)
    })
}

/// Reads `Retry-After` in seconds or as an HTTP date, capped.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_CAP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_and_capped() {
        let now = httpdate::parse_http_date("Thu, 01 Jan 2026 12:00:00 GMT").expect("a date");
        for (value, seconds, reason) in [
            ("0", Some(0), "zero seconds"),
            (" 7 ", Some(7), "seconds with blanks"),
            ("3600", Some(60), "more than the cap"),
            ("99999999999999999999", None, "more than a number holds"),
            ("-1", None, "a negative number"),
            ("1.5", None, "a fraction"),
            ("soon", None, "a word"),
            ("Thu, 01 Jan 2026 12:00:30 GMT", Some(30), "a date ahead"),
            ("Thu, 01 Jan 2026 11:00:00 GMT", Some(0), "a date gone by"),
            ("Fri, 01 Jan 2027 12:00:00 GMT", Some(60), "a date far ahead"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().expect("a header value"));

            let wait = retry_after(&headers, now);

            assert_eq!(wait, seconds.map(Duration::from_secs), "{reason}: {value}");
        }
    }
}
