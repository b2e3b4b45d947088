//! A status with its details, for people and for programs.

use std::{collections::BTreeMap, fmt, time::Duration};

use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{proto::metadata, status};

/// What a status says.
#[derive(Clone, Debug)]
pub struct Report {
    /// The status itself.
    status: Box<Status>,
    /// The reason and its domain; only a façade sends them.
    pub reason: Option<(String, String)>,
    /// The metadata of `ErrorInfo`.
    pub metadata: BTreeMap<String, String>,
    /// The fields that are refused, and why.
    pub violations: Vec<(String, String)>,
    /// Stytch's request id.
    pub request_id: Option<String>,
    /// Addresses of pages that help.
    pub help: Vec<String>,
    /// How long to wait before the call is retried.
    pub retry_after: Option<Duration>,
    /// Whether this is the response to an earlier call with the same idempotency key.
    pub is_replayed: bool,
}

impl Report {
    pub(super) fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let violations = details.bad_request().map_or(&[][..], |it| &it.field_violations);
        let links = details.help().map_or(&[][..], |it| &it.links);
        let delay = details.retry_info().and_then(|it| it.retry_delay);
        Self {
            status: Box::new(status.clone()),
            reason: info.map(|info| (info.reason.clone(), info.domain.clone())),
            metadata: info.iter().flat_map(|info| info.metadata.clone()).collect(),
            violations: violations
                .iter()
                .map(|it| (it.field.clone(), it.description.clone()))
                .collect(),
            request_id: details.request_info().map(|it| it.request_id.clone()),
            help: links.iter().map(|it| it.url.clone()).collect(),
            retry_after: delay
                .map(|it| Duration::from_millis(u64::try_from(it.as_millis()).unwrap_or(u64::MAX))),
            is_replayed: status.metadata().contains_key(metadata::IDEMPOTENT_REPLAYED),
        }
    }

    /// Whether a façade sent the status.
    pub(super) fn is_of_facade(&self) -> bool {
        self.reason.is_some()
    }

    /// Returns the status.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns the code as it is written in gRPC's documentation.
    pub fn code(&self) -> &'static str {
        status::code_name(self.status.code())
    }
}

/// One line for each part.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.status.message())?;
        if let Some((reason, domain)) = &self.reason {
            write!(f, "\n  reason: {reason} ({domain})")?;
        }
        for (key, value) in &self.metadata {
            write!(f, "\n  {key}: {value}")?;
        }
        for (field, description) in &self.violations {
            write!(f, "\n  field {field}: {description}")?;
        }
        if let Some(id) = &self.request_id {
            write!(f, "\n  {}: {id}", metadata::STYTCH_REQUEST_ID)?;
        }
        for url in &self.help {
            write!(f, "\n  help: {url}")?;
        }
        if let Some(delay) = self.retry_after {
            write!(f, "\n  retry after: {}", humantime::format_duration(delay))?;
        }
        if self.is_replayed {
            write!(f, "\n  {}: true", metadata::IDEMPOTENT_REPLAYED)?;
        }
        Ok(())
    }
}
