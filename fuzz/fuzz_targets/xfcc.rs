//! The `x-forwarded-client-cert` header: no panic, and never an identity without a name.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use totp_facade::access::xfcc;

fuzz_target!(|value: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-client-cert", value.clone());
    if let Ok(Some(identities)) = xfcc::identities(&headers) {
        assert!(!identities.is_empty());
        assert!(identities.iter().all(|it| !matches!(it.as_str(), "" | "dns:")));
    }
    headers.append("x-forwarded-client-cert", value);
    assert!(xfcc::identities(&headers).is_err(), "a doubled header");
});
