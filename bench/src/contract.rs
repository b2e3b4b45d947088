//! The contract in `proto/`, compiled when it is needed, and its JSON mapping by `prost-reflect`:
//! what a response must be is found without any code of the façade.

use std::path::Path;

use bytes::{BufMut as _, Bytes};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, ReflectMessage as _,
    Value,
};

use crate::Fallible;

/// The service that is measured.
pub const SERVICE: &str = "stytch.b2b.totp.v1.TotpService";
/// The method that is measured, as a path.
pub const CREATE: &str = "/stytch.b2b.totp.v1.TotpService/Create";
/// The path that it stands for at Stytch.
pub const CREATE_PATH: &str = "/v1/b2b/totp";

/// The messages and services of `proto/`.
#[derive(Clone)]
pub struct Contract(DescriptorPool);

impl Contract {
    /// Compiles the contract of the repository at `root`.
    pub fn compile(root: &Path) -> Fallible<Self> {
        let mut compiler = protox::Compiler::new([root.join("proto")])?;
        compiler.include_imports(true);
        compiler.open_files([
            "stytch/b2b/totp/v1/totp.proto",
            "stytch/b2b/recovery_codes/v1/recovery_codes.proto",
        ])?;
        Ok(Self(compiler.descriptor_pool()))
    }

    pub fn message(&self, name: &str) -> MessageDescriptor {
        self.0.get_message_by_name(name).unwrap_or_else(|| panic!("no message {name}"))
    }

    /// Reads a message from JSON. Fields that it does not have are ignored.
    pub fn read_json(&self, name: &str, json: &[u8]) -> Fallible<DynamicMessage> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let message =
            DynamicMessage::deserialize_with_options(self.message(name), &mut json, &options)?;
        json.end()?;
        Ok(message)
    }

    /// Encodes the descriptors with a `google.api.http` rule on Create, as Envoy needs them.
    pub fn with_http_rule(&self) -> Fallible<Vec<u8>> {
        let set = DescriptorPool::global();
        let set = set.get_message_by_name("google.protobuf.FileDescriptorSet");
        let set = set.ok_or("the pool has no descriptor.proto")?;
        let mut set = DynamicMessage::decode(set, self.0.encode_to_vec().as_slice())?;
        for file in items(&mut set, "file") {
            for service in items(file, "service") {
                for method in items(service, "method") {
                    if method.get_field_by_name("name").as_deref().and_then(Value::as_str)
                        == Some("Create")
                    {
                        add_http_rule(method)?;
                    }
                }
            }
        }
        Ok(set.encode_to_vec())
    }
}

/// Adds the extension `google.api.http` to a method's options, as an unknown field.
fn add_http_rule(method: &mut DynamicMessage) -> Fallible<()> {
    const HTTP: u32 = 72_295_728;
    let rule = HttpRule { post: CREATE_PATH.to_owned(), body: "*".to_owned() };
    let mut extension = Vec::new();
    prost::encoding::message::encode(HTTP, &rule, &mut extension);
    let field = method.descriptor().get_field_by_name("options").ok_or("no options")?;
    let options = method.get_field_mut(&field).as_message_mut().ok_or("no message")?;
    options.merge(extension.as_slice())?;
    Ok(())
}

/// The part of `google.api.HttpRule` that a Create needs.
#[derive(Clone, PartialEq, prost::Message)]
struct HttpRule {
    #[prost(string, tag = "4")]
    post: String,
    #[prost(string, tag = "7")]
    body: String,
}

/// Returns the messages of a repeated field.
fn items<'a>(
    message: &'a mut DynamicMessage,
    field: &str,
) -> impl Iterator<Item = &'a mut DynamicMessage> {
    let field = message.descriptor().get_field_by_name(field).expect("a field of descriptor.proto");
    let list = message.get_field_mut(&field).as_list_mut().expect("a list");
    list.iter_mut().filter_map(Value::as_message_mut)
}

/// Puts the prefix of a gRPC message before it.
pub fn framed(message: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a small message"));
    framed.put_slice(message);
    framed.into()
}
