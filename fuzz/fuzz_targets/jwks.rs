//! A JWKS, a token to verify with it, and an arbitrary entry next to a valid key: no panic, no
//! forged token is accepted, and the valid key keeps working.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use totp_facade::access::jwt::Keys;

/// A key whose private half was discarded, and the only token that it signed, which expires in the
/// year 3000.
const KEY: &str = concat!(
    r#"{"kty":"EC","crv":"P-256","kid":"one","alg":"ES256","#,
    r#""x":"XVH2-YWT4Iie66qb1iCdJu3QowI74AGJelSgsI4IWzw","#,
    r#""y":"aMYsRImNGfszNzW4nGh_-grSdrsM2HhR6Zy0AdsqQ_8"}"#,
);
const HEADER: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6Im9uZSJ9";
const CLAIMS: &str = concat!(
    "eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoidG90cC1mYWNhZGUiLC",
    "JzdWIiOiJsb2dpbiIsImV4cCI6MzI1MDM2ODAwMDB9",
);
const SIGNATURE: &str = concat!(
    "Ugh4MztoeuwCV_jGqa7DV3Dclx1N6ZXp3asm76RnTpk",
    "m5PZWegNHfq-WyAJMmA_46h268cviEPjqsCtRs__VfQ",
);

fuzz_target!(|input: (&[u8], &str, &str)| {
    let (set, entry, token) = input;
    let verify = |keys: &Keys, token: &str| {
        keys.verify(token, "https://issuer.example", "totp-facade")
            .map(|it| it.identity.to_string())
    };
    let signed = format!("{HEADER}.{CLAIMS}.");

    if let Ok(keys) = Keys::parse(set) {
        let found = verify(&keys, token);
        assert!(found.is_err() || token.starts_with(&signed), "{found:?} for {token}");
        let _ = format!("{keys:?}");
    }
    // Whatever entry is next to it, the key verifies the token that it signed.
    if serde_json::from_str::<IgnoredAny>(entry).is_ok() {
        for entries in [format!("{entry},{KEY}"), format!("{KEY},{entry}")] {
            let set = format!("{{\"keys\":[{entries}]}}");
            let keys = Keys::parse(set.as_bytes()).expect("each entry is read by itself");
            assert_eq!(verify(&keys, &format!("{signed}{SIGNATURE}")), Ok("jwt:login".into()));
        }
    }
});
