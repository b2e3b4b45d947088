//! The control endpoint, `/sandbox/`: injects faults and advances the clock at run time.
//!
//! It is not part of Stytch's API, and is closed unless the operator opens it.

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{clock::rfc3339, fault::Rule, store::Shared};

/// The routes of `/sandbox/`.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/sandbox/faults", post(add_rule).get(list_rules).delete(clear_rules))
        .route("/sandbox/clock", get(time).post(advance))
}

async fn add_rule(State(shared): State<Shared>, body: Bytes) -> Result<Response, BadRequest> {
    let rule: Rule = parse(&body)?;
    let rule = shared.lock().rules.add(rule).map_err(BadRequest)?;
    Ok((StatusCode::CREATED, Json(rule)).into_response())
}

async fn list_rules(State(shared): State<Shared>) -> Json<Vec<Rule>> {
    Json(shared.lock().rules.all().to_vec())
}

async fn clear_rules(State(shared): State<Shared>) -> StatusCode {
    shared.lock().rules.clear();
    StatusCode::NO_CONTENT
}

async fn time(State(shared): State<Shared>) -> Json<Value> {
    Json(json!({"now": rfc3339(shared.lock().clock.now())}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance: String,
}

async fn advance(shared: State<Shared>, body: Bytes) -> Result<Json<Value>, BadRequest> {
    let Advance { advance } = parse(&body)?;
    let by = humantime::parse_duration(&advance).map_err(|error| BadRequest(error.to_string()))?;
    shared.lock().clock.advance(by).map_err(BadRequest)?;
    Ok(time(shared).await)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadRequest> {
    serde_json::from_slice(body).map_err(|error| BadRequest(error.to_string()))
}

/// A refused request to the control endpoint, with the reason.
struct BadRequest(String);

impl IntoResponse for BadRequest {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({"error": self.0}))).into_response()
    }
}
