//! The `authorization` header against a token file; also a JWKS: no panic, and no token is found by
//! its hash.
#![no_main]

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;
use totp_facade::access::{Tokens, bearer_token, jwt::Keys};

fuzz_target!(|input: (&[u8], &str)| {
    let (header, file) = input;
    let _ = Keys::parse(file.as_bytes());
    let tokens = Tokens::parse(file);
    let Ok(value) = HeaderValue::from_bytes(header) else { return };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    if let (Ok(Some(token)), Ok(tokens)) = (bearer_token(&headers), tokens) {
        assert_eq!(tokens.identities(token), None, "nobody finds a token by its hash");
    }
});
