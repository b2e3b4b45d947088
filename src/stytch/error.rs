//! What can go wrong upstream, by cause.

use std::{
    error::Error as _,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::{Map, Value};

/// The longest wait that Stytch may ask of a caller.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(60);

/// What is known about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Provably nothing reached Stytch.
    NotSent,
    /// Stytch answered, and did nothing.
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

    /// A failure at Stytch (5xx, 408, 499) that does not say whether anything was done.
    #[error("Stytch failed with {}", .http_status.as_u16())]
    Failed {
        /// The HTTP status.
        http_status: StatusCode,
        /// Its error, where the answer was Stytch's and not a proxy's.
        api: Option<Box<ApiError>>,
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
    /// Not a JSON object.
    #[error("it is not a JSON object")]
    NotJson,
    /// A field is missing without which the answer is worthless.
    #[error("an essential field is missing")]
    Incomplete,
}

/// An error object of Stytch's, in either of its two spellings.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The HTTP status; `status_code` in the body is not trusted.
    pub http_status: StatusCode,
    /// What went wrong (`error_type`, or `error` in the OAuth2 spelling). The key to map by.
    pub error_type: String,
    /// Text for people (`error_message` or `error_description`). Not stable.
    pub error_message: String,
    /// Where it is documented (`error_url` or `error_uri`). Not stable.
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
            Self::Rejected(_) => Upstream::Rejected,
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
            | Self::Foreign { .. } => self.api()?.request_id.as_deref(),
        }
    }

    /// The HTTP status of the answer, where there was one.
    pub fn http_status(&self) -> Option<StatusCode> {
        match self {
            Self::Rejected(api) => Some(api.http_status),
            Self::Failed { http_status, .. }
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
            | Self::Foreign { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// The error that an answer other than 2xx stands for.
    pub fn from_answer(
        http_status: StatusCode,
        headers: &HeaderMap,
        body: Result<&[u8], Unreadable>,
    ) -> Self {
        let api =
            body.ok().and_then(|body| ApiError::read(http_status, headers, body)).map(Box::new);
        if http_status.is_server_error() {
            return Self::Failed { http_status, api };
        }
        match api {
            None => Self::Foreign { http_status },
            Some(_) if http_status.is_redirection() => Self::Foreign { http_status },
            Some(api) if api.outcome_is_unknown() => Self::Failed { http_status, api: Some(api) },
            Some(api) => Self::Rejected(api),
        }
    }
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

impl ApiError {
    /// Whether Stytch refuses this service rather than what was asked of it.
    pub fn is_about_our_credentials(&self) -> bool {
        OUR_CREDENTIALS.contains(&self.error_type.as_str())
    }

    fn read(http_status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let mut body: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let mut text = |names: &[&str]| {
            names.iter().find_map(|name| match body.get_mut(*name)?.take() {
                Value::String(text) if !text.is_empty() => Some(text),
                _ => None,
            })
        };
        Some(Self {
            http_status,
            error_type: text(&["error_type", "error"])?,
            error_message: text(&["error_message", "error_description"]).unwrap_or_default(),
            error_url: text(&["error_url", "error_uri"]).unwrap_or_default(),
            request_id: text(&["request_id"]),
            error_details: match body.remove("error_details") {
                Some(Value::Object(details)) => Some(details),
                _ => None,
            },
            retry_after: retry_after(headers, SystemTime::now()),
        })
    }

    /// These say that Stytch gave up, not that it refused, whichever status they come with.
    fn outcome_is_unknown(&self) -> bool {
        matches!(self.http_status.as_u16(), 408 | 499)
            || matches!(
                self.error_type.as_str(),
                "client_closed_request" | "internal_server_error" | "server_unavailable"
            )
    }
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
