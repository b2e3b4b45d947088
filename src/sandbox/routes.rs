//! The HTTP side: credentials, content type, route, body, faults.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{MatchedPath, RawPathParams, Request, State},
    http::{
        HeaderMap, Method,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{self, MethodFilter, MethodRouter},
};
use data_encoding::BASE64;
use serde_json::Value;

use super::{
    Object, Sandbox, control, error::ApiError, fault::Rules, fields::Fields, jwt, mint,
    store::Store,
};

/// Headers that say on whose behalf a call is made, and the fields they stand for.
const SESSION_HEADERS: [(&str, &str); 2] =
    [("x-stytch-member-session", "session_token"), ("x-stytch-member-sessionjwt", "session_jwt")];

pub(super) type Shared = Arc<Inner>;

pub(super) struct Inner {
    pub(super) store: Mutex<Store>,
    pub(super) rules: Mutex<Rules>,
    /// How far the sandbox's time is ahead of its clock.
    pub(super) ahead: Arc<Mutex<Duration>>,
}

pub(super) fn router(sandbox: Sandbox) -> Router {
    let Sandbox { seed, clock, control } = sandbox;
    let ahead = Arc::new(Mutex::new(Duration::ZERO));
    let offset = Arc::clone(&ahead);
    let store = Store::new(seed, Arc::new(move || clock() + *lock(&offset)));
    let shared = Arc::new(Inner { store: Mutex::new(store), rules: Mutex::default(), ahead });
    let api = Router::new()
        .route("/v1/b2b/totp", on(MethodFilter::POST, Store::create_totp))
        .route("/v1/b2b/totp/authenticate", on(MethodFilter::POST, Store::authenticate_totp))
        .route("/v1/b2b/totp/migrate", on(MethodFilter::POST, Store::migrate_totp))
        .route(
            "/v1/b2b/organizations/{organization_id}/members/{member_id}/totp",
            on(MethodFilter::DELETE, Store::delete_totp),
        )
        .route(
            "/v1/b2b/recovery_codes/{organization_id}/{member_id}",
            on(MethodFilter::GET, Store::get_recovery_codes),
        )
        .route(
            "/v1/b2b/recovery_codes/rotate",
            on(MethodFilter::POST, Store::rotate_recovery_codes),
        )
        .route("/v1/b2b/recovery_codes/recover", on(MethodFilter::POST, Store::recover))
        .route("/v1/b2b/sessions/authenticate", on(MethodFilter::POST, Store::authenticate_session))
        .fallback(async || ApiError::ROUTE_NOT_FOUND)
        .method_not_allowed_fallback(async || ApiError::ROUTE_NOT_FOUND)
        .layer(from_fn_with_state(Arc::clone(&shared), authenticated));
    // SDKs fetch the keys without credentials.
    let open = Router::new()
        .route("/v1/b2b/sessions/jwks/{project_id}", routing::get(async || Json(jwt::key_set())));
    let control = if control { control::router() } else { Router::new() };
    api.merge(open).merge(control).with_state(shared)
}

async fn authenticated(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let known = credentials(request.headers())
        .ok_or(ApiError::UNAUTHORIZED)
        .and_then(|(project_id, secret)| lock(&shared.store).authenticate(&project_id, &secret));
    let content_type = request.headers().get(CONTENT_TYPE);
    match known {
        Err(error) => error.into_response(),
        // Exactly this: the API refuses `application/json; charset=utf-8`. What has no body may do without.
        Ok(()) => match content_type {
            None if request.method() != Method::POST => next.run(request).await,
            Some(json) if json == "application/json" => next.run(request).await,
            _ => ApiError::BAD_REQUEST.into_response(),
        },
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let basic = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64.decode(basic.as_bytes()).ok()?).ok()?;
    let (project_id, secret) = pair.split_once(':')?;
    Some((project_id.to_owned(), secret.to_owned()))
}

/// An operation of the API.
type Operation = fn(&mut Store, &Fields) -> Result<Value, ApiError>;

/// The route of an operation: reads the request, lets faults happen, and finishes the answer.
fn on(method: MethodFilter, operation: Operation) -> MethodRouter<Shared> {
    routing::on(
        method,
        async move |State(shared): State<Shared>, path: MatchedPath, ids, headers, body: Bytes| {
            match fields(ids, &headers, &body) {
                Err(error) => error.into_response(),
                Ok(fields) => answer(&shared, operation, path.as_str(), &fields).await,
            }
        },
    )
}

async fn answer(shared: &Shared, operation: Operation, path: &str, fields: &Fields) -> Response {
    let carried_out = || {
        let answer = operation(&mut lock(&shared.store), fields);
        answer.and_then(finished).map(Json).into_response()
    };
    let member_id = fields.text("member_id").ok().flatten().unwrap_or_default();
    let rule = lock(&shared.rules).meet(path, member_id);
    let Some(fault) = rule.or_else(|| lock(&shared.store).seeded_fault(fields)) else {
        return carried_out();
    };
    tokio::time::sleep(fault.latency()).await;
    let answer = fault.lets_through().then(carried_out);
    fault.applied(answer).await
}

/// What the request says in its path, or else in its body, and in the headers of a call without one.
fn fields(ids: RawPathParams, headers: &HeaderMap, body: &[u8]) -> Result<Fields, ApiError> {
    let text = |value: &str| Value::from(value);
    let mut fields: Object = ids.iter().map(|(key, id)| (key.to_owned(), text(id))).collect();
    if fields.is_empty() {
        return serde_json::from_slice(body).map(Fields).map_err(|_| ApiError::BAD_REQUEST);
    }
    for (header, field) in SESSION_HEADERS {
        if let Some(value) = headers.get(header) {
            let value = value.to_str().map_err(|_| ApiError::BAD_REQUEST)?;
            fields.insert(field.to_owned(), text(value));
        }
    }
    Ok(Fields(fields))
}

/// Does what takes long, now that the store is free: draws the picture and signs the token.
fn finished(mut answer: Value) -> Result<Value, ApiError> {
    if let Some(uri) = answer.get("qr_code").and_then(Value::as_str) {
        answer["qr_code"] = mint::qr_code(uri).ok_or(ApiError::INTERNAL)?.into();
    }
    if let Some(Value::Object(claims)) = answer.get("session_jwt") {
        answer["session_jwt"] = jwt::sign(claims).map_err(|_| ApiError::INTERNAL)?.into();
    }
    Ok(answer)
}

/// A panic under a lock is a bug already reported; the sandbox goes on with what it has.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
