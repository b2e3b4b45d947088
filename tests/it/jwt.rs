//! Which JWTs are accepted, and which keys of a JWKS may have signed them.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use totp_facade::access::{Refusal, jwt::Keys};

use crate::support::credentials::{AUDIENCE, ISSUER, Issuing, claims};

/// Parses a JWKS with these entries.
fn set(entries: &[Value]) -> Keys {
    Keys::parse(json!({"keys": entries}).to_string().as_bytes()).unwrap()
}

/// Verifies a token, and returns the identity of its subject.
fn subject(keys: &Keys, token: &str) -> Result<String, Refusal> {
    keys.verify(token, ISSUER, AUDIENCE).map(|verified| verified.identity.to_string())
}

#[track_caller]
fn is(keys: &Keys, token: &str, good: bool, why: &str) {
    let subject = subject(keys, token);
    assert_eq!(subject.is_ok(), good, "{why}: {subject:?}");
}

/// Returns `jwk` with these members changed; null removes one.
fn with(jwk: &Value, changes: &Value) -> Value {
    let mut jwk = jwk.clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(jwk.as_object_mut().unwrap().remove(name)),
            value => jwk[name] = value.clone(),
        }
    }
    jwk
}

#[test]
fn every_accepted_algorithm_verifies_and_no_other_with_the_same_key() {
    const TAKEN: [Algorithm; 9] = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    for algorithm in TAKEN {
        let issuing = Issuing::with(Some("one"), algorithm);
        let jwk = issuing.jwk();
        let token = issuing.sign(&json!({}));

        is(&set(std::slice::from_ref(&jwk)), &token, true, "its algorithm");
        is(&set(&[with(&jwk, &json!({"alg": null}))]), &token, true, "any algorithm of its type");
        for other in TAKEN.iter().filter(|other| **other != algorithm) {
            let keys = set(&[with(&jwk, &json!({"alg": other}))]);
            is(&keys, &token, false, &format!("{algorithm:?} with a key for {other:?}"));
        }
        let symmetric = json!({"kty": "oct", "kid": "one", "alg": "HS256", "k": "AAAA"});
        is(&set(&[symmetric]), &token, false, "a symmetric key");
    }
}

#[test]
fn a_key_verifies_only_what_it_is_for() {
    let issuing = Issuing::new("one");
    let token = issuing.sign(&json!({}));
    for (changes, good) in [
        (json!({}), true),
        (json!({"use": "sig"}), true),
        (json!({"use": "enc"}), false),
        (json!({"use": "SIG"}), false),
        (json!({"use": ""}), false),
        (json!({"use": 1}), false),
        (json!({"key_ops": ["verify"]}), true),
        (json!({"key_ops": ["sign", "verify"]}), true),
        (json!({"key_ops": ["encrypt"]}), false),
        (json!({"key_ops": ["sign"]}), false),
        (json!({"key_ops": []}), false),
        (json!({"key_ops": "verify"}), false),
        (json!({"use": "enc", "key_ops": ["verify"]}), false),
        (json!({"alg": "ES384"}), false),
        (json!({"alg": "RS256"}), false),
        (json!({"alg": "HS256"}), false),
        (json!({"alg": "none"}), false),
        (json!({"alg": "RSA-OAEP"}), false),
        (json!({"alg": ""}), false),
        (json!({"alg": 5}), false),
        (json!({"crv": "P-384"}), false),
        (json!({"crv": "secp256k1"}), false),
        (json!({"kty": "RSA"}), false),
        (json!({"kty": "OKP"}), false),
        (json!({"kty": "ec"}), false),
        (json!({"kty": null}), false),
        (json!({"x": null}), false),
        (json!({"y": "AAAA"}), false),
        (json!({"d": "AAAA", "x5c": 5, "more": {"of": "anything"}}), true),
    ] {
        is(&set(&[with(&issuing.jwk(), &changes)]), &token, good, &changes.to_string());
    }
    for algorithm in [Algorithm::RS256, Algorithm::EdDSA] {
        let issuing = Issuing::with(Some("one"), algorithm);
        let token = issuing.sign(&json!({}));
        for changes in [
            json!({"n": "AQAB"}),
            json!({"n": ""}),
            json!({"e": ""}),
            json!({"kty": "EC", "crv": "P-256"}),
            json!({"crv": "Ed448", "kty": "OKP"}),
            json!({"x": "AQAB", "kty": "OKP", "crv": "Ed25519"}),
        ] {
            let changed = with(&issuing.jwk(), &changes);
            if algorithm == Algorithm::EdDSA && changes.get("kty").is_none() {
                is(&set(&[changed]), &token, true, "members of another type");
            } else {
                is(&set(&[changed]), &token, false, &changes.to_string());
            }
        }
    }
}

#[test]
fn a_malformed_jwks_entry_affects_no_other() {
    let issuing = Issuing::new("one");
    let (good, token) = (issuing.jwk().to_string(), issuing.sign(&json!({})));
    let odd_kid = with(&issuing.jwk(), &json!({"kid": 5})).to_string();
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let deep_in_it = format!("{{\"kty\":\"EC\",\"x\":{deep}}}");
    for odd in [
        "null",
        "5",
        "1e400",
        "\"EC\"",
        "[]",
        "{}",
        "true",
        &odd_kid,
        r#"{"kty":null}"#,
        r#"{"kty":"EC","kid":"one","x5c":"AAAA"}"#,
        r#"{"kty":"EC","kid":"one","crv":"P-256","x":"!","y":"?"}"#,
        r#"{"kty":"RSA","kid":"one","n":5,"e":"AQAB"}"#,
        r#"{"kty":"EC","kty":"RSA","kid":"one"}"#,
        r#"{"kty":"\ud800","kid":"one"}"#,
        r#"{"kty":"EC","exp":1e999}"#,
        &deep,
        &deep_in_it,
    ] {
        for set in [format!("{odd},{good}"), format!("{good},{odd}"), format!("{odd},{good},{odd}")]
        {
            let keys = Keys::parse(format!("{{\"keys\":[{set}]}}").as_bytes()).expect(odd);

            is(&keys, &token, true, odd);
        }
    }
    let string_chain = with(&issuing.jwk(), &json!({"x5c": "AAAA", "x5u": 7, "x5t": null}));
    is(&set(&[string_chain]), &token, true, "other members may have any value");
    let mut bytes = format!("{{\"keys\":[{{\"kty\":\"?\"}},{good}],\"more\":1}}").into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    is(&Keys::parse(&bytes).unwrap(), &token, true, "not UTF-8");
    let marked = format!("\u{feff}{{\r\n\"keys\": [{good}]\r\n}}");
    is(&Keys::parse(marked.as_bytes()).unwrap(), &token, true, "a byte order mark");
}

#[test]
fn a_malformed_jwks_is_refused_and_an_empty_one_admits_nobody() {
    for text in [
        "",
        " ",
        "null",
        "[]",
        "{}",
        "5",
        r#"{"keys":null}"#,
        r#"{"keys":{}}"#,
        r#"{"keys":[}"#,
        r#"{"keys":[]"#,
        r#"{"keys":[]} more"#,
        r#"{"Keys":[]}"#,
        "<html>",
    ] {
        assert!(Keys::parse(text.as_bytes()).is_err(), "{text}");
    }
    let token = Issuing::new("one").sign(&json!({}));
    for entries in [&[][..], &[Value::Null], &[json!({"kty": "oct", "k": "AAAA"})]] {
        is(&set(entries), &token, false, "no usable key");
    }
}

#[test]
fn two_keys_of_one_id_do_not_hide_each_other() {
    let [one, two, three, four, five] = [(); 5].map(|()| Issuing::new("one"));
    let rsa = Issuing::with(Some("one"), Algorithm::RS256);
    let ps = with(&rsa.jwk(), &json!({"alg": "PS256"}));
    let by_algorithm = set(&[one.jwk(), rsa.jwk(), ps.clone()]);
    is(&by_algorithm, &one.sign(&json!({})), true, "a rotation to another algorithm");
    is(&by_algorithm, &rsa.sign(&json!({})), true, "a rotation to another algorithm");

    let twice = set(&[one.jwk(), one.jwk(), with(&one.jwk(), &json!({"use": "sig"}))]);
    is(&twice, &one.sign(&json!({})), true, "the same key again");
    let same = set(&[one.jwk(), two.jwk()]);
    is(&same, &one.sign(&json!({})), true, "the first of an id");
    is(&same, &two.sign(&json!({})), true, "the second of an id");
    is(&same, &three.sign(&json!({})), false, "no key of that id");

    let four_of_one = set(&[&one, &two, &three, &four].map(Issuing::jwk));
    is(&four_of_one, &four.sign(&json!({})), true, "the last key that is tried");
    let five_of_one = set(&[&one, &two, &three, &four, &five].map(Issuing::jwk));
    for issuing in [&one, &five] {
        let refusal = subject(&five_of_one, &issuing.sign(&json!({}))).unwrap_err();
        assert_eq!(refusal, Refusal::Unknown("several keys could be the JWT's"));
    }
    let many = [set(&[one.jwk(); 1]), set(&vec![one.jwk(); 200])];
    for keys in many {
        is(&keys, &one.sign(&json!({})), true, "duplicates count as one key");
    }
}

#[test]
fn a_key_or_token_without_a_kid_is_accepted_if_only_one_key_fits() {
    let named = Issuing::new("one");
    let (unnamed, other) =
        (Issuing::with(None, Algorithm::ES256), Issuing::with(None, Algorithm::ES256));
    let rsa = Issuing::with(None, Algorithm::RS256);
    let by = |issuing: &Issuing, id: Value| issuing.sign_with(&json!({"kid": id}));

    let one = set(&[unnamed.jwk()]);
    is(&one, &unnamed.sign(&json!({})), true, "the only key, and no id");
    is(&one, &by(&unnamed, json!("any")), true, "an id, and the only key has none");
    is(&one, &by(&unnamed, Value::Null), true, "null is no id");
    is(&one, &by(&unnamed, json!(5)), false, "an id that is not a text");
    is(&one, &other.sign(&json!({})), false, "another key");

    let by_type = set(&[unnamed.jwk(), rsa.jwk()]);
    is(&by_type, &unnamed.sign(&json!({})), true, "the only key for its algorithm");
    is(&by_type, &rsa.sign(&json!({})), true, "the only key for its algorithm");
    is(&by_type, &by(&rsa, json!("any")), true, "the only key for its algorithm");

    let two = set(&[unnamed.jwk(), other.jwk()]);
    for issuing in [&unnamed, &other] {
        is(&two, &issuing.sign(&json!({})), false, "one of two");
        is(&two, &by(issuing, json!("any")), false, "one of two");
    }
    let mixed = set(&[named.jwk(), unnamed.jwk()]);
    is(&mixed, &named.sign(&json!({})), true, "by its id");
    is(&mixed, &by(&named, Value::Null), false, "the key without an id fits too");
    is(
        &mixed,
        &by(&unnamed, json!("two")),
        true,
        "an id that no key has selects the key without one",
    );
    is(&mixed, &by(&unnamed, json!("one")), false, "the id of another");
    is(&set(&[named.jwk()]), &by(&named, Value::Null), true, "the only key has an id");
    is(&set(&[named.jwk()]), &by(&named, json!("two")), false, "the only key has another id");
}

#[test]
fn a_critical_extension_is_refused_in_any_form() {
    let issuing = Issuing::new("one");
    let keys = set(&[issuing.jwk()]);
    is(
        &keys,
        &issuing.sign_with(&json!({"b64": true, "x": [1]})),
        true,
        "extensions that are not critical",
    );

    for crit in [
        json!(["exp"]),
        json!(["b64"]),
        json!(["alg"]),
        json!([]),
        json!([5]),
        json!("exp"),
        json!(""),
        json!(5),
        json!(false),
        json!({}),
        Value::Null,
    ] {
        let token = issuing.sign_with(&json!({"crit": crit, "exp": 9_999_999_999_u64}));
        is(&keys, &token, false, &crit.to_string());
    }
    for header in [
        r#"{"alg":"ES256","kid":"one","crit":null,"crit":["exp"]}"#,
        r#"{"alg":"ES256","alg":"ES256","kid":"one"}"#,
        r#"{"alg":"ES256","kid":"one","kid":"one"}"#,
        r#"{"kid":"one"}"#,
        r#"{"alg":"es256","kid":"one"}"#,
        r#"["ES256"]"#,
        "",
    ] {
        is(&keys, &issuing.sign_text(header, &claims().to_string()), false, header);
    }
}

#[test]
fn a_jwt_of_another_type_is_no_credential() {
    let issuing = Issuing::new("one");
    let keys = set(&[issuing.jwk()]);
    for (typ, good) in [
        (json!("JWT"), true),
        (json!("jwt"), true),
        (json!("JOSE"), true),
        (json!("at+jwt"), true),
        (json!("application/at+JWT"), true),
        (Value::Null, true),
        (json!("logout+jwt"), false),
        (json!("dpop+jwt"), false),
        (json!("secevent+jwt"), false),
        (json!(""), false),
        (json!(5), false),
        (json!(["JWT"]), false),
    ] {
        is(&keys, &issuing.sign_with(&json!({"typ": typ})), good, &typ.to_string());
    }
}

#[test]
fn an_empty_or_unprintable_subject_names_nobody() {
    let issuing = Issuing::new("one");
    let keys = set(&[issuing.jwk()]);
    let longest = "x".repeat(2044);
    for sub in ["x", "system:serviceaccount:web:login", "auth0|5", "CN=a b", &longest] {
        let found = subject(&keys, &issuing.sign(&json!({"sub": sub})));
        assert_eq!(found, Ok(format!("jwt:{sub}")));
    }
    let too_long = "x".repeat(2045);
    for sub in [
        json!(""),
        json!(" "),
        json!(" x"),
        json!("x\n"),
        json!("x\u{0}y"),
        json!("x\u{1b}[2J"),
        json!("x\u{202e}y"),
        json!("\u{200b}"),
        json!("l\u{f6}gin"),
        json!(too_long),
        json!(5),
        json!(["x"]),
        json!({}),
        Value::Null,
    ] {
        is(&keys, &issuing.sign(&json!({"sub": sub})), false, &sub.to_string());
    }
}

#[test]
fn the_claims_of_a_jwt_are_what_they_must_be() {
    let issuing = Issuing::new("one");
    let keys = set(&[issuing.jwk()]);
    let exp = claims()["exp"].as_u64().unwrap();
    let now = exp - 600;
    for (changes, good) in [
        // Expiry.
        (json!({"exp": exp}), true),
        (json!({"exp": 9.9e9}), true),
        (json!({"exp": u64::MAX}), true),
        (json!({"exp": now - 10}), true),
        (json!({"exp": now - 60}), false),
        (json!({"exp": 0}), false),
        (json!({"exp": -1}), false),
        (json!({"exp": -1.0}), false),
        (json!({"exp": 1e300}), false),
        (json!({"exp": "9999999999"}), false),
        (json!({"exp": "NaN"}), false),
        (json!({"exp": true}), false),
        (json!({"exp": [exp]}), false),
        // Start of validity.
        (json!({"nbf": null}), true),
        (json!({"nbf": now + 10}), true),
        (json!({"nbf": now + 60}), false),
        (json!({"nbf": 0}), true),
        (json!({"nbf": -1}), false),
        (json!({"nbf": "0"}), false),
        (json!({"nbf": 1e300}), false),
        // Time of issue, which is ignored.
        (json!({"iat": now + 3600}), true),
        (json!({"iat": null}), true),
        // Audience.
        (json!({"aud": AUDIENCE}), true),
        (json!({"aud": [AUDIENCE]}), true),
        (json!({"aud": []}), false),
        (json!({"aud": ["others"]}), false),
        (json!({"aud": [AUDIENCE, 5]}), false),
        (json!({"aud": [[AUDIENCE]]}), false),
        (json!({"aud": {AUDIENCE: true}}), false),
        (json!({"aud": format!("{AUDIENCE} others")}), false),
        // Issuer.
        (json!({"iss": [ISSUER]}), false),
        (json!({"iss": [ISSUER, "https://else"]}), false),
        (json!({"iss": format!("{ISSUER}/")}), false),
        (json!({"iss": 5}), false),
    ] {
        is(&keys, &issuing.sign(&changes), good, &changes.to_string());
    }
    let text = claims().to_string();
    let header = issuing.header().to_string();
    let replaced = |from: &str, to: &str| issuing.sign_text(&header, &text.replace(from, to));
    is(&keys, &replaced("}", "}"), true, "unchanged");
    is(&keys, &replaced("\"exp\":", "\"exp\":1e400,\"x\":"), false, "an expiry beyond all numbers");
    is(&keys, &replaced("\"exp\":", "\"exp\":NaN,\"x\":"), false, "an expiry that is not JSON");
    is(&keys, &replaced("\"exp\":", "\"exp\":0,\"exp\":"), false, "two expiries");
    is(&keys, &replaced("\"sub\":", "\"sub\":\"x\",\"sub\":"), false, "two subjects");
    is(&keys, &replaced("}", "}}"), false, "more than an object");
    is(&keys, &replaced("{", "[{"), false, "no object");
}

#[test]
fn an_invalid_token_is_refused() {
    let issuing = Issuing::new("one");
    let (keys, token) = (set(&[issuing.jwk()]), issuing.sign(&json!({})));
    let [header, claims, signature]: [&str; 3] =
        token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let none = BASE64URL_NOPAD.encode(br#"{"alg":"none","kid":"one"}"#);
    for (bad, why) in [
        (String::new(), "nothing"),
        (".".into(), "one dot"),
        ("..".into(), "two dots"),
        (format!("{header}.{claims}"), "no signature"),
        (format!("{header}.{claims}."), "an empty one"),
        (format!("{none}.{claims}."), "unsigned"),
        (format!("{none}.{claims}.{signature}"), "unsigned by its header"),
        (format!("{token}."), "four parts"),
        (format!("{token}="), "padding"),
        (format!("{token} "), "a blank"),
        (format!("x{token}"), "another header"),
        (format!("{header}.{header}.{signature}"), "other claims"),
    ] {
        is(&keys, &bad, false, why);
    }
}

#[test]
fn a_token_and_a_jwks_have_a_size_beyond_which_they_are_not_read() {
    let issuing = Issuing::new("one");
    let keys = set(&[issuing.jwk()]);
    let padded = |length: usize| issuing.sign(&json!({"groups": "x".repeat(length)}));
    let just = padded(8 * 1024);
    assert!(just.len() < 12 * 1024);
    is(&keys, &just, true, "a large token");
    let refusal = subject(&keys, &padded(9 * 1024)).unwrap_err();
    assert_eq!(refusal, Refusal::Unknown("the token is too large"));

    let entries = |count| json!({"keys": vec![issuing.jwk(); count]}).to_string();
    assert!(Keys::parse(entries(256).as_bytes()).is_ok());
    assert!(Keys::parse(entries(257).as_bytes()).is_err(), "too many keys");
    let blown = json!({"keys": [issuing.jwk()], "more": "x".repeat(256 * 1024)}).to_string();
    assert!(Keys::parse(blown.as_bytes()).is_err(), "too many bytes");
}
