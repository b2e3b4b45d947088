//! Secrets, and a text or an object that may contain them: the masked output is bounded and
//! contains no secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use prost_types::{Struct, Value, value::Kind};
use totp_facade::{
    proto::Depth,
    stytch::{MAX_TEXT, Mask},
    translate::{Field, FromJson, Label, Table, translate},
};

fn assert_clean(text: &str, secrets: &[&str]) {
    let text = text.to_ascii_lowercase();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        assert!(!text.contains(&secret.to_ascii_lowercase()), "{secret:?} in {text:?}");
    }
}

fn assert_object_is_clean(object: &Struct, secrets: &[&str]) {
    for (name, value) in &object.fields {
        assert_clean(name, secrets);
        assert_value_is_clean(value, secrets);
    }
}

fn assert_value_is_clean(value: &Value, secrets: &[&str]) {
    match value.kind.as_ref().expect("a kind") {
        Kind::StringValue(text) => assert_clean(text, secrets),
        Kind::ListValue(list) => {
            list.values.iter().for_each(|it| assert_value_is_clean(it, secrets))
        }
        Kind::StructValue(object) => assert_object_is_clean(object, secrets),
        Kind::NumberValue(number) => assert_clean(&number.to_string(), secrets),
        // `null`, `true` and `false` stay, even if a secret is spelled like them.
        Kind::NullValue(_) | Kind::BoolValue(_) => {}
    }
}

/// A table of one free-form object, which reads as the object itself.
struct Object;

impl FromJson for Object {
    const TABLE: &'static Table = &Table::new(&[Field {
        name: "object",
        member: "\"object\":",
        number: 1,
        kind: totp_facade::translate::Kind::Object(Depth::TOP),
        label: Label::Optional,
    }]);
}

/// Reads `text` as an object; one that holds the text if it is none.
fn object(text: &str) -> Struct {
    let read = translate::<Object>(format!("{{\"object\":{text}}}").as_bytes(), |_| ()).ok();
    let fields: Option<Holder> = read.and_then(|it| Holder::decode(it.into_bytes()).ok());
    fields.and_then(|it| it.object).unwrap_or_else(|| Struct {
        fields: [("key".to_owned(), Value { kind: Some(Kind::StringValue(text.to_owned())) })]
            .into(),
    })
}

#[derive(Clone, PartialEq, prost::Message)]
struct Holder {
    #[prost(message, optional, tag = "1")]
    object: Option<Struct>,
}

fuzz_target!(|input: (Vec<&str>, &str)| {
    let (secrets, text) = input;
    let mask = Mask::new(secrets.iter().copied());

    let masked = mask.text(text);
    assert!(masked.len() <= MAX_TEXT.min(4 * text.len()), "{} of {}", masked.len(), text.len());
    assert_clean(&masked, &secrets);

    let _ = mask.hides_name(text);
    if let Some(masked) = mask.object(&object(text)) {
        assert_object_is_clean(&masked, &secrets);
    }
});
