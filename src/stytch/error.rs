//! The errors of calls to Stytch, by cause.

use std::{error::Error as _, time::Duration};

use http::StatusCode;
use prost_types::Struct;

use crate::tls_failure;

/// The setting of the authorities to trust.
pub(crate) const CA_SETTING: &str = "STYTCH_CA_FILE";

/// What is known about the request of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Nothing reached Stytch, provably.
    NotSent,
    /// Stytch, or a proxy in front of it, refused the request and did nothing.
    Rejected,
    /// The request was sent and may have taken effect.
    Unknown,
}

impl Upstream {
    /// Returns the value of the `ErrorInfo` metadata entry `upstream`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the variant with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::NotSent, Self::Rejected, Self::Unknown].into_iter().find(|it| it.as_str() == name)
    }
}

/// Why a call has no usable response. `Display` says what failed and `source()` why; neither quotes
/// the request or the response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be established (refused, unknown host, TLS, timeout), or Stytch declared
    /// that it did not process the request. Either way the request counts as not sent.
    #[error("Stytch cannot be reached")]
    Unreachable(#[source] reqwest::Error),

    /// The circuit breaker is open because Stytch has not been responding, so this attempt was not
    /// made.
    #[error("the circuit breaker is open: Stytch has not been responding")]
    CircuitOpen {
        /// How long until the breaker permits another attempt.
        wait: Duration,
        /// Whether an earlier attempt was sent, which happens only to a read.
        sent: bool,
    },

    /// The timeout for calls to Stytch elapsed.
    #[error("Stytch did not respond in time")]
    TimedOut {
        /// Whether the request had been sent by then.
        sent: bool,
    },

    /// The connection broke after the request was sent and before a response came.
    #[error("the connection to Stytch broke")]
    Disconnected(#[source] reqwest::Error),

    /// Stytch refused the request with an error object, and did nothing.
    #[error("Stytch refused with {} {}", .0.http_status.as_u16(), .0.error_type)]
    Rejected(Box<ApiError>),

    /// A proxy in front of Stytch refused the request with a status that means that it forwarded
    /// nothing.
    #[error("a proxy in front of Stytch refused with {}", .http_status.as_u16())]
    Intercepted {
        /// The HTTP status.
        http_status: StatusCode,
        /// The wait that the response asks for, at most 60 s.
        retry_after: Option<Duration>,
    },

    /// A failure (5xx, 408, 499) that leaves open whether the request took effect.
    #[error("Stytch failed with {}", .http_status.as_u16())]
    Failed {
        /// The HTTP status.
        http_status: StatusCode,
        /// The error object, if the response was Stytch's and not a proxy's.
        api: Option<Box<ApiError>>,
        /// The wait that the response asks for, at most 60 s.
        retry_after: Option<Duration>,
    },

    /// A redirect, or a refusal without an error object: not Stytch's API but something else
    /// responded.
    #[error("something other than Stytch's API responded with {}", .http_status.as_u16())]
    Foreign {
        /// The HTTP status.
        http_status: StatusCode,
    },

    /// A success whose body cannot be read.
    #[error("Stytch's {} response cannot be read: {why}", .http_status.as_u16())]
    Unreadable {
        /// The HTTP status.
        http_status: StatusCode,
        /// Stytch's id of the call, if that much could be read.
        request_id: Option<String>,
        /// What is wrong with the body.
        why: Unreadable,
    },
}

/// Why a body cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The connection broke within the body.
    #[error("it is truncated")]
    Truncated,
    /// The body is longer than any response of Stytch.
    #[error("it is too long")]
    TooLong,
    /// The body is empty, as with HTTP 204.
    #[error("it is empty")]
    Empty,
    /// The body is not a JSON object.
    #[error("it is not a JSON object")]
    NotJson,
    /// A field is missing without which the response is useless.
    #[error("an essential field is missing")]
    Incomplete,
}

/// Stytch's error object, in either of its two forms. Its size is bounded, and secrets of the
/// request are masked.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The HTTP status of the response; `status_code` in the body is ignored.
    pub http_status: StatusCode,
    /// What went wrong (`error_type`, or `error` in the OAuth2 form): letters, digits and `_`. This
    /// is the key to map errors by. Empty if nothing in it can be passed on.
    pub error_type: String,
    /// The message for humans (`error_message` or `error_description`). Not stable.
    pub error_message: String,
    /// The URL of its documentation (`error_url` or `error_uri`). Not stable. Empty if it cannot be
    /// passed on.
    pub error_url: String,
    /// Free-form details.
    pub error_details: Option<Struct>,
    /// Stytch's id of the call.
    pub request_id: Option<String>,
    /// The wait that Stytch asks for, at most 60 s.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// Returns what is known about the request.
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

    /// Returns Stytch's id of the call, if it sent one.
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

    /// Returns the HTTP status, if there was a response.
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

    /// Returns Stytch's error object, if there was one.
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

    /// Returns the wait that the response asks for, at most 60 s.
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
}

/// The error types that mean that Stytch refused the project's own credentials.
pub(crate) const OUR_CREDENTIALS: [&str; 6] = [
    "invalid_b2b_endpoint",
    "invalid_project_id_authentication",
    "invalid_secret_authentication",
    "unauthorized_credentials",
    "unauthorized_project_id_live",
    "unauthorized_project_id_test",
];

impl Error {
    /// Returns what failed and why, for logs. Says which setting helps, if one does.
    pub fn in_full(&self) -> String {
        let text = tls_failure::in_full(self, CA_SETTING);
        match self.settings_to_check() {
            None => text,
            Some(settings) => format!("{text}; check {settings}"),
        }
    }

    /// Returns the settings that a response is about, if it is about settings and not the request.
    fn settings_to_check(&self) -> Option<&'static str> {
        if matches!(self, Self::Foreign { .. }) {
            return Some("STYTCH_BASE_URL");
        }
        match self.api()?.error_type.as_str() {
            "route_not_found" => Some("STYTCH_BASE_URL"),
            "invalid_project_id_authentication" => Some("STYTCH_PROJECT_ID"),
            "invalid_b2b_endpoint" => Some("STYTCH_PROJECT_ID: it is not that of a B2B project"),
            "unauthorized_project_id_live" | "unauthorized_project_id_test" => {
                Some("STYTCH_PROJECT_ID and STYTCH_BASE_URL")
            }
            "invalid_secret_authentication" | "unauthorized_credentials" => {
                Some("STYTCH_PROJECT_ID, and STYTCH_SECRET or STYTCH_SECRET_FILE")
            }
            _ => None,
        }
    }
}

impl ApiError {
    /// Returns whether Stytch refused this service's credentials rather than the request.
    pub fn is_about_our_credentials(&self) -> bool {
        OUR_CREDENTIALS.contains(&self.error_type.as_str())
    }

    /// Returns whether the type means that Stytch gave up rather than refused, whatever the HTTP
    /// status.
    pub(super) fn outcome_is_unknown(&self) -> bool {
        matches!(
            self.error_type.as_str(),
            "client_closed_request" | "internal_server_error" | "server_unavailable"
        )
    }
}

/// Returns whether the peer declared that it did not process the request. HTTP/2 has two ways (RFC
/// 9113, section 8.7): the peer refuses the stream, or it sends a GOAWAY whose last stream id is
/// below this stream's, which is the only case in which h2 fails a stream with the peer's GOAWAY.
pub(super) fn was_not_processed(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.filter_map(|cause| cause.downcast_ref::<h2::Error>()).any(|error| {
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || is_refused)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::stytch::Mask;

    fn of(http_status: StatusCode, body: &str) -> Error {
        let body = Ok(body.as_bytes());
        Error::from_response(http_status, &HeaderMap::new(), body, || Mask::new([]))
    }

    fn of_type(error_type: &str) -> Error {
        of(StatusCode::UNAUTHORIZED, &format!(r#"{{"error_type":"{error_type}"}}"#))
    }

    #[test]
    fn the_alert_for_refused_credentials_fires_for_each_type_of_error() {
        let alerts = include_str!("../../deploy/prometheus/alerts.yml");
        let (_, rule) = alerts.split_once("alert: TotpFacadeCredentialsRefused").unwrap();
        let (rule, _) = rule.split_once("- alert:").unwrap();
        let selectors: Vec<_> = rule.split("error_type=~\"").skip(1).collect();
        assert_eq!(selectors.len(), 2, "{rule}");
        for selector in selectors {
            let (types, _) = selector.split_once('"').unwrap();
            let mut types: Vec<_> = types.split('|').collect();
            types.sort_unstable();
            assert_eq!(types, OUR_CREDENTIALS);
        }
    }

    #[test]
    fn a_refusal_that_a_setting_is_to_blame_for_names_the_setting() {
        for error_type in OUR_CREDENTIALS {
            let text = of_type(error_type).in_full();
            let begin = format!("Stytch refused with 401 {error_type}; check STYTCH_PROJECT_ID");
            assert!(text.starts_with(&begin), "{text}");
        }
        let text = of_type("unauthorized_credentials").in_full();
        assert!(text.ends_with("STYTCH_SECRET or STYTCH_SECRET_FILE"), "{text}");
        for error in [of(StatusCode::NOT_FOUND, "<html>"), of_type("route_not_found")] {
            let text = error.in_full();
            assert!(text.ends_with("; check STYTCH_BASE_URL"), "{text}");
        }
        let text = of_type("session_not_found").in_full();
        assert_eq!(text, "Stytch refused with 401 session_not_found");
    }
}
