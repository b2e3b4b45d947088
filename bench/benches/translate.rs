//! What it takes to turn Stytch's JSON into the protobuf message that a caller gets, for each example
//! of a response.

use std::{fmt, fs, path::Path};

use bytes::Bytes;
use divan::{Bencher, counter::BytesCount};
use totp_facade::{
    proto::stytch::b2b::{recovery_codes::v1 as codes, totp::v1 as totp},
    translate::{self, FromJson},
};

fn main() {
    divan::main();
}

/// The translation that is measured.
fn translate<T: FromJson>(body: &[u8]) -> Bytes {
    translate::translate::<T>(body, |_| ()).expect("a good example").into_bytes()
}

type Translate = fn(&[u8]) -> Bytes;

/// A response, compact as Stytch sends it.
struct Example {
    name: String,
    body: Vec<u8>,
    translate: Translate,
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The files of the examples, by how their names start, with their messages.
const MESSAGES: [(&str, Translate); 7] = [
    ("totp-create.response", translate::<totp::CreateResponse>),
    ("totp-authenticate.response", translate::<totp::AuthenticateResponse>),
    ("totp-migrate.response", translate::<totp::MigrateResponse>),
    ("member-totp-delete.response", translate::<totp::DeleteResponse>),
    ("recovery-codes-get.response", translate::<codes::GetResponse>),
    ("recovery-codes-rotate.response", translate::<codes::RotateResponse>),
    ("recovery-codes-recover.response", translate::<codes::RecoverResponse>),
];

/// All examples of the tests, and the response of the other measurements.
fn examples() -> Vec<Example> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut examples = Vec::new();
    for entry in fs::read_dir(here.join("../tests/it/fixtures/stytch")).expect("the examples") {
        let path = entry.expect("an example").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if let Some((_, translate)) = MESSAGES.iter().find(|(start, _)| name.starts_with(start)) {
            examples.push(Example { name, body: compact(&path), translate: *translate });
        }
    }
    examples.push(Example {
        name: "create, 7.7 KB".to_owned(),
        body: compact(&here.join("answers/create.json")),
        translate: translate::<totp::CreateResponse>,
    });
    examples.sort_by(|a, b| a.name.cmp(&b.name));
    examples
}

fn compact(path: &Path) -> Vec<u8> {
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON");
    serde_json::to_vec(&json).expect("JSON")
}

#[divan::bench(args = examples())]
fn from_json_to_protobuf(bencher: Bencher, example: &Example) {
    bencher
        .counter(BytesCount::new(example.body.len()))
        .bench(|| (example.translate)(divan::black_box(&example.body)));
}
