//! Puts a status together: rich details, trailers, and the bounds on both.
//!
//! gRPC's C core and Java refuse more than 8 KiB of metadata and lose the whole status beyond that,
//! so all trailers together stay under [`MAX_TRAILERS`], whatever Stytch sent.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use serde_json::{Map, Value};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _, pb};

use super::{Case, Detail, Pushback, Row, rule};
use crate::{
    idempotency,
    proto::StytchRequest,
    stytch::{Error, Upstream},
};

/// `ErrorInfo.domain` of reasons that are Stytch's error types.
const STYTCH_DOMAIN: &str = "stytch.com";
/// `ErrorInfo.domain` of reasons of our own.
const DOMAIN: &str = "totp-facade";
/// The metadata that bears Stytch's identifier of the call, on success and failure.
pub const REQUEST_ID: &str = "stytch-request-id";
/// The trailer that tells retrying gRPC clients when to come back, or never (-1).
pub(super) const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// The reason when Stytch's error type has nothing that could be one.
const UNNAMED: &str = "UNNAMED_ERROR";
/// The most that the trailers of one answer may weigh, in bytes as HTTP/2 counts them.
pub const MAX_TRAILERS: usize = 4096;

/// What `idempotent-replayed: true` weighs, which a repetition adds.
const REPLAYED_WEIGHT: usize = idempotency::REPLAYED.len() + "true".len() + 32;

// What foreign text may take, in bytes. Together they stay below MAX_TRAILERS even when every byte of
// the message has to be percent-encoded; the test `no_answer_of_stytch_makes_trailers_too_large`
// holds them to it.
const MAX_MESSAGE: usize = 300;
const MAX_ID: usize = 128;

/// What a status of ours says of its call, read back from its details.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What is known about the call.
    pub upstream: Option<Upstream>,
    /// Stytch's error type.
    pub error_type: Option<String>,
    /// Stytch's identifier of the call.
    pub request_id: Option<String>,
}

impl Facts {
    /// Reads them.
    pub fn of(status: &Status) -> Self {
        let mut metadata =
            status.get_details_error_info().map(|info| info.metadata).unwrap_or_default();
        Self {
            upstream: metadata.remove("upstream").and_then(|text| Upstream::from_name(&text)),
            error_type: metadata.remove("error_type"),
            request_id: status.get_details_request_info().map(|info| info.request_id),
        }
    }
}

/// A status in the making.
pub(super) struct Draft {
    row: Row,
    code: Code,
    message: String,
    details: ErrorDetails,
    metadata: Vec<(&'static str, String)>,
    reason: Option<String>,
    request_id: Option<String>,
    wait: Option<Duration>,
    extras: Option<Map<String, Value>>,
}

impl Draft {
    pub(super) fn new(case: Case) -> Self {
        let row = case.row();
        Self {
            row,
            code: row.code,
            message: row.message.to_owned(),
            details: ErrorDetails::new(),
            metadata: vec![("upstream", row.upstream.as_str().to_owned())],
            reason: None,
            request_id: None,
            wait: match row.pushback {
                Pushback::After(wait) => Some(wait),
                Pushback::None | Pushback::Never | Pushback::RetryAfter => None,
            },
            extras: None,
        }
    }

    pub(super) fn replace(&mut self, code: Code, message: &str) {
        self.code = code;
        self.message = cut(message, MAX_MESSAGE).to_owned();
    }

    /// Says more, after the stable part of the message.
    pub(super) fn add(&mut self, why: &str) {
        self.message = format!("{}: {why}", self.message);
    }

    pub(super) fn wait(&mut self, wait: Duration) {
        self.wait = Some(wait);
    }

    pub(super) fn violations(&mut self, violations: Vec<FieldViolation>) {
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        self.message = format!("{}: {}", self.message, fields.join(", "));
        self.details.set_bad_request(violations);
    }

    /// Adds what the upstream error says.
    pub(super) fn describe(&mut self, error: &Error, request: &dyn StytchRequest) {
        if let Some(http_status) = error.http_status() {
            self.metadata.push(("http_status", http_status.as_u16().to_string()));
        }
        self.request_id = error.request_id().map(ToOwned::to_owned);
        if let Some(id) = &self.request_id {
            self.details.set_request_info(id, "");
        }
        if let Error::CircuitOpen { wait, sent: false } = error {
            self.wait = Some(*wait);
        }
        let Some(api) = error.api() else { return };

        let text = cut(&api.error_message, MAX_MESSAGE);
        if !text.is_empty() {
            self.message = format!("{}: {text}", self.message);
        }
        if self.row.pushback == Pushback::RetryAfter {
            self.wait = api.retry_after;
        }
        if !api.error_url.is_empty() {
            self.details.add_help_link("Stytch's documentation of this error", &api.error_url);
        }
        let reason = api.error_type.to_ascii_uppercase();
        self.detail(rule(&api.error_type).map_or("", |(_, subject)| subject), &reason, request);
        self.extras = api.error_details.clone();
        self.metadata.push(("error_type", api.error_type.clone()));
        self.reason = Some(reason);
    }

    /// Adds the detail of the row. `subject` is what the error is about, empty when it does not say.
    fn detail(&mut self, subject: &str, reason: &str, request: &dyn StytchRequest) {
        let message = self.row.message;
        let member = || format!("member:{}", cut(request.member_id(), MAX_ID));
        match self.row.detail {
            Detail::BadRequest if !subject.is_empty() => {
                self.details.add_bad_request_violation(subject, message);
            }
            Detail::None | Detail::BadRequest => {}
            Detail::ResourceInfo => {
                let id = match subject {
                    "organization" => request.organization_id(),
                    "member" | "totp" | "recovery_codes" => request.member_id(),
                    _ => "",
                };
                let owner = "";
                self.details.set_resource_info(subject, cut(id, MAX_ID), owner, message);
            }
            Detail::PreconditionFailure => {
                self.details.add_precondition_failure_violation(reason, member(), message);
            }
            Detail::QuotaFailure => {
                self.details.add_quota_failure_violation(member(), message);
            }
        }
    }

    pub(super) fn finish(mut self) -> Status {
        let mut metadata = MetadataMap::new();
        if let Some(id) = &self.request_id {
            set(&mut metadata, REQUEST_ID, id);
        }
        if let Some(wait) = self.wait.map(with_jitter) {
            self.details.set_retry_info(Some(wait));
            set(&mut metadata, PUSHBACK, &wait.as_millis().to_string());
        } else if self.row.pushback == Pushback::Never {
            set(&mut metadata, PUSHBACK, "-1");
        }
        let (reason, domain) = match (self.row.reason, self.reason) {
            (Some(ours), _) => (ours.to_owned(), DOMAIN),
            (None, Some(stytchs)) if !stytchs.is_empty() => (stytchs, STYTCH_DOMAIN),
            (None, _) => (UNNAMED.to_owned(), DOMAIN),
        };
        self.details.set_error_info(
            reason,
            domain,
            self.metadata
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<std::collections::HashMap<_, _>>(),
        );
        let plain = Status::with_error_details_and_metadata(
            self.code,
            self.message,
            self.details,
            metadata,
        );
        match self.extras {
            Some(extras) => with_extras(&plain, extras).unwrap_or(plain),
            None => plain,
        }
    }
}

/// Adds Stytch's free-form `error_details` as a `google.protobuf.Struct`, if there is room for it.
fn with_extras(plain: &Status, extras: Map<String, Value>) -> Option<Status> {
    let mut details = pb::Status::decode(plain.details()).ok()?;
    let extras = crate::proto::json::object::deserialize(Value::Object(extras)).ok()??;
    details.details.push(prost_types::Any {
        type_url: "type.googleapis.com/google.protobuf.Struct".into(),
        value: extras.encode_to_vec(),
    });
    let status = Status::with_details_and_metadata(
        plain.code(),
        plain.message(),
        Bytes::from(details.encode_to_vec()),
        plain.metadata().clone(),
    );
    (weight(&status) + REPLAYED_WEIGHT <= MAX_TRAILERS).then_some(status)
}

/// What the trailers of `status` weigh: names, values and 32 bytes each, as RFC 7541 counts.
fn weight(status: &Status) -> usize {
    let mut headers = http::HeaderMap::new();
    match status.add_header(&mut headers) {
        Ok(()) => headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum(),
        Err(_) => usize::MAX,
    }
}

fn set(metadata: &mut MetadataMap, key: &'static str, value: &str) {
    if let Ok(value) = MetadataValue::try_from(value) {
        metadata.insert(key, value);
    }
}

/// Adds a fifth, and at least 100 ms in all, so that callers do not come back together.
fn with_jitter(wait: Duration) -> Duration {
    let spread = (wait / 5).max(Duration::from_millis(100));
    wait + spread.mul_f64(fastrand::f64())
}

/// At most `max` bytes of `text`, whole characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
