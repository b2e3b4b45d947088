//! The body of a successful response, from Stytch or an impostor: no panic, and the decoded message
//! survives its own encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use totp_facade::{
    proto::{
        StytchResponse,
        stytch::b2b::{recovery_codes::v1 as codes, totp::v1 as totp},
    },
    stytch::decode,
};

fn read<Res>(body: &[u8])
where
    Res: prost::Message
        + Default
        + serde::Serialize
        + serde::de::DeserializeOwned
        + StytchResponse
        + std::fmt::Debug,
{
    let Ok(answer) = decode::<Res>(body, |_| ()) else { return };
    let _ = format!("{answer:?}");
    let wire = answer.encode_to_vec();
    let again = Res::decode(wire.as_slice()).expect("its own encoding can be read");
    serde_json::to_vec(&again).expect("a message has a JSON form");
}

fuzz_target!(|body: &[u8]| {
    read::<totp::CreateResponse>(body);
    read::<totp::AuthenticateResponse>(body);
    read::<codes::RecoverResponse>(body);
});
