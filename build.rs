//! Compiles the contract in `proto/` in pure Rust (no `protoc`) and makes one model of it: the
//! messages carry serde with Stytch's field names, so each is both the gRPC message and the JSON body.
//!
//! What the descriptors say is not kept by hand: a `Debug` that hides every field marked
//! `[debug_redact = true]`, the traits `StytchRequest` and `StytchResponse` for the messages that an
//! RPC takes and returns, the RPCs and the fields of their requests for the command line, and the
//! shape of the responses for bodies with odd fields.

use std::{
    collections::HashMap,
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use protox::prost_reflect::{
    DescriptorPool, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    Value,
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
    write_methods(&mut code, &methods)?;
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

/// Writes `METHODS`, which describes every RPC, and the macro `rpcs!`: `rpcs!(f)` is an array of
/// `f::<Request, Response>(&method)` for each.
fn write_methods(code: &mut String, methods: &[MethodDescriptor]) -> Result<(), Box<dyn Error>> {
    let (mut table, mut calls) = (String::new(), String::new());
    for (index, method) in methods.iter().enumerate() {
        let service = method.parent_service();
        let name = format!("{}/{}", service.full_name(), method.name());
        let group = kebab_case(service.name().trim_end_matches("Service"));
        let group_comment = comment(&service.parent_file(), service.path());
        let command = kebab_case(method.name());
        let comment = comment(&service.parent_file(), method.path());
        writeln!(
            table,
            "    crate::proto::Method {{ name: {name:?}, group: {group:?}, \
             group_comment: {group_comment:?}, command: {command:?}, comment: {comment:?} }},"
        )?;
        let (input, output) = (rust_path(&method.input()), rust_path(&method.output()));
        writeln!(calls, "    $f::<{input}, {output}>(&crate::proto::METHODS[{index}]),")?;
    }
    writeln!(code, "pub const METHODS: &[crate::proto::Method] = &[\n{table}];")?;
    writeln!(code, "macro_rules! rpcs {{ ($f:ident) => {{ [\n{calls}] }}; }}")?;
    writeln!(code, "pub(crate) use rpcs;")?;
    Ok(())
}

/// `RecoveryCodes` as `recovery-codes`.
fn kebab_case(name: &str) -> String {
    let mut text = String::new();
    for char in name.chars() {
        if char.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(char.to_ascii_lowercase());
    }
    text
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
        let (name, comment) = (field.name(), comment(&field.parent_file(), field.path()));
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

/// The first paragraph of the comment above the item at `path` in `file`, as one line.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let locations = info.map_or(&[][..], |info| &info.location);
    let location = locations.iter().find(|location| location.path == path);
    let lines = location.map_or("", |location| location.leading_comments());
    let paragraph = lines.lines().map(str::trim).skip_while(|line| line.is_empty());
    paragraph.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
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
