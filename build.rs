//! Compiles the contract in `proto/`, in pure Rust (no `protoc`), and lists the files of the
//! console's page.
//!
//! The generated messages serialize as Stytch's JSON, with Stytch's field names, so each is both
//! the gRPC message and Stytch's JSON body. The implementations below follow from the descriptors,
//! so nobody keeps them by hand:
//!
//! - `Debug`, which hides each field marked `[debug_redact = true]`;
//! - `StytchRequest`, for the messages that an RPC takes;
//! - `METHODS` and `MESSAGES`, which describe the contract to the command line, the console and
//!   `docs/api.md`, and the macro `rpcs!`, which adds the types of an RPC;
//! - `FromJson`, the tables that drive the translation of JSON into a message;
//! - the servers of the services, whose responses are encoded already (`translate::Encoded`).

use std::{
    collections::HashMap,
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use protox::prost_reflect::{
    DescriptorPool, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    Value,
};
use tonic_build::manual;

/// The folder of the contract.
const ROOT: &str = "proto";

/// The folder of the console's page.
const PAGE: &str = "src/console/page";

/// The fields of a request that can prove a login. One of them is enough.
const PROOFS: [&str; 3] = ["intermediate_session_token", "session_token", "session_jwt"];

/// The number of `MethodOptions.IdempotencyLevel.NO_SIDE_EFFECTS`.
const NO_SIDE_EFFECTS: i32 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-env=TOTP_FACADE_REVISION={}", revision());
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(files(Path::new(ROOT), "proto")?)?;
    // protox encodes the descriptors, because prost would drop `debug_redact` from the options.
    fs::write(out_dir.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let contract = Contract::new(&compiler.descriptor_pool());
    fs::write(out_dir.join("impls.rs"), impls(&contract))?;
    fs::write(out_dir.join("tables.rs"), tables(&contract)?)?;
    codegen(&contract).compile_fds(compiler.file_descriptor_set())?;
    fs::write(out_dir.join("servers.rs"), servers(&contract))?;
    fs::write(out_dir.join("page.rs"), embedded(PAGE, "html css js", "/")?)?;
    fs::write(out_dir.join("proto_files.rs"), embedded(ROOT, "proto", "")?)?;
    Ok(())
}

/// Returns the commit that this is built from, for the metric `totp_facade_build_info`.
///
/// A package of cargo names its commit; the build of the image does so in a variable; elsewhere git
/// does. Without any it is `unknown`. In a debug build it is `debug`, because every commit would
/// build everything again.
fn revision() -> String {
    if env::var("PROFILE").as_deref() != Ok("release") {
        return "debug".to_owned();
    }
    println!("cargo::rerun-if-env-changed=TOTP_FACADE_REVISION");
    let of_image = || env::var("TOTP_FACADE_REVISION").ok();
    of_package().or_else(of_image).or_else(of_git).unwrap_or_else(|| "unknown".to_owned())
}

/// Reads the commit from the file that `cargo package` writes.
fn of_package() -> Option<String> {
    let file = Path::new(".cargo_vcs_info.json");
    let text = fs::read_to_string(file).ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    rest.split('"').nth(1).map(ToOwned::to_owned)
}

/// Asks git for the commit, if this folder is the root of a repository rather than a copy inside
/// another one.
fn of_git() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    // The logs of HEAD grow with each commit and checkout.
    println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_owned())
}

/// Returns every file below `root` with one of these extensions, separated by spaces, relative to
/// `root`.
fn files(root: &Path, extensions: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if extensions.split(' ').any(|it| it == extension) {
                files.push(path.strip_prefix(root)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the list of the files below `root`, to embed: `prefix` and the path, and the content.
fn embedded(root: &str, extensions: &str, prefix: &str) -> Result<String, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={root}");
    let mut list = String::new();
    for file in files(Path::new(root), extensions)? {
        let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
        let (path, file) = (parts.join("/"), fs::canonicalize(Path::new(root).join(&file))?);
        list += &format!("    (\"{prefix}{path}\", include_str!({file:?})),\n");
    }
    Ok(format!("&[\n{list}]\n"))
}

/// What the generated code needs to know of the contract.
struct Contract {
    methods: Vec<MethodDescriptor>,
    messages: Vec<MessageDescriptor>,
    /// The messages that an RPC takes, sorted by name.
    requests: Vec<MessageDescriptor>,
    /// How deep each message of an RPC can be nested: the maximum number of messages around it.
    depths: HashMap<String, usize>,
}

impl Contract {
    fn new(pool: &DescriptorPool) -> Self {
        let methods: Vec<_> = pool
            .services()
            .filter(|service| is_ours(service.package_name()))
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect();
        let requests = unique(methods.iter().map(MethodDescriptor::input));
        let responses = unique(methods.iter().map(MethodDescriptor::output));
        Self {
            messages: pool.all_messages().filter(|it| is_ours(it.package_name())).collect(),
            depths: depths(requests.iter().chain(&responses)),
            methods,
            requests,
        }
    }

    fn depth(&self, message: &MessageDescriptor) -> Option<usize> {
        self.depths.get(message.full_name()).copied()
    }
}

fn is_ours(package: &str) -> bool {
    package.starts_with("stytch.")
}

fn unique(messages: impl Iterator<Item = MessageDescriptor>) -> Vec<MessageDescriptor> {
    let mut messages: Vec<_> = messages.collect();
    messages.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    messages.dedup();
    messages
}

/// Returns the maximum depth of each message below `top`.
fn depths<'a>(top: impl Iterator<Item = &'a MessageDescriptor>) -> HashMap<String, usize> {
    let mut depths = HashMap::new();
    let mut open: Vec<_> = top.map(|message| (message.clone(), 0)).collect();
    while let Some((message, depth)) = open.pop() {
        let deepest = depths.entry(message.full_name().to_owned()).or_insert(0);
        *deepest = depth.max(*deepest);
        open.extend(message.fields().filter_map(|field| match field.kind() {
            Kind::Message(inner) if is_ours(inner.package_name()) => Some((inner, depth + 1)),
            _ => None,
        }));
    }
    depths
}

/// Returns whether a field is marked `[debug_redact = true]`, the standard option for a secret.
fn is_secret(field: &FieldDescriptor) -> bool {
    field
        .options()
        .get_field_by_name("debug_redact")
        .is_some_and(|value| *value == Value::Bool(true))
}

fn has_secrets(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| is_secret(&field))
}

/// Configures the code generator: the module tree, and the attributes of messages and fields.
fn codegen(contract: &Contract) -> tonic_prost_build::Builder {
    let secretive = contract.messages.iter().filter(|message| has_secrets(message));
    let mut config = tonic_prost_build::configure()
        .include_file("services.rs")
        .build_server(false)
        .skip_debug(secretive.map(|message| format!(".{}", message.full_name())))
        .message_attribute(".stytch", "#[derive(::serde::Serialize)]");
    for field in contract.messages.iter().flat_map(MessageDescriptor::fields) {
        let attribute = serde_attribute(&field);
        config = config.field_attribute(format!(".{}", field.full_name()), attribute);
    }
    config
}

/// Returns the serde attribute of a field. An optional field that is not set is left out.
fn serde_attribute(field: &FieldDescriptor) -> String {
    let with = match field.kind() {
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => r#"serialize_with = "crate::proto::json::timestamp", "#,
            "google.protobuf.Struct" => r#"serialize_with = "crate::proto::json::object", "#,
            _ => "",
        },
        _ => "",
    };
    let absent = match field.supports_presence() {
        true => r#"skip_serializing_if = "::core::option::Option::is_none""#,
        false => "",
    };
    format!("#[serde({with}{absent})]")
}

/// Returns the trait implementations that follow from the descriptors.
fn impls(contract: &Contract) -> String {
    let mut code = String::new();
    for message in contract.messages.iter().filter(|message| has_secrets(message)) {
        code += &debug_impl(message);
    }
    for message in &contract.requests {
        code += &request_impl(message);
    }
    code += &messages(contract);
    code += &rpcs(&contract.methods);
    code
}

/// Returns the tables of all messages of the RPCs.
fn tables(contract: &Contract) -> Result<String, Box<dyn Error>> {
    let mut code = String::new();
    for message in &contract.messages {
        if let Some(depth) = contract.depth(message) {
            code += &table(message, depth)?;
        }
    }
    Ok(code)
}

fn debug_impl(message: &MessageDescriptor) -> String {
    let fields = lines(message, |field| {
        let (name, rust) = (field.name(), rust_field(field));
        if !is_secret(field) {
            return format!("            .field(\"{name}\", &self.{rust})");
        }
        let has_option = field.supports_presence() && !field.is_list();
        let absent = if has_option { "is_none" } else { "is_empty" };
        format!(
            "            .field(\"{name}\", \
             &crate::proto::Hidden {{ absent: self.{rust}.{absent}() }})"
        )
    });
    format!(
        "impl ::core::fmt::Debug for {path} {{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{
        f.debug_struct(\"{name}\")
{fields}            .finish()
    }}
}}
",
        path = rust_path(message),
        name = message.name(),
    )
}

/// Returns the table of a message at `depth`.
fn table(message: &MessageDescriptor, depth: usize) -> Result<String, Box<dyn Error>> {
    let mut fields = String::new();
    for field in message.fields() {
        let kind = match field.kind() {
            Kind::String => "Text".to_owned(),
            Kind::Message(inner) => match inner.full_name() {
                "google.protobuf.Timestamp" => "Timestamp".to_owned(),
                "google.protobuf.Struct" => format!("Object(crate::proto::Depth({}))", depth + 1),
                _ => format!("Message(<{} as FromJson>::TABLE)", rust_path(&inner)),
            },
            Kind::Bool if !field.is_list() => "Bool".to_owned(),
            Kind::Int32 if !field.is_list() => "Int32".to_owned(),
            other => return Err(format!("no JSON form of {} ({other:?})", field.name()).into()),
        };
        let label = match field {
            _ if field.is_list() => "Repeated",
            _ if field.supports_presence() => "Optional",
            _ => "Implicit",
        };
        fields += &format!(
            "        Field {{ name: {name:?}, member: {member:?}, number: {number}, \
             kind: Kind::{kind}, label: Label::{label} }},\n",
            name = field.name(),
            member = format!("\"{}\":", field.name()),
            number = field.number(),
        );
    }
    Ok(format!(
        "impl FromJson for {path} {{
    const TABLE: &'static Table = &Table::new(&[
{fields}    ]);
}}
",
        path = rust_path(message),
    ))
}

/// Writes the server of each service to a file of its own, and returns the code that includes all
/// of them.
fn servers(contract: &Contract) -> String {
    let mut services: Vec<_> = contract.methods.iter().map(|it| it.parent_service()).collect();
    services.dedup();
    let mut includes = String::new();
    for service in services {
        let mut builder =
            manual::Service::builder().package(service.package_name()).name(service.name());
        for method in service.methods() {
            let builder_of_method = manual::Method::builder()
                .name(kebab_case(method.name()).replace('-', "_"))
                .route_name(method.name())
                .input_type(rust_path(&method.input()))
                .output_type(format!("crate::translate::Encoded<{}>", rust_path(&method.output())))
                .codec_path("crate::service::Codec");
            builder = builder.method(builder_of_method.build());
        }
        manual::Builder::new().build_client(false).compile(&[builder.build()]);
        includes +=
            &format!("include!(concat!(env!(\"OUT_DIR\"), \"/{}.rs\"));\n", service.full_name());
    }
    includes
}

fn request_impl(message: &MessageDescriptor) -> String {
    let secrets = lines(message, |field| match (is_secret(field), rust_field(field)) {
        (false, _) => String::new(),
        (true, name) if field.is_list() || field.supports_presence() => {
            format!("        secrets.extend(self.{name}.iter().map(|value| value.as_str()));")
        }
        (true, name) => format!("        secrets.push(self.{name}.as_str());"),
    });
    let proofs = lines(message, |field| match field.name() {
        name if PROOFS.contains(&name) => {
            format!(
                "            (\"{name}\", self.{name}.as_ref().is_some_and(|it| !it.is_empty())),"
            )
        }
        _ => String::new(),
    });
    format!(
        "impl crate::proto::StytchRequest for {path} {{
    fn organization_id(&self) -> &str {{ &self.organization_id }}
    fn member_id(&self) -> &str {{ &self.member_id }}
    #[allow(unused_mut)]
    fn secrets(&self) -> ::std::vec::Vec<&str> {{
        let mut secrets = ::std::vec::Vec::new();
{secrets}        secrets
    }}
    fn proofs(&self) -> ::std::vec::Vec<(&'static str, bool)> {{
        ::std::vec![
{proofs}        ]
    }}
}}
",
        path = rust_path(message),
    )
}

/// Returns `MESSAGES`, which describes every message, and `Described` for the requests.
fn messages(contract: &Contract) -> String {
    let (mut table, mut impls) = (String::new(), String::new());
    for (index, message) in contract.messages.iter().enumerate() {
        let (name, comment) =
            (message.full_name(), comment(&message.parent_file(), message.path()));
        let is_request = contract.requests.contains(message);
        let fields = lines(message, |field| described_field(field, is_request));
        table += &format!(
            "    crate::proto::Message {{ name: {name:?}, comment: {comment:?}, fields: &[
{fields}    ] }},\n"
        );
        if is_request {
            impls += &format!(
                "impl crate::proto::Described for {path} {{
    const FIELDS: &'static [crate::proto::Field] = MESSAGES[{index}].fields;
}}
",
                path = rust_path(message),
            );
        }
    }
    format!("pub const MESSAGES: &[crate::proto::Message] = &[\n{table}];\n{impls}")
}

fn described_field(field: &FieldDescriptor, is_of_request: bool) -> String {
    let kind = match field.kind() {
        Kind::Bool => "Bool".to_owned(),
        Kind::Int32 => "Number".to_owned(),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Struct" => "Object".to_owned(),
            "google.protobuf.Timestamp" => "Timestamp".to_owned(),
            name => format!("Message({name:?})"),
        },
        _ => "Text".to_owned(),
    };
    format!(
        "        crate::proto::Field {{ name: {name:?}, path: {path:?}, flag: {flag:?}, number: {number}, \
         comment: {comment:?}, kind: crate::proto::Kind::{kind}, is_repeated: {is_repeated}, \
         is_required: {is_required}, is_secret: {is_secret} }},",
        name = field.name(),
        path = field.full_name(),
        flag = field.name().replace('_', "-"),
        number = field.number(),
        comment = comment(&field.parent_file(), field.path()),
        is_repeated = field.is_list(),
        is_required = is_of_request && !field.is_list() && !field.supports_presence(),
        is_secret = is_secret(field),
    )
}

/// Returns `METHODS`, which describes every RPC, and the macro `rpcs!`: `rpcs!(f)` is an array of
/// `f::<Request, Response>(&method)` for each.
fn rpcs(methods: &[MethodDescriptor]) -> String {
    let (mut table, mut calls) = (String::new(), String::new());
    for (index, method) in methods.iter().enumerate() {
        let service = method.parent_service();
        let name = format!("{}/{}", service.full_name(), method.name());
        let group = kebab_case(service.name().trim_end_matches("Service"));
        let group_comment = comment(&service.parent_file(), service.path());
        let command = kebab_case(method.name());
        let comment = comment(&service.parent_file(), method.path());
        let only_reads = only_reads(method);
        let (request, response) = (method.input(), method.output());
        let (request, response) = (request.full_name(), response.full_name());
        table += &format!(
            "    crate::proto::Method {{ name: {name:?}, group: {group:?}, \
             group_comment: {group_comment:?}, command: {command:?}, comment: {comment:?}, \
             request: {request:?}, response: {response:?}, only_reads: {only_reads} }},\n"
        );
        let (input, output) = (rust_path(&method.input()), rust_path(&method.output()));
        calls += &format!("    $f::<{input}, {output}>(&crate::proto::METHODS[{index}]),\n");
    }
    format!(
        "pub const METHODS: &[crate::proto::Method] = &[
{table}];
macro_rules! rpcs {{ ($f:ident) => {{ [
{calls}] }}; }}
pub(crate) use rpcs;
"
    )
}

/// Whether the contract says that the method changes nothing.
fn only_reads(method: &MethodDescriptor) -> bool {
    let level = method.options().get_field_by_name("idempotency_level").map(|it| it.into_owned());
    level.is_some_and(|level| matches!(level, Value::EnumNumber(NO_SIDE_EFFECTS)))
}

/// Returns `RecoveryCodes` as `recovery-codes`.
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

/// Returns what `line` writes for each field of `message`, a line each. Empty lines are left out.
fn lines(message: &MessageDescriptor, line: impl Fn(&FieldDescriptor) -> String) -> String {
    let lines = message.fields().map(|field| line(&field)).filter(|line| !line.is_empty());
    lines.map(|line| line + "\n").collect()
}

/// Returns the comment above the item at `path` in `file`, without the space that begins each line.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let locations = info.map_or(&[][..], |info| &info.location);
    let location = locations.iter().find(|location| location.path == path);
    let lines = location.map_or("", |location| location.leading_comments()).lines();
    let lines: Vec<_> =
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}

/// Returns the path of the generated struct, as
/// `crate::proto::stytch::b2b::totp::v1::CreateRequest`.
fn rust_path(message: &MessageDescriptor) -> String {
    format!("crate::proto::{}", message.full_name().replace('.', "::"))
}

/// Returns the name of the generated field.
fn rust_field(field: &FieldDescriptor) -> String {
    match field.name() {
        "type" => "r#type".into(),
        name => name.into(),
    }
}
