//! Compiles the contract in `proto/` in pure Rust (no `protoc`) and makes one model of it: the
//! messages carry serde with Stytch's field names, so each is both the gRPC message and the JSON body.
//!
//! What can be read off the descriptors is not kept by hand: a `Debug` that hides every field marked
//! `[debug_redact = true]`, the traits `StytchRequest` and `StytchResponse` for the messages that an RPC
//! takes and returns, a description of the former for the command line, and the shape of the latter for
//! answers with odd fields.

use std::{
    collections::HashMap,
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use protox::prost_reflect::{
    DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

const ROOT: &str = "proto";

/// The fields of a request that say whose login this is, each enough by itself.
const PROOFS: [&str; 3] = ["intermediate_session_token", "session_token", "session_jwt"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(proto_files(Path::new(ROOT))?)?;
    // Encoded by protox rather than by prost, which would drop `debug_redact` from the options.
    fs::write(out_dir.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let pool = compiler.descriptor_pool();
    let messages: Vec<_> = pool.all_messages().filter(is_ours).collect();
    fs::write(out_dir.join("model.rs"), model(&pool, &messages)?)?;

    let mut config = tonic_prost_build::configure()
        .include_file("services.rs")
        .skip_debug(
            messages
                .iter()
                .filter(|message| message.fields().any(|field| is_secret(&field)))
                .map(|message| format!(".{}", message.full_name())),
        )
        .message_attribute(
            ".stytch",
            "#[derive(::serde::Serialize, ::serde::Deserialize)] #[serde(default)]",
        );
    let depths = depths(&pool);
    for message in &messages {
        let depth = depths.get(message.full_name()).copied().unwrap_or_default();
        for field in message.fields() {
            let attribute = serde_attribute(&field, depth);
            config = config.field_attribute(format!(".{}", field.full_name()), attribute);
        }
    }
    config.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Every `.proto` below `directory`, relative to [`ROOT`].
fn proto_files(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(proto_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path.strip_prefix(ROOT)?.to_owned());
        }
    }
    files.sort();
    Ok(files)
}

/// How deep in the messages of the RPCs each message stands: the most levels that there are above it.
fn depths(pool: &DescriptorPool) -> HashMap<String, usize> {
    let mut depths = HashMap::new();
    let mut left: Vec<_> = methods(pool)
        .iter()
        .flat_map(|method| [method.input(), method.output()])
        .map(|message| (message, 0))
        .collect();
    while let Some((message, depth)) = left.pop() {
        let deepest = depths.entry(message.full_name().to_owned()).or_insert(0);
        *deepest = depth.max(*deepest);
        left.extend(message.fields().filter_map(|field| match field.kind() {
            Kind::Message(inner) if is_ours(&inner) => Some((inner, depth + 1)),
            _ => None,
        }));
    }
    depths
}

fn is_ours(message: &MessageDescriptor) -> bool {
    message.package_name().starts_with("stytch.")
}

/// How a field of a message at `depth` reads and writes as JSON: null and absent are the same, and an optional
/// field that is not set is left out.
fn serde_attribute(field: &FieldDescriptor, depth: usize) -> String {
    let object;
    let adapter = match (field.kind(), field.is_list()) {
        (Kind::Message(_), true) => r#"deserialize_with = "crate::proto::json::messages""#,
        (Kind::Message(message), false) => match message.full_name() {
            "google.protobuf.Timestamp" => r#"with = "crate::proto::json::timestamp""#,
            "google.protobuf.Struct" => {
                let path = "crate::proto::json::object";
                object = format!(
                    r#"serialize_with = "{path}::serialize",
                    deserialize_with = "{path}::deserialize::<{}, _>""#,
                    depth + 1
                );
                &object
            }
            _ => r#"deserialize_with = "crate::proto::json::message""#,
        },
        // serde's own way reads null as none.
        _ if field.supports_presence() => "default",
        _ => r#"deserialize_with = "crate::proto::json::null_as_default""#,
    };
    let absent = match field.supports_presence() {
        true => r#", skip_serializing_if = "::core::option::Option::is_none""#,
        false => "",
    };
    format!("#[serde({adapter}{absent})]")
}

/// `[debug_redact = true]`, the standard option for a value that must not be printed.
fn is_secret(field: &FieldDescriptor) -> bool {
    field
        .options()
        .get_field_by_name("debug_redact")
        .is_some_and(|value| *value == Value::Bool(true))
}

/// The trait implementations that the descriptors decide.
fn model(pool: &DescriptorPool, messages: &[MessageDescriptor]) -> Result<String, Box<dyn Error>> {
    let mut code = String::new();
    for message in messages {
        if message.fields().any(|field| is_secret(&field)) {
            write_debug(&mut code, message)?;
        }
    }
    let (methods, depths) = (methods(pool), depths(pool));
    for message in messages {
        if let Some(depth) = depths.get(message.full_name()) {
            write_shape(&mut code, message, *depth)?;
        }
    }
    for message in unique(methods.iter().map(MethodDescriptor::input)) {
        write_request(&mut code, &message)?;
        write_fields(&mut code, &message)?;
    }
    for message in unique(methods.iter().map(MethodDescriptor::output)) {
        let registration = match message.get_field_by_name("totp_registration_id") {
            Some(_) => "Some(&self.totp_registration_id)",
            None => "None",
        };
        writeln!(
            code,
            "impl crate::proto::StytchResponse for {} {{
    fn request_id(&self) -> &str {{ &self.request_id }}
    fn totp_registration_id(&self) -> ::core::option::Option<&str> {{ {registration} }}
}}",
            rust_path(&message)
        )?;
    }
    Ok(code)
}

/// Every RPC of the contract.
fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    pool.services()
        .filter(|service| service.package_name().starts_with("stytch."))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

fn unique(messages: impl Iterator<Item = MessageDescriptor>) -> Vec<MessageDescriptor> {
    let mut messages: Vec<_> = messages.collect();
    messages.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    messages.dedup();
    messages
}

fn write_debug(code: &mut String, message: &MessageDescriptor) -> Result<(), Box<dyn Error>> {
    writeln!(
        code,
        "impl ::core::fmt::Debug for {} {{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{
        f.debug_struct(\"{}\")",
        rust_path(message),
        message.name()
    )?;
    for field in message.fields() {
        let (name, rust) = (field.name(), rust_field(&field));
        if is_secret(&field) {
            let absent =
                if field.is_list() || !field.supports_presence() { "is_empty" } else { "is_none" };
            writeln!(
                code,
                "            .field(\"{name}\", &crate::proto::Hidden {{ absent: self.{rust}.{absent}() }})"
            )?;
        } else {
            writeln!(code, "            .field(\"{name}\", &self.{rust})")?;
        }
    }
    writeln!(code, "            .finish()\n    }}\n}}")?;
    Ok(())
}

fn write_request(code: &mut String, message: &MessageDescriptor) -> Result<(), Box<dyn Error>> {
    let mut secrets = String::new();
    for field in message.fields().filter(is_secret) {
        let name = rust_field(&field);
        if field.is_list() || field.supports_presence() {
            writeln!(
                secrets,
                "        secrets.extend(self.{name}.iter().map(|value| value.as_str()));"
            )?;
        } else {
            writeln!(secrets, "        secrets.push(self.{name}.as_str());")?;
        }
    }
    let proofs: String = message
        .fields()
        .filter(|field| PROOFS.contains(&field.name()))
        .map(|field| {
            let name = rust_field(&field);
            format!("(\"{name}\", self.{name}.as_ref().is_some_and(|it| !it.is_empty())), ")
        })
        .collect();
    writeln!(
        code,
        "impl crate::proto::StytchRequest for {} {{
    fn organization_id(&self) -> &str {{ &self.organization_id }}
    fn member_id(&self) -> &str {{ &self.member_id }}
    #[allow(unused_mut)]
    fn secrets(&self) -> ::std::vec::Vec<&str> {{
        let mut secrets = ::std::vec::Vec::new();
{secrets}        secrets
    }}
    fn proofs(&self) -> ::std::vec::Vec<(&'static str, bool)> {{ ::std::vec![{proofs}] }}
}}",
        rust_path(message)
    )?;
    Ok(())
}

fn write_fields(code: &mut String, message: &MessageDescriptor) -> Result<(), Box<dyn Error>> {
    let path = rust_path(message);
    writeln!(code, "impl crate::proto::Described for {path} {{")?;
    writeln!(code, "    const FIELDS: &'static [crate::proto::Field] = &[")?;
    for field in message.fields() {
        let kind = match field.kind() {
            Kind::Bool => "Bool",
            Kind::Int32 => "Number",
            Kind::Message(_) => "Object",
            _ if field.is_list() => "Texts",
            _ => "Text",
        };
        let is_required = !field.is_list() && !field.supports_presence();
        let (name, comment) = (field.name(), comment(&field));
        let flag = name.replace('_', "-");
        writeln!(
            code,
            "        crate::proto::Field {{ name: {name:?}, flag: {flag:?}, comment: {comment:?}, \
             kind: crate::proto::Kind::{kind}, is_required: {is_required} }},"
        )?;
    }
    writeln!(code, "    ];\n}}")?;
    Ok(())
}

fn write_shape(
    code: &mut String,
    message: &MessageDescriptor,
    depth: usize,
) -> Result<(), Box<dyn Error>> {
    let path = rust_path(message);
    writeln!(code, "impl crate::proto::Shaped for {path} {{")?;
    writeln!(code, "    const SHAPE: &'static crate::proto::Shape = &[")?;
    for field in message.fields() {
        let form = match field.kind() {
            Kind::Bool => "Bool".to_owned(),
            Kind::Int32 => "Int32".to_owned(),
            Kind::String => "Text".to_owned(),
            Kind::Message(inner) => match inner.full_name() {
                "google.protobuf.Timestamp" => "Timestamp".to_owned(),
                "google.protobuf.Struct" => format!("Object(crate::proto::Depth({}))", depth + 1),
                _ => {
                    format!("Message(<{} as crate::proto::Shaped>::SHAPE)", rust_path(&inner))
                }
            },
            other => return Err(format!("no JSON form of {other:?}").into()),
        };
        let form = match field.is_list() {
            true => format!("List(&crate::proto::Form::{form})"),
            false => form,
        };
        writeln!(code, "        ({:?}, crate::proto::Form::{form}),", field.name())?;
    }
    writeln!(code, "    ];\n}}")?;
    Ok(())
}

/// What the contract says above a field, as one paragraph.
fn comment(field: &FieldDescriptor) -> String {
    let file = field.parent_file();
    let locations = &file.file_descriptor_proto().source_code_info.as_ref();
    let location = locations
        .iter()
        .flat_map(|info| &info.location)
        .find(|location| location.path == field.path());
    let lines = location.map_or("", |location| location.leading_comments());
    lines.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `stytch.b2b.totp.v1.CreateRequest` as the path of the generated struct.
fn rust_path(message: &MessageDescriptor) -> String {
    format!("crate::proto::{}", message.full_name().replace('.', "::"))
}

fn rust_field(field: &FieldDescriptor) -> String {
    match field.name() {
        "type" => "r#type".into(),
        name => name.into(),
    }
}
