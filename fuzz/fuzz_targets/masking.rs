//! Secrets, and a text or an object that may contain them: the masked output is bounded and
//! contains no secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use totp_facade::stytch::{MAX_TEXT, Mask};

fn assert_clean(text: &str, secrets: &[&str]) {
    let text = text.to_ascii_lowercase();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        assert!(!text.contains(&secret.to_ascii_lowercase()), "{secret:?} in {text:?}");
    }
}

fn assert_object_is_clean(object: &Map<String, Value>, secrets: &[&str]) {
    for (name, value) in object {
        assert_clean(name, secrets);
        assert_value_is_clean(value, secrets);
    }
}

fn assert_value_is_clean(value: &Value, secrets: &[&str]) {
    match value {
        Value::String(text) => assert_clean(text, secrets),
        Value::Array(values) => values.iter().for_each(|it| assert_value_is_clean(it, secrets)),
        Value::Object(object) => assert_object_is_clean(object, secrets),
        Value::Number(number) => assert_clean(&number.to_string(), secrets),
        // `null`, `true` and `false` stay, even if a secret is spelled like them.
        Value::Null | Value::Bool(_) => {}
    }
}

fuzz_target!(|input: (Vec<&str>, &str)| {
    let (secrets, text) = input;
    let mask = Mask::new(secrets.iter().copied());

    let masked = mask.text(text);
    assert!(masked.len() <= MAX_TEXT.min(4 * text.len()), "{} of {}", masked.len(), text.len());
    assert_clean(&masked, &secrets);

    let _ = mask.hides_name(text);
    let read: Option<Map<String, Value>> = serde_json::from_str(text).ok();
    let object = read.unwrap_or_else(|| Map::from_iter([("key".into(), text.into())]));
    if let Some(masked) = mask.object(&object) {
        assert_object_is_clean(&masked, &secrets);
    }
});
