//! The HTTP side: credentials, content type, route, body.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::post,
};
use data_encoding::BASE64;

use super::{
    error::ApiError,
    seed::{Fault, Seed},
    store::{Create, Store},
};

/// Stytch gives up after 30 seconds by itself.
const SLOW: Duration = Duration::from_secs(30);

const BAD_GATEWAY: &str = "<html>\n<head><title>502 Bad Gateway</title></head>\n\
    <body><center><h1>502 Bad Gateway</h1></center></body>\n</html>\n";

type Shared = Arc<Mutex<Store>>;

pub(super) fn router(seed: Seed) -> Router {
    let store: Shared = Arc::new(Mutex::new(Store::new(seed)));
    Router::new()
        .route("/v1/b2b/totp", post(create_totp))
        .fallback(async || ApiError::ROUTE_NOT_FOUND)
        .method_not_allowed_fallback(async || ApiError::ROUTE_NOT_FOUND)
        .layer(from_fn_with_state(Arc::clone(&store), authenticated))
        .with_state(store)
}

async fn authenticated(State(store): State<Shared>, request: Request, next: Next) -> Response {
    let known = credentials(request.headers())
        .ok_or(ApiError::UNAUTHORIZED)
        .and_then(|(project_id, secret)| lock(&store).authenticate(&project_id, &secret));
    match known {
        Err(error) => error.into_response(),
        // Exactly this: the API refuses `application/json; charset=utf-8`.
        Ok(()) if request.headers().get(CONTENT_TYPE).is_none_or(|it| it != "application/json") => {
            ApiError::BAD_REQUEST.into_response()
        }
        Ok(()) => next.run(request).await,
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let basic = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64.decode(basic.as_bytes()).ok()?).ok()?;
    let (project_id, secret) = pair.split_once(':')?;
    Some((project_id.to_owned(), secret.to_owned()))
}

async fn create_totp(State(store): State<Shared>, body: Bytes) -> Result<Response, ApiError> {
    let body = serde_json::from_slice(&body).map_err(|_| ApiError::BAD_REQUEST)?;
    let request = Create(&body);
    let fault = lock(&store).fault(&request);
    match fault {
        Some(Fault::TooManyRequests) => return Err(ApiError::TOO_MANY_REQUESTS),
        Some(Fault::InternalServerError) => return Err(ApiError::INTERNAL),
        Some(Fault::BadGateway) => {
            return Ok((StatusCode::BAD_GATEWAY, Html(BAD_GATEWAY)).into_response());
        }
        Some(Fault::Slow) => tokio::time::sleep(SLOW).await,
        None => {}
    }
    let answer = lock(&store).create_totp(&request)?;
    Ok(Json(answer).into_response())
}

/// A panic under the lock is a bug already reported; the sandbox goes on with what it has.
fn lock(store: &Shared) -> std::sync::MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}
