//! The `authorization` header against a token file; also a JWKS: no panic, and no token is found by
//! its hash.
#![no_main]

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;
use totp_facade::access::{Tokens, bearer, jwt::Keys};

fuzz_target!(|input: (&[u8], &str)| {
    let (header, file) = input;
    let _ = Keys::parse(file.as_bytes());
    let tokens = Tokens::parse(file);
    let Ok(value) = HeaderValue::from_bytes(header) else { return };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    if let (Ok(Some(token)), Ok(tokens)) = (bearer(&headers), tokens) {
        assert_eq!(tokens.bearer_of(token), None, "a token is not found by its hash");
    }
});
