//! `/call`: makes a call of the contract, and says how it ended.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tonic::Code;

use super::state::Console;
use crate::{
    client::{Answer, CallFailure, MAX_DEADLINE, Options, Report, Rpc},
    proto::metadata::IDEMPOTENCY_KEY,
    status::{CallKind, code_name},
    stytch::Upstream,
    translate::Inexact,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    method: String,
    request: Box<RawValue>,
    deadline_ms: u64,
    idempotency_key: Option<String>,
}

/// How a call ended.
#[derive(Default, Serialize)]
pub(super) struct Ending {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    request_id: Option<String>,
    replayed: bool,
    elapsed_ms: f64,
}

/// Why a call failed. Without a code, no façade answered.
#[derive(Default, Serialize)]
struct Failure {
    code: Option<&'static str>,
    message: String,
    reason: Option<String>,
    domain: Option<String>,
    metadata: BTreeMap<String, String>,
    violations: Vec<Violation>,
    help: Vec<String>,
    retry_after_ms: Option<u64>,
    outcome: &'static str,
    advice: String,
}

#[derive(Serialize)]
struct Violation {
    field: String,
    description: String,
}

pub(super) async fn call(
    State(console): State<Arc<Console>>,
    Json(body): Json<Body>,
) -> Result<Json<Ending>, (StatusCode, &'static str)> {
    let Some(rpc) = Rpc::named(&body.method) else {
        return Err((StatusCode::BAD_REQUEST, "the contract has no such method\n"));
    };
    let kind = match (rpc.method.only_reads, &body.idempotency_key) {
        (true, _) => CallKind::Read,
        (false, None) => CallKind::WithoutKey,
        (false, Some(_)) => CallKind::WithKey,
    };
    let start = Instant::now();
    let mut ending = match prepare(rpc, &body) {
        Err(violation) => Ending::unfit(violation),
        Ok((request, options)) => match rpc.call(&console.connection, request, &options).await {
            Ok(answer) => Ending::of_answer(answer),
            Err(failure) => Ending::of_failure(&failure, kind),
        },
    };
    ending.elapsed_ms = (start.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    Ok(Json(ending))
}

/// Checks what is to be sent, as the façade would.
fn prepare(rpc: &Rpc, body: &Body) -> Result<(Bytes, Options), Violation> {
    let violation = |field: &str, description: &str| Violation {
        field: field.to_owned(),
        description: description.to_owned(),
    };
    let request = rpc.request(body.request.get()).map_err(|inexact| match &inexact {
        Inexact::NotJson => violation("", "the request is not a JSON object"),
        Inexact::Field { path, .. } => violation(path, &inexact.to_string()),
    })?;
    let deadline = Duration::from_millis(body.deadline_ms);
    if deadline.is_zero() || deadline > MAX_DEADLINE {
        return Err(violation("deadline", "must be longer than 0 and at most a day"));
    }
    let options = Options::new(deadline);
    let options = match &body.idempotency_key {
        None => options,
        Some(key) => options.with_key(key).map_err(|what| violation(IDEMPOTENCY_KEY, what))?,
    };
    Ok((request, options))
}

impl Ending {
    fn of_answer(answer: Answer) -> Self {
        Self {
            ok: true,
            request_id: answer.request_id().map(str::to_owned),
            replayed: answer.is_replayed(),
            response: Some(answer.json),
            ..Self::default()
        }
    }

    fn of_failure(failure: &CallFailure, kind: CallKind) -> Self {
        let shown = Failure {
            code: code(failure),
            message: failure.to_string(),
            outcome: failure.outcome().as_str(),
            advice: failure.advice(kind),
            ..Failure::default()
        };
        match (failure, failure.report()) {
            (_, None) => Self::failed(shown),
            (CallFailure::Refused { report, .. }, _) => {
                let message = report.status().message().to_owned();
                Self::reported(report, Failure { message, ..shown })
            }
            (_, Some(report)) => Self::reported(report, shown),
        }
    }

    /// A failure with the details of a status.
    fn reported(report: &Report, shown: Failure) -> Self {
        let (reason, domain) = report.reason.clone().unzip();
        let violations = report.violations.iter().cloned();
        let shown = Failure {
            reason,
            domain,
            metadata: report.metadata.clone(),
            violations: violations
                .map(|(field, description)| Violation { field, description })
                .collect(),
            help: report.help.clone(),
            retry_after_ms: report.retry_after.map(millis),
            ..shown
        };
        let (request_id, replayed) = (report.request_id.clone(), report.is_replayed);
        Self { request_id, replayed, ..Self::failed(shown) }
    }

    /// The request does not fit the contract, and nothing was sent.
    fn unfit(violation: Violation) -> Self {
        Self::failed(Failure {
            message: format!("the request does not fit the contract: {}", violation.description),
            violations: vec![violation],
            outcome: Upstream::NotSent.as_str(),
            advice: "Change the request first; nothing was sent.".to_owned(),
            ..Failure::default()
        })
    }

    fn failed(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }
}

fn code(failure: &CallFailure) -> Option<&'static str> {
    match (failure.report(), failure) {
        (Some(report), _) => Some(report.code()),
        (None, CallFailure::DeadlinePassed { .. }) => Some(code_name(Code::DeadlineExceeded)),
        (None, _) => None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
