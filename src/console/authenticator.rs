//! `/authenticator`: the authenticator app of a member of the sandbox.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::state::Console;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    member_id: String,
}

pub(super) async fn authenticator(
    State(console): State<Arc<Console>>,
    Json(body): Json<Body>,
) -> Result<Json<Value>, (StatusCode, &'static str)> {
    let Some(authenticator) = &console.authenticator else {
        return Err((StatusCode::NOT_FOUND, "there is no sandbox: use the member's own app\n"));
    };
    Ok(Json(match authenticator.code(&body.member_id) {
        None => json!({"code": null}),
        Some(shown) => json!({
            "code": shown.code,
            "seconds_left": shown.seconds_left,
            "is_used": shown.is_used,
        }),
    }))
}
