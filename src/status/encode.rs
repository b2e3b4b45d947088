//! Encodes a failure as a gRPC status with rich error details, within the size limits.

use std::{collections::HashMap, fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use prost_types::Struct;
use tonic::{
    Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
};
use tonic_types::{StatusExt as _, pb};

use super::{
    bounds::{MAX_ID, MAX_MESSAGE, MAX_TRAILERS, RESERVED, cut},
    failure::{Failure, Form, Parts},
    table::{Pushback, Reason},
};
use crate::proto::metadata::{RETRY_PUSHBACK, STYTCH_REQUEST_ID};

/// The `ErrorInfo.domain` of reasons that are Stytch's error types.
pub(super) const STYTCH_DOMAIN: &str = "stytch.com";
/// The `ErrorInfo.domain` of the reasons of this service.
const DOMAIN: &str = "totp-facade";

/// The failure becomes the source of the status, so that [`Failure::of`] can return it.
impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut status = match failure.form() {
            Form::Recorded { status, .. } => status.clone(),
            Form::Made { parts, written } => written.get_or_init(|| parts.finish()).clone(),
        };
        status.set_source(Arc::new(failure));
        status
    }
}

impl Failure {
    /// Returns the failure that a status was encoded from. Returns `None` for a status made
    /// elsewhere.
    ///
    /// Trap: the status of a request body has passed through axum, which wraps its source.
    pub fn of(status: &Status) -> Option<&Self> {
        std::iter::successors(std::error::Error::source(status), |error| error.source())
            .find_map(|error| error.downcast_ref())
    }
}

impl Parts {
    /// Encodes the status, and drops the least important parts until it fits within
    /// [`MAX_TRAILERS`].
    fn finish(&self) -> Status {
        let mut parts = self.clone();
        parts.wait = parts.wait.map(with_jitter);
        loop {
            let status = parts.status();
            if weight(&status) + RESERVED <= MAX_TRAILERS || !parts.shrink() {
                return status;
            }
        }
    }

    /// Drops the least important part. Returns `false` if there is none left.
    fn shrink(&mut self) -> bool {
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
        if let Some(id) = &self.request_id {
            details.set_request_info(id, "");
        }
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
            (Reason::Ours(reason), _) => (reason, DOMAIN),
            (Reason::ErrorType, Some(reason)) => (reason.as_str(), STYTCH_DOMAIN),
            (Reason::ErrorType, None) => (self.reason_or_unnamed(), DOMAIN),
        };
        details.set_error_info(reason, domain, self.info());
        let plain =
            Status::with_error_details_and_metadata(self.code, self.message(), details, metadata);
        match &self.extras {
            Some(extras) => with_extras(&plain, extras).unwrap_or(plain),
            None => plain,
        }
    }

    /// Returns the metadata of `ErrorInfo`.
    fn info(&self) -> HashMap<String, String> {
        let unlisted = Some(self.unlisted).filter(|count| *count > 0);
        let entries = [
            ("upstream", Some(self.upstream.as_str().to_owned())),
            ("http_status", self.http_status.map(|status| status.to_string())),
            ("error_type", self.error_type.clone()),
            ("more_violations", unlisted.map(|count| count.to_string())),
        ];
        entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    pub(super) fn message(&self) -> String {
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

/// Returns Stytch's request id as metadata, if it is one that every client can read.
pub fn request_id(id: &str) -> Option<MetadataValue<Ascii>> {
    let is_id = (1..=MAX_ID).contains(&id.len());
    is_id.then(|| MetadataValue::try_from(id).ok()).flatten()
}

/// Adds Stytch's free-form `error_details` as a `google.protobuf.Struct`.
fn with_extras(plain: &Status, extras: &Struct) -> Option<Status> {
    let mut details = pb::Status::decode(plain.details()).ok()?;
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

/// Returns the size of the trailers as RFC 7541 counts it: names, values and 32 bytes for each
/// field.
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

/// Adds jitter of up to a fifth, or up to 100 ms if that is more, so that callers do not retry
/// together.
fn with_jitter(wait: Duration) -> Duration {
    let spread = (wait / 5).max(Duration::from_millis(100));
    wait + spread.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::{collection::vec, prelude::*};
    use serde_json::json;
    use tonic::Code;
    use tonic_types::FieldViolation;

    use super::{
        super::{
            rules::{AFFIXES, Affix, TYPES},
            table::{Case, Detail},
        },
        *,
    };
    use crate::{
        proto::{metadata, stytch::b2b::totp::v1::AuthenticateRequest},
        stytch::{Effect, Error, Mask},
    };

    /// Returns the status of a call that Stytch refused with this body.
    fn refused_with(body: &serde_json::Value) -> Status {
        let body = body.to_string();
        let http_status = StatusCode::IM_A_TEAPOT;
        let body = Ok(body.as_bytes());
        let error = Error::from_response(http_status, &HeaderMap::new(), body, || Mask::new([]));
        let request = AuthenticateRequest {
            organization_id: "o".repeat(8_000),
            member_id: "m".repeat(8_000),
            session_token: Some("a-token".into()),
            ..AuthenticateRequest::default()
        };
        Failure::upstream(&error, Effect::Mutates, &request).into()
    }

    #[test]
    fn every_type_of_the_table_has_the_detail_that_its_row_promises() {
        let affixed = AFFIXES.map(|(affix, case)| match affix {
            Affix::Prefix(prefix) => (format!("{prefix}thing"), case),
            Affix::Suffix(suffix) => (format!("thing{suffix}"), case),
        });
        let named = TYPES.iter().map(|(name, case, _)| ((*name).to_owned(), *case));
        for (error_type, case) in named.chain(affixed) {
            let status = refused_with(&json!({"error_type": error_type}));

            let details = status.get_error_details();
            let has_it = match case.row().detail {
                Detail::Nothing => true,
                Detail::BadRequest => details.bad_request().is_some_and(|it| {
                    let mut violations = it.field_violations.iter();
                    !it.field_violations.is_empty() && violations.all(|it| !it.field.is_empty())
                }),
                Detail::ResourceInfo => {
                    details.resource_info().is_some_and(|it| !it.resource_type.is_empty())
                }
                Detail::PreconditionFailure => details.precondition_failure().is_some(),
                Detail::QuotaFailure => details.quota_failure().is_some(),
            };
            assert!(has_it, "{error_type}: {:?}", case.row().detail);
        }
    }

    /// `[A-Z][A-Z0-9_]+[A-Z0-9]`, at most 63 characters.
    fn is_reason(reason: &str) -> bool {
        let is_end = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        (3..=63).contains(&reason.len())
            && reason.starts_with(|c: char| c.is_ascii_uppercase())
            && reason.ends_with(is_end)
            && reason.chars().all(|c| is_end(c) || c == '_')
    }

    #[test]
    fn reasons_of_unusual_error_types_are_valid_in_error_info() {
        for (error_type, reason) in [
            ("totp_not_found", "TOTP_NOT_FOUND"),
            ("2fa_required", "TYPE_2FA_REQUIRED"),
            ("_odd", "TYPE__ODD"),
            ("odd_", "ODD"),
            ("x", "TYPE_X"),
            ("ab", "TYPE_AB"),
            ("a_", "TYPE_A"),
            ("___", "UNNAMED_ERROR"),
            ("\u{1F511}", "UNNAMED_ERROR"),
            ("not found", "NOTFOUND"),
        ] {
            let status = refused_with(&json!({"error_type": error_type}));

            let info = status.get_details_error_info().expect("an ErrorInfo");
            assert_eq!(info.reason, reason, "{error_type}");
            assert!(is_reason(&info.reason), "{error_type}: {}", info.reason);
        }
        let own = Case::ALL.iter().filter_map(|case| match case.row().reason {
            Reason::Ours(reason) => Some(reason),
            Reason::ErrorType => None,
        });
        assert!(own.into_iter().all(is_reason));
    }

    /// The size with everything that may be sent with the trailers: two more headers for an error
    /// without a body, and one for a replay.
    fn weight(status: Status) -> usize {
        let mut response = status.into_http::<()>();
        let headers = response.headers_mut();
        headers.insert(metadata::IDEMPOTENT_REPLAYED, http::HeaderValue::from_static("true"));
        let date = http::HeaderValue::from_static("Wed, 25 Nov 2026 18:50:11 GMT");
        headers.insert(http::header::DATE, date);
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => any::<String>(),
            1 => "[a-z0-9_]{0,70}",
            1 => (any::<char>(), 0..10_000_usize).prop_map(|(c, times)| String::from(c).repeat(times)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

        #[test]
        fn any_error_type_has_a_reason_valid_in_error_info(error_type in any_text()) {
            prop_assume!(!error_type.is_empty());
            let status = refused_with(&json!({"error_type": error_type}));

            let reason = status.get_details_error_info().expect("an ErrorInfo").reason;
            prop_assert!(is_reason(&reason), "{reason}");
        }

        #[test]
        fn every_status_fits_its_trailers(
            (texts, more) in (vec(any_text(), 1..400), any::<usize>()),
            code in 1..17_i32,
        ) {
            let text = |at: usize| texts[at % texts.len()].as_str();
            let violations: Vec<_> =
                texts.iter().map(|it| FieldViolation::new(it, text(it.len()))).collect();
            let theirs = json!({
                "error_type": text(1), "error_message": text(2), "error_url": text(3),
                "request_id": text(4), "error_details": {text(5): [text(6), {text(7): 1}]},
            });
            let tonics = Status::new(Code::from_i32(code), text(8));
            let own = Case::ALL.iter().map(|case| {
                let wait = Duration::from_secs(1 << 32);
                Status::from(Failure::from(*case).saying(text(9)).after(wait))
            });
            let listed = violations.len();
            for status in own.chain([
                Failure::invalid(violations.clone(), 0).into(),
                Failure::invalid(violations, more / 2).into(),
                Failure::of_transport(&tonics).into(),
                refused_with(&theirs),
                Failure::key_reused().into(),
            ]) {
                prop_assert!(status.get_details_error_info().is_some());
                let (shown, code) = (format!("{listed} of {}", status.message()), status.code());
                let weight = weight(status);
                prop_assert!(weight <= MAX_TRAILERS, "{weight} bytes: {code} {shown}");
            }
        }
    }
}
