//! A request of any RPC, from its protobuf to the JSON for Stytch: no panic, and a valid request
//! survives the round trip through JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use totp_facade::{
    idempotency::Fingerprint,
    proto::{
        StytchRequest,
        stytch::b2b::{recovery_codes::v1 as codes, totp::v1 as totp},
    },
    service::{Validate, Violations},
    stytch::{Endpoint, endpoint},
    translate::{FromJson, translate_exactly},
};

fn read<Req, Res>(bytes: &[u8], endpoint: &Endpoint<Req, Res>)
where
    Req: prost::Message
        + Default
        + PartialEq
        + Validate
        + StytchRequest
        + serde::Serialize
        + FromJson
        + std::fmt::Debug,
{
    let Ok(request) = Req::decode(bytes) else { return };
    let _ = format!("{request:?}");
    if Violations::of(&request, endpoint).into_result().is_err() {
        return;
    }
    let json = serde_json::to_vec(&request).expect("a message has a JSON form");
    let again = translate_exactly::<Req>(&json).expect("its own JSON can be read");
    let again = Req::decode(again.into_bytes()).expect("a message");
    let encoded = Req::decode(again.encode_to_vec().as_slice()).expect("its own encoding too");
    assert_eq!(Fingerprint::of(&encoded).as_ref(), Fingerprint::of(&again).as_ref());
}

fuzz_target!(|bytes: &[u8]| {
    read::<totp::CreateRequest, _>(bytes, &endpoint::TOTP_CREATE);
    read::<totp::AuthenticateRequest, _>(bytes, &endpoint::TOTP_AUTHENTICATE);
    read::<totp::MigrateRequest, _>(bytes, &endpoint::TOTP_MIGRATE);
    read::<totp::DeleteRequest, _>(bytes, &endpoint::TOTP_DELETE);
    read::<codes::GetRequest, _>(bytes, &endpoint::RECOVERY_CODES_GET);
    read::<codes::RotateRequest, _>(bytes, &endpoint::RECOVERY_CODES_ROTATE);
    read::<codes::RecoverRequest, _>(bytes, &endpoint::RECOVERY_CODES_RECOVER);
});
