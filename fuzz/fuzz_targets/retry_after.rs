//! The `Retry-After` header: no panic, and never a wait above a minute.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
use libfuzzer_sys::fuzz_target;
use totp_facade::stytch::{Error, Mask};

fuzz_target!(|value: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
    let body = br#"{"error_type": "too_many_requests"}"#;
    let error =
        Error::from_response(StatusCode::TOO_MANY_REQUESTS, &headers, Ok(body), || Mask::new([]));
    let wait = error.api().and_then(|api| api.retry_after);
    assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(60)));
});
