//! Puts a status together: rich details, trailers, and the bounds on both.
//!
//! gRPC's C core and Java refuse more than 8 KiB of metadata and lose the whole status beyond that,
//! so all trailers together stay under [`MAX_TRAILERS`], whatever Stytch sent and whatever is put in here.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use serde_json::{Map, Value};
use tonic::{
    Code, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _, pb};

use super::{About, Case, Detail, Pushback, Row, rule};
use crate::{
    proto::{
        StytchRequest,
        json::object,
        metadata::{RETRY_PUSHBACK, STYTCH_REQUEST_ID},
    },
    stytch::{Error, Upstream},
};

/// `ErrorInfo.domain` of reasons that are Stytch's error types.
const STYTCH_DOMAIN: &str = "stytch.com";
/// `ErrorInfo.domain` of reasons of our own.
const DOMAIN: &str = "totp-facade";
/// The reason when Stytch's error type has nothing that could be one.
const UNNAMED: &str = "UNNAMED_ERROR";
/// The most that the trailers of one answer may weigh, in bytes as HTTP/2 counts them.
pub const MAX_TRAILERS: usize = 4096;

/// What else may come with them, by the same count: `idempotent-replayed`, which a repetition adds, and
/// `content-type` and `date`, as those of a refusal are headers too.
const RESERVED: usize = 256;

// What a part may take, in bytes. Whatever they add up to, `Draft::finish` keeps the whole below MAX_TRAILERS.
const MAX_MESSAGE: usize = 300;
const MAX_ID: usize = 128;
const MAX_FIELD: usize = 64;
const MAX_DESCRIPTION: usize = 160;
/// How many violations are listed at most.
pub const MAX_VIOLATIONS: usize = 16;
/// The longest `ErrorInfo.reason`, as its specification says.
const MAX_REASON: usize = 63;

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
    /// What the message says after its stable part.
    more: String,
    details: ErrorDetails,
    violations: Vec<FieldViolation>,
    /// Violations that are not listed.
    unlisted: usize,
    metadata: Vec<(&'static str, String)>,
    reason: Option<String>,
    request_id: Option<String>,
    help: Option<String>,
    wait: Option<Duration>,
    extras: Option<Map<String, Value>>,
}

impl Draft {
    pub(super) fn new(case: Case) -> Self {
        let row = case.row();
        Self {
            row,
            code: row.code,
            more: String::new(),
            details: ErrorDetails::new(),
            violations: Vec::new(),
            unlisted: 0,
            metadata: vec![("upstream", row.upstream.as_str().to_owned())],
            reason: None,
            request_id: None,
            help: None,
            wait: match row.pushback {
                Pushback::After(wait) => Some(wait),
                Pushback::None | Pushback::Never | Pushback::RetryAfter => None,
            },
            extras: None,
        }
    }

    pub(super) fn replace(&mut self, code: Code, message: &str) {
        self.code = code;
        self.add(message);
    }

    /// Says more, after the stable part of the message.
    pub(super) fn add(&mut self, more: &str) {
        cut(more, MAX_MESSAGE).clone_into(&mut self.more);
    }

    pub(super) fn wait(&mut self, wait: Duration) {
        self.wait = Some(wait);
    }

    /// Lists violations, of which there are `unlisted` more.
    pub(super) fn violations(&mut self, violations: Vec<FieldViolation>, unlisted: usize) {
        self.unlisted = unlisted + violations.len().saturating_sub(MAX_VIOLATIONS);
        let bounded = |violation: FieldViolation| {
            let field = cut(&violation.field, MAX_FIELD);
            FieldViolation::new(field, cut(&violation.description, MAX_DESCRIPTION))
        };
        self.violations = violations.into_iter().take(MAX_VIOLATIONS).map(bounded).collect();
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
        match self.row.pushback {
            Pushback::RetryAfter => self.wait = error.retry_after(),
            Pushback::After(_) => self.wait = self.wait.max(error.retry_after()),
            Pushback::None | Pushback::Never => {}
        }
        let Some(api) = error.api() else { return };

        if !api.error_type.is_empty() {
            self.metadata.push(("error_type", api.error_type.clone()));
        }
        let reason = reason(&api.error_type);
        let about = rule(&api.error_type).map_or(About::Nothing, |(_, about)| about);
        self.detail(about, reason.as_deref().unwrap_or(UNNAMED), request);
        self.reason = reason;
        if self.row.reason != Case::CredentialsRejected.row().reason {
            self.add(&api.error_message);
            self.help = Some(api.error_url.clone()).filter(|url| !url.is_empty());
            self.extras.clone_from(&api.error_details);
        }
    }

    /// Adds the detail of the row.
    fn detail(&mut self, about: About<'_>, reason: &str, request: &dyn StytchRequest) {
        let message = self.row.message;
        let member = || format!("member:{}", cut(request.member_id(), MAX_ID));
        match (self.row.detail, about) {
            (Detail::None, _)
            | (Detail::BadRequest, About::Nothing)
            | (Detail::ResourceInfo, About::Nothing | About::Proofs) => {}
            (Detail::BadRequest, About::Name(field)) => {
                self.details.add_bad_request_violation(cut(field, MAX_FIELD), message);
            }
            (Detail::BadRequest, About::Proofs) => {
                for field in proofs(request) {
                    self.details.add_bad_request_violation(field, message);
                }
            }
            (Detail::ResourceInfo, About::Name(kind)) => {
                let id = match kind {
                    "organization" => request.organization_id(),
                    "member" | "totp" | "recovery_codes" => request.member_id(),
                    _ => "",
                };
                let (kind, owner) = (cut(kind, MAX_FIELD), "");
                self.details.set_resource_info(kind, cut(id, MAX_ID), owner, message);
            }
            (Detail::PreconditionFailure, _) => {
                self.details.add_precondition_failure_violation(reason, member(), message);
            }
            (Detail::QuotaFailure, _) => {
                self.details.add_quota_failure_violation(member(), message);
            }
        }
    }

    /// The status, whose trailers are kept below [`MAX_TRAILERS`] by leaving out what can best be spared.
    pub(super) fn finish(mut self) -> Status {
        if let Some(wait) = &mut self.wait {
            *wait = with_jitter(*wait);
        }
        loop {
            let status = self.status();
            if weight(&status) + RESERVED <= MAX_TRAILERS || !self.spares() {
                return status;
            }
        }
    }

    /// Leaves out what can best be spared. Says whether there was anything.
    fn spares(&mut self) -> bool {
        if self.extras.take().is_some() || self.help.take().is_some() {
            return true;
        }
        let (listed, kept) = (self.violations.len(), self.violations.len() / 2);
        if kept > 0 {
            self.violations.truncate(kept);
            self.unlisted += listed - kept;
            return true;
        }
        !std::mem::take(&mut self.more).is_empty()
    }

    fn status(&self) -> Status {
        let mut metadata = MetadataMap::new();
        if let Some(id) = self.request_id.as_deref().and_then(request_id) {
            metadata.insert(STYTCH_REQUEST_ID, id);
        }
        let mut details = self.details.clone();
        if let Some(wait) = self.wait {
            details.set_retry_info(Some(wait));
            metadata.insert(RETRY_PUSHBACK, millis(wait));
        } else if self.row.pushback == Pushback::Never {
            metadata.insert(RETRY_PUSHBACK, MetadataValue::from_static("-1"));
        }
        if let Some(url) = &self.help {
            details.add_help_link("Stytch's documentation of this error", url);
        }
        if !self.violations.is_empty() {
            details.set_bad_request(self.violations.clone());
        }
        let (reason, domain) = match (self.row.reason, &self.reason) {
            (Some(ours), _) => (ours, DOMAIN),
            (None, Some(stytchs)) => (stytchs.as_str(), STYTCH_DOMAIN),
            (None, None) => (UNNAMED, DOMAIN),
        };
        details.set_error_info(reason, domain, self.info());
        let plain =
            Status::with_error_details_and_metadata(self.code, self.message(), details, metadata);
        match &self.extras {
            Some(extras) => with_extras(&plain, extras.clone()).unwrap_or(plain),
            None => plain,
        }
    }

    fn info(&self) -> HashMap<String, String> {
        let unlisted = (self.unlisted > 0).then(|| ("more_violations", self.unlisted.to_string()));
        let entries = self.metadata.iter().cloned().chain(unlisted);
        entries.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn message(&self) -> String {
        let fields: Vec<_> = self.violations.iter().map(|it| it.field.as_str()).collect();
        let mut more = cut(&fields.join(", "), MAX_MESSAGE).to_owned();
        if self.unlisted > 0 {
            let _ = write!(more, ", and {} more", self.unlisted);
        }
        if more.is_empty() {
            more.clone_from(&self.more);
        }
        match (self.row.message, more.as_str()) {
            (only, "") | ("", only) => only.to_owned(),
            (stable, more) => format!("{stable}: {more}"),
        }
    }
}

/// The fields of the request that say whose login this is: those it carries, or else those it could.
fn proofs(request: &dyn StytchRequest) -> impl Iterator<Item = &'static str> {
    let proofs = request.proofs();
    let has_any = proofs.iter().any(|(_, is_set)| *is_set);
    proofs.into_iter().filter(move |(_, is_set)| *is_set || !has_any).map(|(field, _)| field)
}

/// An error type as a reason: `[A-Z][A-Z0-9_]+[A-Z0-9]`, of at most 63 characters. None when there is nothing
/// in it.
fn reason(error_type: &str) -> Option<String> {
    let name = error_type.trim_end_matches('_').to_ascii_uppercase();
    let is_reason = name.len() >= 3 && name.starts_with(|first: char| first.is_ascii_uppercase());
    let reason = match (name.as_str(), is_reason) {
        ("", _) => return None,
        (_, true) => name,
        (_, false) => format!("TYPE_{name}"),
    };
    Some(cut(&reason, MAX_REASON).trim_end_matches('_').to_owned())
}

/// Stytch's identifier of a call as metadata, if it is one that every client can read.
pub fn request_id(id: &str) -> Option<MetadataValue<Ascii>> {
    let is_id = (1..=MAX_ID).contains(&id.len());
    is_id.then(|| MetadataValue::try_from(id).ok()).flatten()
}

/// Adds Stytch's free-form `error_details` as a `google.protobuf.Struct`.
fn with_extras(plain: &Status, extras: Map<String, Value>) -> Option<Status> {
    let mut details = pb::Status::decode(plain.details()).ok()?;
    // The detail is a message of its own.
    let extras = object::deserialize::<0, _>(Value::Object(extras)).ok()??;
    details.details.push(prost_types::Any {
        type_url: "type.googleapis.com/google.protobuf.Struct".into(),
        value: extras.encode_to_vec(),
    });
    Some(Status::with_details_and_metadata(
        plain.code(),
        plain.message(),
        Bytes::from(details.encode_to_vec()),
        plain.metadata().clone(),
    ))
}

/// What the trailers of `status` weigh: names, values and 32 bytes each, as RFC 7541 counts.
fn weight(status: &Status) -> usize {
    let mut headers = http::HeaderMap::new();
    match status.add_header(&mut headers) {
        Ok(()) => headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum(),
        Err(_) => usize::MAX,
    }
}

fn millis(wait: Duration) -> MetadataValue<Ascii> {
    MetadataValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
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
