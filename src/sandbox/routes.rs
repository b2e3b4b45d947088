//! The routes of Stytch's API, and what they have in common: credentials, content type, the fields
//! of a request, and faults.

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
    authentication,
    error::ApiError,
    fields::Fields,
    jwt, mint,
    object::Object,
    recovery_codes,
    store::{Shared, Store},
    totp,
};

/// The headers that carry a session, and the request fields that they stand for.
const SESSION_HEADERS: [(&str, &str); 2] =
    [("x-stytch-member-session", "session_token"), ("x-stytch-member-sessionjwt", "session_jwt")];

/// The routes of the API.
pub(super) fn router(shared: &Shared) -> Router<Shared> {
    let api = Router::new()
        .route("/v1/b2b/totp", on(MethodFilter::POST, totp::create))
        .route("/v1/b2b/totp/authenticate", on(MethodFilter::POST, totp::authenticate))
        .route("/v1/b2b/totp/migrate", on(MethodFilter::POST, totp::migrate))
        .route(
            "/v1/b2b/organizations/{organization_id}/members/{member_id}/totp",
            on(MethodFilter::DELETE, totp::delete),
        )
        .route(
            "/v1/b2b/recovery_codes/{organization_id}/{member_id}",
            on(MethodFilter::GET, recovery_codes::get),
        )
        .route("/v1/b2b/recovery_codes/rotate", on(MethodFilter::POST, recovery_codes::rotate))
        .route("/v1/b2b/recovery_codes/recover", on(MethodFilter::POST, recovery_codes::recover))
        .route(
            "/v1/b2b/sessions/authenticate",
            on(MethodFilter::POST, authentication::authenticate_session),
        )
        .fallback(async || ApiError::ROUTE_NOT_FOUND)
        .method_not_allowed_fallback(async || ApiError::ROUTE_NOT_FOUND)
        .layer(from_fn_with_state(shared.clone(), check_request));
    // SDKs fetch the JWKS without credentials.
    let open = Router::new()
        .route("/v1/b2b/sessions/jwks/{project_id}", routing::get(async || Json(jwt::jwks())));
    api.merge(open)
}

/// Checks the credentials and the content type of a request.
async fn check_request(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let authenticated = credentials(request.headers())
        .ok_or(ApiError::UNAUTHORIZED)
        .and_then(|(project_id, secret)| shared.lock().authenticate(&project_id, &secret));
    let content_type = request.headers().get(CONTENT_TYPE);
    match authenticated {
        Err(error) => error.into_response(),
        // Stytch accepts exactly `application/json`, without a charset. A GET or DELETE needs none.
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

/// Routes `method` to an operation.
fn on(method: MethodFilter, operation: Operation) -> MethodRouter<Shared> {
    routing::on(
        method,
        async move |State(shared): State<Shared>, path: MatchedPath, ids, headers, body: Bytes| {
            match fields(ids, &headers, &body) {
                Err(error) => error.into_response(),
                Ok(fields) => respond(&shared, operation, path.as_str(), &fields).await,
            }
        },
    )
}

/// Executes an operation, with the fault that affects it, if any.
async fn respond(shared: &Shared, operation: Operation, path: &str, fields: &Fields) -> Response {
    let execute = || {
        let body = operation(&mut shared.lock(), fields);
        body.and_then(finish).map(Json).into_response()
    };
    let fault = shared.lock().fault_for(path, fields);
    let Some(fault) = fault else { return execute() };
    tokio::time::sleep(fault.latency()).await;
    let response = fault.executes().then(execute);
    fault.apply(response).await
}

/// Returns the fields of a request: those of its path and headers if the path has parameters, else
/// those of its body.
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

/// Completes a response's body: draws the QR code and signs the JWT. Both take long, so the store
/// is not locked meanwhile.
fn finish(mut body: Value) -> Result<Value, ApiError> {
    if let Some(uri) = body.get("qr_code").and_then(Value::as_str) {
        body["qr_code"] = mint::qr_code(uri).ok_or(ApiError::INTERNAL)?.into();
    }
    if let Some(Value::Object(claims)) = body.get("session_jwt") {
        body["session_jwt"] = jwt::sign(claims).map_err(|_| ApiError::INTERNAL)?.into();
    }
    Ok(body)
}
