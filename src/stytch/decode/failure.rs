//! Reads the response to a failed call.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::{Map, Value};

use super::lenient::{FreeForm, copy_fitting};
use crate::{
    proto::{Depth, Form},
    stytch::{
        error::{ApiError, Error, Unreadable},
        secret_mask::Mask,
    },
};

/// The longest wait to accept from `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The longest error type to pass on, in characters. Stytch's own are much shorter.
const MAX_TYPE: usize = 100;
/// The longest request id to pass on, in bytes.
const MAX_ID: usize = 128;
/// The longest documentation URL to pass on, in bytes.
const MAX_URL: usize = 256;

/// The fields of an error object, in both of its forms.
const ERROR_OBJECT: Form = Form::Message(&[
    ("error_type", Form::Text),
    ("error", Form::Text),
    ("error_message", Form::Text),
    ("error_description", Form::Text),
    ("error_url", Form::Text),
    ("error_uri", Form::Text),
    ("request_id", Form::Text),
    ("error_details", Form::Object(Depth::TOP)),
]);

impl Error {
    /// Classifies a response other than 2xx. What the response says is masked by `mask`.
    pub fn from_response(
        http_status: StatusCode,
        headers: &HeaderMap,
        body: Result<&[u8], Unreadable>,
        mask: impl FnOnce() -> Mask,
    ) -> Self {
        let body = body.ok().and_then(error_object);
        let retry_after = retry_after(headers, SystemTime::now());
        let api = body.and_then(|body| ApiError::read(http_status, retry_after, body, mask));
        match api.map(Box::new) {
            None if is_interception(http_status) => Self::Intercepted { http_status, retry_after },
            api if http_status.is_server_error() || is_timeout(http_status) => {
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

/// Reads the error object of a body. A malformed field is left out, so that it does not cost the
/// error type.
fn error_object(body: &[u8]) -> Option<Map<String, Value>> {
    let object = copy_fitting(body, &ERROR_OBJECT, FreeForm::Kept, &mut |_| ()).ok()?;
    serde_json::from_slice(&object).ok()
}

/// Returns whether a status by itself means that its sender, if a proxy, forwarded nothing: it asks
/// for authentication (407, 511), finds the request too large (413, 414, 431), too early (425) or
/// misdirected (421), or limits the rate (429). Any other status may have come from behind the
/// proxy.
fn is_interception(http_status: StatusCode) -> bool {
    matches!(http_status.as_u16(), 407 | 413 | 414 | 421 | 425 | 429 | 431 | 511)
}

/// Returns whether a status means that its sender stopped waiting, for the request (408) or for the
/// client (499). By then it may have forwarded the request.
fn is_timeout(http_status: StatusCode) -> bool {
    matches!(http_status.as_u16(), 408 | 499)
}

impl ApiError {
    /// Reads an error object; `None` if it has no error type.
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
        let raw_type = text(&["error_type", "error"])?;
        let message = text(&["error_message", "error_description"]).unwrap_or_default();
        let url = text(&["error_url", "error_uri"]).unwrap_or_default();
        let id = text(&["request_id"]);
        let mask = mask();
        Some(Self {
            http_status,
            error_type: error_type(&raw_type, &mask),
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
}

/// Returns the error type, reduced to letters, digits and `_`; empty if it contains a secret.
fn error_type(raw: &str, mask: &Mask) -> String {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let name: String = raw.chars().filter(is_allowed).take(MAX_TYPE).collect();
    if mask.hides_name(raw) || mask.hides_name(&name) { String::new() } else { name }
}

/// Returns Stytch's id of a call, if it can be passed on.
pub(in crate::stytch) fn request_id(id: String, mask: &Mask) -> Option<String> {
    (is_header(&id, MAX_ID) && !mask.hides_name(&id)).then_some(id)
}

/// Returns whether `text` is a header value of 1 to `max` bytes.
fn is_header(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads `Retry-After`, in seconds or as an HTTP date, capped at [`MAX_RETRY_AFTER`].
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
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
