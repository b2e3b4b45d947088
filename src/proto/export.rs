//! The contract for other programs: a descriptor set for gateways, and the `.proto` files for code
//! generators.

use prost::Message as _;
use prost_types::FileDescriptorProto;

/// The encoded `FileDescriptorSet` of the contract with its comments, as reflection has it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The `.proto` files: path and content.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/proto_files.rs"));

/// The package of the details of a status. tonic-types names its files without their folder;
/// whoever has Google's own would then have each message twice.
const GOOGLE_RPC: &str = "google.rpc";

/// Whether the option `debug_redact` stays on the fields that hold secrets. `protoc` before version
/// 22, and libraries of that age, do not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugRedact {
    /// It stays.
    Kept,
    /// It is left out; nothing else is.
    Removed,
}

/// A `google.protobuf.FileDescriptorSet` whose files are not decoded.
#[derive(prost::Message)]
struct DescriptorSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// Returns the encoded descriptor set of the services, of what their messages are made of, and of
/// `google/rpc/status.proto` and `error_details.proto`, by which a gateway understands the details
/// of a status. A file follows those that it imports.
pub fn descriptor_set(debug_redact: DebugRedact) -> Vec<u8> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for set in [DESCRIPTORS, tonic_types::pb::FILE_DESCRIPTOR_SET] {
        for file in DescriptorSet::decode(set).expect("a descriptor set").file {
            let mut decoded = FileDescriptorProto::decode(&*file).expect("a descriptor");
            let is_of_tonic = decoded.package() == GOOGLE_RPC;
            if is_of_tonic {
                decoded.name = Some(format!("google/rpc/{}", decoded.name()));
            }
            if all.iter().any(|(name, _)| name == decoded.name()) {
                continue;
            }
            let file = match debug_redact {
                DebugRedact::Kept if !is_of_tonic => file,
                // prost_types does not know the option, and drops it.
                _ => decoded.encode_to_vec(),
            };
            all.push((decoded.name().to_owned(), file));
        }
    }
    let file = all.into_iter().map(|(_, file)| file).collect();
    DescriptorSet { file }.encode_to_vec()
}

/// Returns the `.proto` files: path and content.
pub fn files(debug_redact: DebugRedact) -> Vec<(&'static str, String)> {
    let text = |text: &str| match debug_redact {
        DebugRedact::Kept => text.to_owned(),
        DebugRedact::Removed => text.replace(" [debug_redact = true]", ""),
    };
    FILES.iter().map(|(path, content)| (*path, text(content))).collect()
}
