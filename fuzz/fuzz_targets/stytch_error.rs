//! The body of a failed response: no panic, and a gRPC status that clients can receive.
#![no_main]

use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;
use tonic::Status;
use totp_facade::{
    proto::{StytchRequest as _, stytch::b2b::totp::v1::CreateRequest},
    status::{Failure, MAX_TRAILERS},
    stytch::{Effect, Error, Mask},
};

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    let Ok(status) = StatusCode::from_u16(300 + status % 300) else { return };
    let request = CreateRequest { session_token: Some("token".into()), ..Default::default() };
    let mask = || Mask::new(request.secrets());
    let error = Error::from_response(status, &HeaderMap::new(), Ok(body), mask);
    for effect in [Effect::Mutates, Effect::Reads] {
        let failure = Failure::upstream(&error, effect, &request);
        let _ = (failure.facts(), failure.is_remembered());
        let status = Status::from(failure);
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).expect("a status can be sent");
        let weight: usize =
            trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(weight <= MAX_TRAILERS, "{weight} bytes");
    }
});
