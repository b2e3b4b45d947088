//! The contract as documentation: its RPCs, messages and fields with their comments. `build.rs`
//! lists all of them in [`METHODS`] and [`MESSAGES`]; the command line, the console and
//! `docs/api.md` follow from these lists.

use std::fmt::Write as _;

use super::generated::{MESSAGES, METHODS};

/// The group whose RPCs are subcommands of the program itself.
pub const MAIN_GROUP: &str = "totp";

/// An RPC of the contract. The macro `rpcs!` adds its types.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// The full name, as in `stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get`.
    pub name: &'static str,
    /// The name of the service in kebab case: `recovery-codes`.
    pub group: &'static str,
    /// The comment of the service.
    pub group_comment: &'static str,
    /// The name of the method in kebab case: `get`.
    pub command: &'static str,
    /// The comment of the method.
    pub comment: &'static str,
    /// The full name of the message that it takes.
    pub request: &'static str,
    /// The full name of the message that it returns.
    pub response: &'static str,
    /// Whether it changes nothing (`idempotency_level = NO_SIDE_EFFECTS`).
    pub only_reads: bool,
}

/// A message of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// The full name.
    pub name: &'static str,
    /// The comment.
    pub comment: &'static str,
    /// The fields, in the order of the contract.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name, the same as Stytch's.
    pub name: &'static str,
    /// The full name, which begins with that of the message.
    pub path: &'static str,
    /// The name in kebab case.
    pub flag: &'static str,
    /// The number in the contract.
    pub number: u32,
    /// The comment.
    pub comment: &'static str,
    /// The type of its value, or of each of its values.
    pub kind: Kind,
    /// Whether it is a list.
    pub is_repeated: bool,
    /// Whether a request must have it.
    pub is_required: bool,
    /// Whether its value is a secret (`debug_redact`).
    pub is_secret: bool,
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// An integer.
    Number,
    /// True or false.
    Bool,
    /// A JSON object: `google.protobuf.Struct`.
    Object,
    /// A time: `google.protobuf.Timestamp`.
    Timestamp,
    /// The message of this full name.
    Message(&'static str),
}

impl Method {
    /// Returns the full name of the service, and the name of the method in it.
    pub fn service_and_method(&self) -> (&'static str, &'static str) {
        self.name.split_once('/').unwrap_or((self.name, ""))
    }

    /// Returns the words of the subcommand that makes the call.
    pub fn subcommand(&self) -> Vec<&'static str> {
        match self.group {
            MAIN_GROUP => vec![self.command],
            group => vec![group, self.command],
        }
    }

    /// Returns the RPCs of each service.
    pub fn services() -> impl Iterator<Item = &'static [Self]> {
        METHODS.chunk_by(|one, next| one.group == next.group)
    }
}

impl Kind {
    /// Returns the name of the type in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Number => "int32",
            Self::Bool => "bool",
            Self::Object => "google.protobuf.Struct",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Message(name) => name,
        }
    }
}

/// Returns the first paragraph of a comment as one line.
pub fn first_paragraph(comment: &str) -> String {
    let lines = comment.lines().take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// Returns the reference in `docs/api.md`, in Markdown. A test compares it with the document.
pub fn page() -> String {
    let mut page = String::new();
    for methods in Method::services() {
        let (service, _) = methods[0].service_and_method();
        let _ = writeln!(page, "\n## {service}\n\n{}", methods[0].group_comment);
        for method in methods {
            let _ = writeln!(
                page,
                "\n### {}\n\n`{}`: takes {} and returns {}.\n\n{}",
                anchored(&method.name.replace('/', ".")),
                method.name,
                link(method.request),
                link(method.response),
                method.comment,
            );
        }
    }
    page.push_str("\n## Messages\n");
    for message in MESSAGES {
        let _ = writeln!(page, "\n### {}\n\n{}\n", anchored(message.name), message.comment);
        page.push_str("| field | type | meaning |\n|---|---|---|\n");
        page.extend(message.fields.iter().map(row));
    }
    page + "\n"
}

/// A heading of the last part of this name, with the whole name as anchor.
fn anchored(name: &str) -> String {
    format!("<a id=\"{name}\"></a>{}", last_part(name))
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn link(message: &str) -> String {
    format!("[{}](#{message})", last_part(message))
}

fn row(field: &Field) -> String {
    let kind = match field.kind {
        Kind::Message(name) => link(name),
        other => last_part(other.name()).to_owned(),
    };
    let repeated = if field.is_repeated { "repeated " } else { "" };
    let marks = [(field.is_required, "required"), (field.is_secret, "secret")];
    let marks: String =
        marks.iter().filter(|(is_set, _)| *is_set).map(|(_, mark)| format!(", {mark}")).collect();
    let comment = field.comment.replace('\n', " ").replace('|', "\\|");
    let Field { name, path, .. } = field;
    format!("| <a id=\"{path}\"></a>`{name}` | {repeated}{kind}{marks} | {comment} |\n")
}
