//! Reads the response to a failed call.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use prost::Message as _;
use prost_types::Struct;

use super::{
    error::{ApiError, Error, Unreadable},
    secret_mask::Mask,
};
use crate::{
    proto::Depth,
    translate::{Field, FromJson, Kind, Label, Table, translate},
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
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct ErrorObject {
    #[prost(string, tag = "1")]
    error_type: String,
    #[prost(string, tag = "2")]
    error: String,
    #[prost(string, tag = "3")]
    error_message: String,
    #[prost(string, tag = "4")]
    error_description: String,
    #[prost(string, tag = "5")]
    error_url: String,
    #[prost(string, tag = "6")]
    error_uri: String,
    #[prost(string, tag = "7")]
    request_id: String,
    #[prost(message, optional, tag = "8")]
    error_details: Option<Struct>,
}

macro_rules! field {
    ($name:literal, $number:literal, $kind:expr) => {
        Field {
            name: $name,
            member: concat!("\"", $name, "\":"),
            number: $number,
            kind: $kind,
            label: Label::Implicit,
        }
    };
}

impl FromJson for ErrorObject {
    const TABLE: &'static Table = &Table::new(&[
        field!("error_type", 1, Kind::Text),
        field!("error", 2, Kind::Text),
        field!("error_message", 3, Kind::Text),
        field!("error_description", 4, Kind::Text),
        field!("error_url", 5, Kind::Text),
        field!("error_uri", 6, Kind::Text),
        field!("request_id", 7, Kind::Text),
        field!("error_details", 8, Kind::Object(Depth(1))),
    ]);
}

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
fn error_object(body: &[u8]) -> Option<ErrorObject> {
    let object = translate::<ErrorObject>(body, |_| ()).ok()?;
    ErrorObject::decode(object.into_bytes()).ok()
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
        body: ErrorObject,
        mask: impl FnOnce() -> Mask,
    ) -> Option<Self> {
        let either = |this: String, other| if this.is_empty() { other } else { this };
        let raw_type = Some(either(body.error_type, body.error)).filter(|it| !it.is_empty())?;
        let message = either(body.error_message, body.error_description);
        let url = either(body.error_url, body.error_uri);
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
            request_id: request_id(body.request_id, |id| mask.hides_name(id)),
            error_details: body.error_details.and_then(|details| mask.object(&details)),
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

/// Returns Stytch's id of a call, if it can be passed on. An id in Stytch's own form holds no
/// secret, so `is_hidden` is not asked: a mask takes far longer to make than a span.
pub(super) fn request_id(id: String, is_hidden: impl FnOnce(&str) -> bool) -> Option<String> {
    (is_header(&id, MAX_ID) && (is_in_own_form(&id) || !is_hidden(&id))).then_some(id)
}

/// Returns whether an id is `request-id-test-` or `request-id-live-`, and a UUID.
fn is_in_own_form(id: &str) -> bool {
    let uuid = id.strip_prefix("request-id-");
    let uuid = uuid.and_then(|it| it.strip_prefix("test-").or_else(|| it.strip_prefix("live-")));
    uuid.is_some_and(|uuid| {
        uuid.len() == 36
            && uuid.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
    })
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
    fn an_id_in_stytchs_own_form_is_passed_on_without_a_mask_and_others_only_if_it_hides_nothing() {
        const UUID: &str = "f219b755-1536-407e-8e16-b96b52bcdf14";
        for id in [format!("request-id-test-{UUID}"), format!("request-id-live-{UUID}")] {
            assert_eq!(request_id(id.clone(), |_| unreachable!()), Some(id));
        }
        for id in [
            UUID.to_owned(),
            format!("request-id-{UUID}"),
            format!("request-id-test-{UUID}0"),
            format!("request-id-test-{}", UUID.replace('-', "0")),
            format!("request-id-test-{}", UUID.replace('f', "g")),
        ] {
            assert_eq!(request_id(id.clone(), |_| false), Some(id.clone()));
            assert_eq!(request_id(id, |_| true), None);
        }
        for id in [String::new(), "a b".to_owned(), "x".repeat(MAX_ID + 1)] {
            assert_eq!(request_id(id, |_| unreachable!()), None);
        }
    }

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

    #[test]
    fn a_byte_that_is_not_of_json_does_not_cost_the_type_of_an_error() {
        for text in [
            r#"{"error_type":"x","error_details":[{"a":@1}]}"#,
            r#"{"error_type":"x","error_details":{"a":[@]}}"#,
            r#"{"error_message":@,"error_type":"x"}"#,
            r#"{"error_type":"x","status_code":@400}"#,
            r#"{"error_type":"x"}@"#,
        ] {
            for byte in [0, 0x0b, 0x0c, 0x1c, 0x7f, 0x85, 0xa0, 0xff] {
                let body = text.bytes().map(|it| if it == b'@' { byte } else { it });
                let body: Vec<_> = body.collect();
                let error = Error::from_response(
                    StatusCode::BAD_REQUEST,
                    &HeaderMap::new(),
                    Ok(&body),
                    || Mask::new([]),
                );

                let api = error.api().expect("Stytch's");
                assert_eq!(api.error_type, "x", "{byte:#x} in {text}");
            }
        }
    }

    #[test]
    fn details_of_any_depth_do_not_cost_the_type_of_an_error() {
        for (open, close) in [("[", "]"), (r#"{"b":"#, "}")] {
            for levels in 0..=140 {
                let details = format!("{}0{}", open.repeat(levels), close.repeat(levels));
                let body = format!(r#"{{"error_type":"x","error_details":{{"a":{details}}}}}"#);
                let body = Ok(body.as_bytes());
                let error =
                    Error::from_response(StatusCode::BAD_REQUEST, &HeaderMap::new(), body, || {
                        Mask::new([])
                    });

                let api = error.api().expect("Stytch's");
                assert_eq!(api.error_type, "x", "{levels} levels of {open}");
            }
        }
    }
}
