//! `/settings.json`: what the page has to know of this process.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::state::{Console, Settings};
use crate::sandbox::Seed;

pub(super) async fn settings(State(console): State<Arc<Console>>) -> Json<Value> {
    let Settings { deadline, has_token, has_certificate, program, seed } = &console.settings;
    let members = |seed: &Seed| -> Vec<Value> {
        seed.members()
            .map(|(id, description)| json!({"id": id, "description": description}))
            .collect()
    };
    let sandbox = seed
        .as_ref()
        .map(|seed| json!({"organization_id": seed.organization(), "members": members(seed)}));
    Json(json!({
        "url": console.connection.url(),
        "deadline_ms": deadline.as_millis(),
        "has_token": has_token,
        "has_certificate": has_certificate,
        "version": env!("CARGO_PKG_VERSION"),
        "program": program,
        "sandbox": sandbox,
    }))
}
