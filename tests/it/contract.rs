//! `totp-facade contract`: the contract, for gateways and code generators.

use std::{collections::BTreeMap, fs, path::Path};

use prost::Message as _;
use prost_reflect::{DescriptorPool, FieldDescriptor};
use prost_types::FileDescriptorSet;

use crate::support::{folder::Folder, process::run};

/// Runs it, and returns what it prints.
fn contract(args: &[&str]) -> Vec<u8> {
    let output = run(&[&["contract"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Returns the fields that have the option `debug_redact`, by their full names.
fn redacted(pool: &DescriptorPool) -> Vec<String> {
    let is_redacted = |field: &FieldDescriptor| {
        let option = field.options().get_field_by_name("debug_redact").map(|it| it.into_owned());
        option.and_then(|it| it.as_bool()).unwrap_or_default()
    };
    let fields = pool.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    fields.filter(is_redacted).map(|field| field.full_name().to_owned()).collect()
}

/// Returns the `.proto` files below a folder: path and content.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn the_descriptor_set_has_the_services_and_the_details_of_a_status() {
    // Refuses a set in which a file comes before one that it imports, or lacks one.
    let pool = DescriptorPool::decode(&*contract(&[])).unwrap();

    let services: Vec<_> = pool.services().map(|it| it.full_name().to_owned()).collect();
    assert_eq!(
        services,
        ["stytch.b2b.recovery_codes.v1.RecoveryCodesService", "stytch.b2b.totp.v1.TotpService"]
    );
    for message in ["Status", "ErrorInfo", "BadRequest", "RetryInfo", "RequestInfo", "Help"] {
        let name = format!("google.rpc.{message}");
        assert!(pool.get_message_by_name(&name).is_some(), "{name}");
    }
    for file in ["google/rpc/status.proto", "google/rpc/error_details.proto"] {
        assert!(pool.get_file_by_name(file).is_some(), "{file}");
    }
    let redacted = redacted(&pool);
    assert!(redacted.contains(&"stytch.b2b.totp.v1.CreateResponse.secret".into()), "{redacted:?}");
}

#[test]
fn without_debug_redact_the_descriptor_set_is_otherwise_the_same() {
    let (with, without) = (contract(&[]), contract(&["--without-debug-redact"]));

    assert_eq!(redacted(&DescriptorPool::decode(&*without).unwrap()), [""; 0]);
    assert!(without.len() < with.len());
    // prost_types does not know the option.
    let decode = |set: &[u8]| FileDescriptorSet::decode(set).unwrap();
    assert_eq!(decode(&with), decode(&without));
}

#[test]
fn the_descriptor_set_goes_to_a_file_too() {
    let folder = Folder::new();
    let path = folder.path("a/b/contract.binpb");

    assert_eq!(contract(&["--out", path.to_str().unwrap()]), b"");

    assert_eq!(fs::read(path).unwrap(), contract(&[]));
    assert_eq!(contract(&["--out", "-"]), contract(&[]));
}

#[test]
fn the_proto_files_are_those_that_the_program_is_built_from() {
    let folder = Folder::new();
    let (with, without) = (folder.path("with"), folder.path("without"));

    contract(&["--proto", with.to_str().unwrap()]);
    contract(&["--proto", without.to_str().unwrap(), "--without-debug-redact"]);

    let sources = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("proto"));
    assert!(sources.len() > 5);
    assert_eq!(files(&with), sources);
    // protox reads them as protoc does, and finds what they import.
    let compiled = protox::compile(sources.keys(), [&without]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(compiled).unwrap();
    assert_eq!(redacted(&pool), [""; 0]);
    for (name, text) in files(&without) {
        assert_eq!(text, sources[&name].replace(" [debug_redact = true]", ""), "{name}");
    }
}

#[test]
fn a_contract_that_cannot_be_written_is_a_failure() {
    let folder = Folder::new();
    let file = folder.write("file", "");
    let below = file.join("contract.binpb");

    let output = run(&["contract", "--out", below.to_str().unwrap()]);

    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("file"), "{text}");
}
