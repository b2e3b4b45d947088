//! The translation of Stytch's JSON to protobuf, compared with an independent model
//! (`support/oracle.rs`).

use std::{fs, path::Path, sync::LazyLock};

use proptest::prelude::*;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::support::oracle::{RESPONSES, Response, check, descriptor};

const CREATE: Response = RESPONSES[0];

/// The bodies in the fixtures: of successes and, to be on the safe side, of errors too.
static FIXTURES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/stytch");
    let mut bodies: Vec<_> = fs::read_dir(folder)
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.display().to_string(), fs::read(path).expect("a fixture")))
        .collect();
    bodies.sort();
    bodies
});

/// Short bodies with something of everything.
const SMALL: [&str; 9] = [
    r#"{"secret":"S","status_code":200,"recovery_codes":["a",null,"b"]}"#,
    r#"{"member":{"is_admin":true,"created_at":"2025-01-01T00:00:00Z"},"secret":"S"}"#,
    r#"{"secret":"A","s\u0065cret":"S","x":[{"y":[null,-1e3]},"z"]}"#,
    r#"{"member":{"trusted_metadata":{"a":[1,{}],"a":2.5e-3}},"secret":"S"}"#,
    r#"{ "secret" : "\ud83d\ude00é\n" , "member" : null , "qr_code" : "" }"#,
    r#"{"organization":{"custom_roles":[{"role_id":"r","permissions":[{"actions":["a"]}]}]}}"#,
    "\u{feff} {\"request_id\":\"\\\"\\\\\",\"member\":{\"roles\":[]}}\n",
    r#"{"member":{"trusted_metadata":{"\u0000":null,"":false,"é":"\/\b"}}}"#,
    r#"{}"#,
];

/// The bytes with which mutants are made: those that mean something in JSON, and some that never
/// stand there.
const BYTES: &[u8] = b"{}[],:\"\\ \nnu0-.e1\x00\x0c\x7f\x80\xc3\xff";

/// Calls `test` with each body that differs from `body` in one byte, or lacks or has one more.
fn for_each_mutant(body: &[u8], step: usize, mut test: impl FnMut(&[u8])) {
    for at in (0..body.len()).step_by(step) {
        let mut mutant = body.to_vec();
        let was = mutant.remove(at);
        test(&mutant);
        mutant.insert(at, was);
        for byte in BYTES {
            mutant[at] = *byte;
            test(&mutant);
        }
        mutant[at] = was;
        for byte in BYTES {
            mutant.insert(at, *byte);
            test(&mutant);
            mutant.remove(at);
        }
    }
}

#[test]
fn every_example_is_translated_as_the_model_says_for_every_type_of_response() {
    let mut silent = 0;
    for (name, body) in FIXTURES.iter() {
        for response in RESPONSES {
            let translated = check(response, body);
            let is_json = serde_json::from_slice::<serde_json::Value>(body).is_ok();
            assert_eq!(translated.is_ok(), is_json, "{name}");
            silent += usize::from(translated.is_ok_and(|(_, reports)| reports.is_empty()));
        }
    }
    assert!(silent > 100, "{silent} without a report");
}

#[test]
fn a_body_with_one_odd_byte_is_translated_as_the_model_says() {
    for body in SMALL {
        let (bytes, _) = check(CREATE, body.as_bytes()).expect("readable");
        assert_eq!(bytes.is_empty(), body == "{}", "{body}");
        for_each_mutant(body.as_bytes(), 1, |mutant| drop(check(CREATE, mutant)));
    }
}

#[test]
fn a_long_body_with_one_odd_byte_is_translated_as_the_model_says() {
    for (index, (name, body)) in FIXTURES.iter().enumerate() {
        let types = RESPONSES.iter().filter(|_| name.contains(".response."));
        for (offset, response) in types.enumerate() {
            // A different part of the bytes for each type and body.
            let skipped = (index + 31 * offset) % 200;
            let head = &body[..skipped.min(body.len())];
            for_each_mutant(&body[head.len()..], 997, |mutant| {
                drop(check(*response, &[head, mutant].concat()));
            });
        }
    }
}

#[test]
fn a_body_cut_off_anywhere_is_unreadable() {
    for body in SMALL.map(str::trim_end).map(str::as_bytes) {
        for end in 0..body.len() {
            assert!(check(CREATE, &body[..end]).is_err(), "{end} bytes");
        }
    }
    for (name, body) in FIXTURES.iter().filter(|(name, _)| name.contains("create.response")) {
        let whole = body.trim_ascii_end().len();
        for end in (0..whole).step_by(7) {
            assert!(check(CREATE, &body[..end]).is_err(), "{name}: {end} bytes");
        }
    }
}

/// Writes bodies for a message, as a sequence of numbers decides.
struct Writer<'a> {
    choices: std::slice::Iter<'a, u16>,
    text: String,
}

impl Writer<'_> {
    /// Returns a number below `limit`; 0 when the choices are used up.
    fn choose(&mut self, limit: usize) -> usize {
        usize::from(self.choices.next().copied().unwrap_or_default()) % limit
    }

    fn one_of(&mut self, texts: &[&str]) {
        let text = texts[self.choose(texts.len())];
        self.text += text;
    }

    fn blank(&mut self) {
        self.one_of(&["", "", "", " ", "\n\t", "\r "]);
    }

    fn string(&mut self) {
        self.one_of(&[
            r#""""#,
            r#""plain""#,
            r#""a text longer than a few machine words, é and 漢字 and 😀, to its end""#,
            r#""\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t""#,
            r#""ends with a backslash\\""#,
            "\"\u{7f}\u{85}\u{feff}\"",
            r#""\ud800""#,
            r#""\u0000""#,
            "\"raw\tcontrol\"",
        ]);
    }

    fn number(&mut self) {
        self.one_of(&[
            "0",
            "-0",
            "1",
            "-1",
            "200",
            "2147483647",
            "2147483648",
            "-2147483648",
            "-2147483649",
            "9007199254740993",
            "18446744073709551616",
            "-9223372036854775809",
            "1.0",
            "0.1",
            "1e2",
            "1E-400",
            "1e400",
            "5e-324",
            "1.7976931348623157e308",
            "01",
            "1.",
            "-",
        ]);
    }

    fn time(&mut self) {
        self.one_of(&[
            r#""2025-11-03T09:14:27Z""#,
            r#""2025-11-03T09:14:27.123456789+02:00""#,
            r#""1969-12-31T23:59:59.5Z""#,
            r#""0001-01-01T00:00:00Z""#,
            r#""9999-12-31T23:59:59.999999999Z""#,
            r#""2024-02-29t00:00:00z""#,
            r#""2023-02-29T00:00:00Z""#,
            r#""2025-11-03 09:14:27Z""#,
            r#""2025-11-03""#,
            r#""soon""#,
            r#""""#,
        ]);
    }

    /// Writes a value of any kind.
    fn any(&mut self, levels: usize) {
        match self.choose(if levels == 0 { 4 } else { 8 }) {
            0 => self.string(),
            1 => self.number(),
            2 => self.one_of(&["true", "false", "null"]),
            3 => self.one_of(&["{}", "[]", "nul", "NaN", "[[[]]]"]),
            4 => self.list(|writer| writer.any(levels - 1)),
            5 => {
                // As deep as clients read, about.
                let (open, close, most) = [("[", "]", 55), ("{\"a\":", "}", 36)][self.choose(2)];
                let depth = most - self.choose(10);
                self.text += &open.repeat(depth);
                self.any(0);
                self.text += &close.repeat(depth);
            }
            _ => self.object(|writer| {
                writer.string();
                writer.text += ":";
                writer.any(levels - 1);
            }),
        }
    }

    fn list(&mut self, entry: impl FnMut(&mut Self)) {
        self.sequence('[', ']', entry);
    }

    fn object(&mut self, member: impl FnMut(&mut Self)) {
        self.sequence('{', '}', member);
    }

    fn sequence(&mut self, open: char, close: char, mut entry: impl FnMut(&mut Self)) {
        self.text.push(open);
        for index in 0..self.choose(5) {
            if index > 0 {
                self.text.push(',');
            }
            self.blank();
            entry(self);
            self.blank();
        }
        self.text.push(close);
    }

    fn name(&mut self, name: &str) {
        match self.choose(8) {
            7 => {
                let at = self.choose(name.len());
                let escape = format!("\\u{:04x}", name.as_bytes()[at]);
                self.text += &format!("\"{}{escape}{}\"", &name[..at], &name[at + 1..]);
            }
            _ => self.text += &format!("\"{name}\""),
        }
    }

    fn field(&mut self, field: &FieldDescriptor) {
        match self.choose(12) {
            0..=8 if field.is_list() => self.list(|writer| match writer.choose(8) {
                7 => writer.any(1),
                _ => writer.fitting(field.kind()),
            }),
            0..=8 => self.fitting(field.kind()),
            9 => self.text += "null",
            _ => self.any(2),
        }
    }

    fn fitting(&mut self, kind: Kind) {
        match kind {
            Kind::String => self.string(),
            Kind::Bool => self.one_of(&["true", "false"]),
            Kind::Int32 => self.number(),
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => self.time(),
                "google.protobuf.Struct" => self.object(|writer| {
                    writer.string();
                    writer.text += ":";
                    writer.any(3);
                }),
                _ => self.message(&message),
            },
            other => panic!("{other:?}"),
        }
    }

    fn message(&mut self, message: &MessageDescriptor) {
        let fields: Vec<_> = message.fields().collect();
        self.object(|writer| match writer.choose(8) {
            7 => {
                writer.one_of(&["\"unknown\"", "\"memberId\"", "\"\\ud800\"", "\"\""]);
                writer.text += ":";
                writer.any(2);
            }
            _ => {
                let field = &fields[writer.choose(fields.len())];
                writer.name(field.name());
                writer.blank();
                writer.text += ":";
                writer.blank();
                writer.field(field);
            }
        });
    }
}

/// Returns a body for this type of response.
fn written(response: Response, choices: &[u16]) -> String {
    let mut writer = Writer { choices: choices.iter(), text: String::new() };
    writer.one_of(&["", "", "", "\u{feff}", " \n"]);
    writer.message(&descriptor(response));
    writer.one_of(&["", "", "", "\n", "}", "<html>"]);
    writer.text
}

/// Returns a body with every field, each once and fitting.
fn complete(message: &MessageDescriptor) -> String {
    let fields = message.fields().map(|field| {
        let value = match field.kind() {
            Kind::String => r#""text é \n""#.to_owned(),
            Kind::Bool => "true".to_owned(),
            Kind::Int32 => "-2147483648".to_owned(),
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => r#""2025-11-03T09:14:27.5Z""#.to_owned(),
                "google.protobuf.Struct" => r#"{"a": [null, 1.5, {"b": "c"}, false]}"#.to_owned(),
                _ => complete(&message),
            },
            other => panic!("{other:?}"),
        };
        match field.is_list() {
            true => format!("\"{}\": [{value}, {value}]", field.name()),
            false => format!("\"{}\": {value}", field.name()),
        }
    });
    format!("{{{}}}", Vec::from_iter(fields).join(", "))
}

#[test]
fn a_body_with_every_field_of_the_contract_loses_nothing() {
    for response in RESPONSES {
        let body = complete(&descriptor(response));

        let (bytes, reports) = check(response, body.as_bytes()).expect("readable");

        assert_eq!(reports, Vec::<String>::new(), "{}", response.name);
        let decoded = prost_reflect::DynamicMessage::decode(descriptor(response), bytes.as_slice());
        let decoded = decoded.expect("a message");
        for field in descriptor(response).fields() {
            assert!(decoded.has_field(&field), "{}", field.full_name());
        }
    }
}

#[test]
fn no_report_contains_a_value() {
    let value = "the-value";
    for (name, body) in [
        ("a number instead of text", r#"{"secret":{"a":"the-value"},"qr_code":["the-value"]}"#),
        ("text instead of an object", r#"{"member":"the-value","recovery_codes":"the-value"}"#),
        ("a word", r#"{"member":{"is_admin":the-value},"secret":the-value}"#),
        ("a control byte", "{\"secret\":\"the-value\n\",\"x\":\"the-value\"} the-value"),
        ("a duplicate", r#"{"secret":"the-value","secret":"the-value"}"#),
        ("a time", r#"{"member":{"created_at":"the-value"}}"#),
        ("metadata", r#"{"member":{"trusted_metadata":{"a":["the-value\ud800"]}}}"#),
    ] {
        let (_, reports) = check(CREATE, body.as_bytes()).expect("readable");

        assert!(!reports.is_empty(), "{name}");
        assert!(reports.iter().all(|path| !path.contains(value)), "{name}: {reports:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_body_of_fields_of_the_contract_is_translated_as_the_model_says(
        response in proptest::sample::select(&RESPONSES[..]),
        choices in proptest::collection::vec(any::<u16>(), 0..400),
    ) {
        let _ = check(response, written(response, &choices).as_bytes());
    }

    #[test]
    fn any_bytes_are_translated_as_the_model_says(
        response in proptest::sample::select(&RESPONSES[..]),
        body in proptest::collection::vec(proptest::sample::select(BYTES), 0..60),
    ) {
        let _ = check(response, &body);
        let inside = [b"{\"secret\":\"S\",\"member\":{\"trusted_metadata\":{\"a\":", &body[..], b"}}}"];
        let _ = check(response, &inside.concat());
    }
}
