//! A request from the command line: a flag for each field of the message, or all of it as JSON.

use std::{
    ffi::OsStr,
    fmt,
    io::{Read as _, stdin},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::{
    Arg, ArgAction, ArgMatches, Command,
    builder::{PossibleValue, TypedValueParser},
    value_parser,
};
use serde::{Deserialize as _, de::IgnoredAny};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::{
    client::Rpc,
    files::{self, what_is_wrong},
    proto::{Field, Kind, first_paragraph},
    translate::{Inexact, Misfit},
};

const JSON: &str = "json";

/// The flags of a request, as given.
pub(super) struct RequestArgs {
    json: Option<PathBuf>,
    fields: Map<String, Value>,
}

impl RequestArgs {
    /// Adds the flags of a request with these fields to a subcommand.
    pub(super) fn augment(command: Command, fields: &'static [Field]) -> Command {
        let json = Arg::new(JSON)
            .long(JSON)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .conflicts_with_all(fields.iter().map(|field| field.name))
            .help(
                "The whole request as JSON with Stytch's field names, from a file or from standard \
                 input (-). Keeps tokens out of the argument list, which other users of the machine \
                 can read",
            );
        command.next_help_heading("Request").arg(json).args(fields.iter().map(flag))
    }

    /// Takes the flags of a request with these fields from what clap has parsed.
    pub(super) fn new(matches: &ArgMatches, fields: &[Field]) -> Self {
        let fields = fields.iter().filter_map(|field| {
            let mut values = matches.get_many::<Value>(field.name)?.cloned();
            let value = match field.is_repeated {
                true => Value::Array(values.collect()),
                false => values.next()?,
            };
            Some((field.name.to_owned(), value))
        });
        Self { json: matches.get_one(JSON).cloned(), fields: fields.collect() }
    }

    /// Returns the request, from JSON or from the flags of its fields.
    pub(super) fn read(self, rpc: &Rpc) -> Result<Bytes, Failure> {
        match &self.json {
            Some(path) => {
                let request = text_of(path).and_then(|json| whole_request(rpc, &json));
                request.map_err(|what| Failure::usage("--json", what))
            }
            None => {
                let json = Zeroizing::new(Value::Object(self.fields).to_string());
                // Claims may be nested too deep.
                rpc.request(&json).map_err(|inexact| Failure::usage("the request", inexact))
            }
        }
    }
}

/// The fields may be secrets.
impl fmt::Debug for RequestArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestArgs").field("json", &self.json).finish_non_exhaustive()
    }
}

/// The flag of a field.
fn flag(field: &Field) -> Arg {
    let arg = Arg::new(field.name).long(field.flag).help(first_paragraph(field.comment));
    let arg = match field.is_required {
        true => arg.required_unless_present(JSON),
        false => arg,
    };
    let arg = if field.is_repeated { arg.action(ArgAction::Append) } else { arg };
    match field.kind {
        Kind::Text | Kind::Timestamp => text_value(arg),
        Kind::Number => arg.value_name("NUMBER").value_parser(number).allow_negative_numbers(true),
        Kind::Bool => arg
            .value_name("BOOL")
            .value_parser(Boolean)
            .hide_possible_values(true)
            .num_args(0..=1)
            .default_missing_value("true"),
        Kind::Object | Kind::Message(_) => arg.value_name("JSON").value_parser(object),
    }
}

/// Makes a flag take any text, also a token that begins with a hyphen, as one in 64 does.
fn text_value(arg: Arg) -> Arg {
    arg.value_name("TEXT").value_parser(text).allow_hyphen_values(true)
}

#[allow(clippy::unnecessary_wraps)] // clap's signature
fn text(value: &str) -> Result<Value, String> {
    Ok(value.into())
}

fn number(value: &str) -> Result<Value, String> {
    value.parse::<i32>().map(Value::from).map_err(|error| error.to_string())
}

fn boolean(value: &str) -> Result<Value, &'static str> {
    value.parse::<bool>().map(Value::from).map_err(|_| "neither true nor false")
}

/// As [`boolean`], with the values that shells complete.
#[derive(Clone)]
struct Boolean;

impl TypedValueParser for Boolean {
    type Value = Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Value, clap::Error> {
        boolean.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(["true", "false"].into_iter().map(PossibleValue::new)))
    }
}

fn object(value: &str) -> Result<Value, &'static str> {
    let object: Result<Map<_, _>, _> = serde_json::from_str(value);
    object.map(Value::Object).map_err(|_| "not a JSON object")
}

/// Returns the text of a file or of standard input.
fn text_of(path: &Path) -> Result<Zeroizing<String>, String> {
    if path != Path::new("-") {
        return files::read(path);
    }
    let mut text = Zeroizing::default();
    let read = stdin().read_to_string(&mut text);
    read.map(|_| text).map_err(|error| what_is_wrong(path, &error))
}

/// Reads a request from its JSON. No error quotes a value, which may be a token.
fn whole_request(rpc: &Rpc, json: &str) -> Result<Bytes, String> {
    let not_json =
        |line, column| format!("is not JSON of this request at line {line}, column {column}");
    let mut parser = serde_json::Deserializer::from_str(json);
    let parsed = IgnoredAny::deserialize(&mut parser);
    parsed.map_err(|error| not_json(error.line(), error.column()))?;
    parser.end().map_err(|_| "has text after the JSON object")?;
    rpc.request(json).map_err(|inexact| match inexact {
        Inexact::NotJson => not_json(1, 1),
        Inexact::Field { misfit: Misfit::Unknown, .. } => inexact.to_string(),
        Inexact::Field { misfit: Misfit::Malformed, end, .. } => {
            let line = json[..json.floor_char_boundary(end)].matches('\n').count() + 1;
            format!("does not fit this request at line {line}: {inexact}")
        }
    })
}
