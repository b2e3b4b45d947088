//! `/contract.json`: the contract, from which the page makes its forms and the reference.

use serde_json::{Map, Value, json};

use crate::proto::{Field, Kind, MESSAGES, Message, Method};

/// Returns the contract.
pub(super) fn json() -> String {
    let messages: Map<_, _> = MESSAGES.iter().map(|it| (it.name.to_owned(), message(it))).collect();
    let services: Vec<_> = Method::services().map(service).collect();
    json!({"services": services, "messages": messages}).to_string()
}

fn service(methods: &'static [Method]) -> Value {
    json!({
        "name": methods[0].service_and_method().0,
        "comment": methods[0].group_comment,
        "methods": methods.iter().map(method).collect::<Vec<_>>(),
    })
}

fn method(method: &Method) -> Value {
    json!({
        "name": method.name,
        "short": method.service_and_method().1,
        "command": method.subcommand(),
        "comment": method.comment,
        "request": method.request,
        "response": method.response,
        "reads_only": method.only_reads,
    })
}

fn message(message: &Message) -> Value {
    json!({
        "name": message.name,
        "comment": message.comment,
        "fields": message.fields.iter().map(field).collect::<Vec<_>>(),
    })
}

fn field(field: &Field) -> Value {
    let (kind, message) = match field.kind {
        Kind::Text => ("string", None),
        Kind::Number => ("int32", None),
        Kind::Bool => ("bool", None),
        Kind::Object => ("object", None),
        Kind::Timestamp => ("timestamp", None),
        Kind::Message(name) => ("message", Some(name)),
    };
    json!({
        "name": field.name,
        "path": field.path,
        "flag": field.flag,
        "number": field.number,
        "type": kind,
        "message": message,
        "repeated": field.is_repeated,
        "required": field.is_required,
        "secret": field.is_secret,
        "comment": field.comment,
    })
}
