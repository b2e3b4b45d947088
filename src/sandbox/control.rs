//! `/sandbox/`: faults and time at run time. Off unless asked for; not part of Stytch's API.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    fault::Rule,
    member::rfc3339,
    routes::{Shared, lock},
};

/// The routes of `/sandbox/`.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/sandbox/faults", post(add_fault).get(list_faults).delete(clear_faults))
        .route("/sandbox/clock", get(time).post(advance))
}

async fn add_fault(State(shared): State<Shared>, body: Bytes) -> Result<Response, Refusal> {
    let rule: Rule = read(&body)?;
    let rule = lock(&shared.rules).add(rule).map_err(Refusal)?;
    Ok((StatusCode::CREATED, Json(rule)).into_response())
}

async fn list_faults(State(shared): State<Shared>) -> Response {
    Json(lock(&shared.rules).all().to_vec()).into_response()
}

async fn clear_faults(State(shared): State<Shared>) -> StatusCode {
    lock(&shared.rules).clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance: String,
}

async fn time(State(shared): State<Shared>) -> Response {
    Json(json!({"now": rfc3339(lock(&shared.store).now())})).into_response()
}

async fn advance(State(shared): State<Shared>, body: Bytes) -> Result<Response, Refusal> {
    /// A century: what is beyond is a typing error, and may overflow.
    const MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
    let Advance { advance } = read(&body)?;
    let by = humantime::parse_duration(&advance).map_err(|error| Refusal(error.to_string()))?;
    let too_far = || Refusal("that is too far ahead".into());
    {
        let mut ahead = lock(&shared.ahead);
        let sum = ahead.checked_add(by).filter(|sum| *sum <= MAX);
        *ahead = sum.ok_or_else(too_far)?;
    }
    Ok(time(State(shared)).await)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal(error.to_string()))
}

/// What is wrong with a request to the control endpoint.
struct Refusal(String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({"error": self.0}))).into_response()
    }
}
