//! What the translation of a response must give, found in another way.
//!
//! [`expected`] reads a body with a small model of the rules, driven by the descriptors alone: it
//! decides which parts fit, lists the paths of those that do not, and has `prost-reflect` turn the
//! parts that fit into a message. [`check`] compares that with the translation, and checks what
//! holds for every body. The model is slow and simple: strings, numbers and booleans are judged by
//! `serde_json`, times by `prost-types`, and the message is built by `prost-reflect`'s JSON
//! mapping. Where that mapping accepts the whole body by itself, it must give the same message.
//!
//! Permitted differences:
//! - Order: fields and map entries may be encoded in any order, so the decoded messages are
//!   compared.
//! - A message longer than clients read is translated again without its free-form objects. Paths
//!   that the first attempt reported may come before those of the second.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::LazyLock,
};

use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor,
    ReflectMessage as _,
};
use serde::{
    Deserialize,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use totp_facade::{
    proto::{
        DESCRIPTORS,
        stytch::b2b::{recovery_codes::v1 as codes, totp::v1 as totp},
    },
    translate::{FromJson, translate},
};

/// The longest message that clients accept, in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// The number of fields that are reported one by one.
const MAX_REPORTS: usize = 64;
/// The longest path, in bytes, before it is cut.
const MAX_PATH: usize = 256;
/// How many messages may be around another.
const MAX_DEPTH: usize = 100;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the contract's descriptors"));

/// How deep each message can be nested: the maximum number of messages around it.
static DEPTHS: LazyLock<HashMap<String, usize>> = LazyLock::new(|| {
    let mut depths = HashMap::new();
    let methods = POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let mut open: Vec<_> =
        methods.flat_map(|method| [(method.input(), 0), (method.output(), 0)]).collect();
    while let Some((message, depth)) = open.pop() {
        let deepest = depths.entry(message.full_name().to_owned()).or_insert(0);
        *deepest = depth.max(*deepest);
        open.extend(message.fields().filter_map(|field| match field.kind() {
            Kind::Message(inner) if inner.full_name().starts_with("stytch.") => {
                Some((inner, depth + 1))
            }
            _ => None,
        }));
    }
    depths
});

/// An encoded message, and the paths that were reported.
pub type Translated = (Vec<u8>, Vec<String>);

/// A type of response.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// The full name of its message.
    pub name: &'static str,
    translate: fn(&[u8]) -> Result<Translated, ()>,
    decodes: fn(&[u8]) -> bool,
}

/// Every type of response.
pub const RESPONSES: [Response; 7] = [
    response::<totp::CreateResponse>("stytch.b2b.totp.v1.CreateResponse"),
    response::<totp::AuthenticateResponse>("stytch.b2b.totp.v1.AuthenticateResponse"),
    response::<totp::MigrateResponse>("stytch.b2b.totp.v1.MigrateResponse"),
    response::<totp::DeleteResponse>("stytch.b2b.totp.v1.DeleteResponse"),
    response::<codes::GetResponse>("stytch.b2b.recovery_codes.v1.GetResponse"),
    response::<codes::RotateResponse>("stytch.b2b.recovery_codes.v1.RotateResponse"),
    response::<codes::RecoverResponse>("stytch.b2b.recovery_codes.v1.RecoverResponse"),
];

const fn response<Res>(name: &'static str) -> Response
where
    Res: prost::Message + Default + FromJson,
{
    Response {
        name,
        translate: |body| {
            let mut reports = Vec::new();
            let message = translate::<Res>(body, |path| reports.push(path.to_owned()));
            message.map(|it| (it.into_bytes().into(), reports)).map_err(drop)
        },
        decodes: |bytes| Res::decode(bytes).is_ok(),
    }
}

/// Checks the translation of `body`. Returns it, so that a test can assert more.
///
/// # Panics
///
/// If the translation differs from the model, or breaks a bound.
#[track_caller]
pub fn check(response: Response, body: &[u8]) -> Result<Translated, ()> {
    let shown = || format!("{}: {}", response.name, body.escape_ascii());
    let translated = (response.translate)(body);
    let expected = expected(response, body);
    let Ok((bytes, reports)) = &translated else {
        assert!(expected.is_err(), "refused, but readable: {}", shown());
        return translated;
    };
    let Ok((message, paths, long)) = expected else { panic!("accepted: {}", shown()) };

    assert!(bytes.len() <= 6 * body.len() + 64, "{} bytes of {}", bytes.len(), shown());
    assert!(bytes.len() <= MAX_MESSAGE.max(body.len()), "{} bytes of {}", bytes.len(), shown());
    assert!((response.decodes)(bytes), "the message does not decode: {}", shown());
    let decoded = DynamicMessage::decode(message.descriptor(), bytes.as_slice());
    let decoded = decoded.unwrap_or_else(|error| panic!("{error}: {}", shown()));
    // As text too, since the comparison of doubles takes -0 for 0.
    assert!(
        decoded == message && json_of(&decoded) == json_of(&message),
        "{} instead of {}: {}",
        json_of(&decoded),
        json_of(&message),
        shown()
    );
    match long {
        true => assert!(reports.ends_with(&paths), "{reports:?}, not {paths:?}: {}", shown()),
        false => assert_eq!(*reports, paths, "{}", shown()),
    }
    assert!(reports.len() <= 2 * (MAX_REPORTS + 1), "{} reports", reports.len());
    assert!(reports.iter().all(|path| path.len() <= MAX_PATH + '…'.len_utf8()), "{reports:?}");
    if reports.is_empty() && !long && is_plain(body) {
        let whole = read_json(&descriptor(response), body);
        if let Ok(whole) = whole {
            assert_eq!(json_of(&decoded), json_of(&whole), "{}", shown());
        }
    }
    translated
}

/// Returns the descriptor of the response's message.
pub fn descriptor(response: Response) -> MessageDescriptor {
    POOL.get_message_by_name(response.name).expect("a message of the contract")
}

fn json_of(message: &DynamicMessage) -> String {
    serde_json::to_value(message).expect("a message has a JSON form").to_string()
}

fn read_json(
    descriptor: &MessageDescriptor,
    body: &[u8],
) -> Result<DynamicMessage, serde_json::Error> {
    DynamicMessage::deserialize_with_options(
        descriptor.clone(),
        &mut serde_json::Deserializer::from_slice(body),
        &DeserializeOptions::new().deny_unknown_fields(false),
    )
}

/// Returns the message that the parts of `body` that fit amount to, the paths of the others, and
/// whether the message was too long with its free-form objects.
fn expected(
    response: Response,
    body: &[u8],
) -> Result<(DynamicMessage, Vec<String>, bool), Malformed> {
    let descriptor = descriptor(response);
    let (fitting, paths) = Model::read(body, &descriptor, true)?;
    let message = build(&descriptor, &fitting);
    if prost::Message::encoded_len(&message) <= MAX_MESSAGE {
        return Ok((message, paths, false));
    }
    let (fitting, paths) = Model::read(body, &descriptor, false)?;
    Ok((build(&descriptor, &fitting), paths, true))
}

fn build(descriptor: &MessageDescriptor, fitting: &Value) -> DynamicMessage {
    let message = DynamicMessage::deserialize_with_options(
        descriptor.clone(),
        fitting,
        &DeserializeOptions::new().deny_unknown_fields(false),
    );
    let message = message.unwrap_or_else(|error| panic!("{error} for the model's {fitting}"));
    // As it arrives: a field that JSON sets to its default counts as set until then.
    let encoded = prost::Message::encode_to_vec(&message);
    DynamicMessage::decode(descriptor.clone(), encoded.as_slice()).expect("its own encoding")
}

/// The text is not an object whose brackets match.
struct Malformed;

/// The JSON that a field takes.
#[derive(Clone)]
enum Form {
    Text,
    Bool,
    Int32,
    Timestamp,
    /// A `Struct` at this depth.
    Object(usize),
    /// A `Value` at this depth.
    Any(usize),
    Message(MessageDescriptor),
    List(Box<Form>),
}

impl Form {
    fn of(field: &FieldDescriptor) -> Self {
        let of_entry = match field.kind() {
            Kind::String => Self::Text,
            Kind::Bool => Self::Bool,
            Kind::Int32 => Self::Int32,
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => Self::Timestamp,
                "google.protobuf.Struct" => {
                    Self::Object(1 + DEPTHS[field.parent_message().full_name()])
                }
                _ => Self::Message(message),
            },
            other => panic!("no JSON form of {other:?}"),
        };
        if field.is_list() { Self::List(Box::new(of_entry)) } else { of_entry }
    }

    /// Returns what a string, a number or a word means, if it fits.
    fn scalar(&self, token: &[u8]) -> Option<Value> {
        let text = || serde_json::from_slice::<String>(token).ok();
        match self {
            Self::Text => text().map(Value::String),
            Self::Bool => serde_json::from_slice::<bool>(token).ok().map(Value::Bool),
            Self::Int32 => serde_json::from_slice::<i32>(token).ok().map(Value::from),
            Self::Timestamp => {
                let time: prost_types::Timestamp = text()?.parse().ok()?;
                let is_in_range = (-62_135_596_800..=253_402_300_799).contains(&time.seconds);
                is_in_range.then(|| Value::String(time.to_string()))
            }
            Self::Any(_) => serde_json::from_slice(token).ok(),
            Self::Object(_) | Self::Message(_) | Self::List(_) => None,
        }
    }
}

/// Reads a body as the rules say. `Ok(None)` is a value that does not fit and has been reported.
struct Model<'a> {
    rest: &'a [u8],
    keeps_objects: bool,
    path: Vec<Step>,
    paths: Vec<String>,
    reported: usize,
}

enum Step {
    Name(Option<String>),
    Index(usize),
}

impl<'a> Model<'a> {
    fn read(
        body: &'a [u8],
        descriptor: &MessageDescriptor,
        keeps_objects: bool,
    ) -> Result<(Value, Vec<String>), Malformed> {
        let rest = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let mut model =
            Self { rest, keeps_objects, path: Vec::new(), paths: Vec::new(), reported: 0 };
        if model.next() != Some(b'{') {
            return Err(Malformed);
        }
        let message = model.message(descriptor)?;
        if model.next().is_some() {
            model.path.push(Step::Name(Some("(what follows the object)".to_owned())));
            model.report();
        }
        if model.reported > MAX_REPORTS {
            model.paths.push(format!("({} more)", model.reported - MAX_REPORTS));
        }
        Ok((message, model.paths))
    }

    fn value(&mut self, form: &Form) -> Result<Option<Value>, Malformed> {
        match (self.next().ok_or(Malformed)?, form) {
            (b'{', Form::Message(descriptor)) => self.message(descriptor).map(Some),
            (b'[', Form::List(of_entry)) => self.list(of_entry).map(Some),
            (b'{', Form::Object(depth)) if self.keeps_objects => self.object(*depth).map(Some),
            (b'{', Form::Any(depth)) if *depth < MAX_DEPTH => self.object(depth + 1).map(Some),
            (b'[', Form::Any(depth)) if *depth < MAX_DEPTH => {
                self.list(&Form::Any(depth + 2)).map(Some)
            }
            (first, _) => {
                let token = self.skip()?;
                let fitting = match (first, form) {
                    (b'{' | b'[', _) => None,
                    // Too deep, whatever it is.
                    (_, Form::Any(depth)) if *depth > MAX_DEPTH => None,
                    _ => form.scalar(token),
                };
                if fitting.is_none() {
                    self.report();
                }
                Ok(fitting)
            }
        }
    }

    fn message(&mut self, descriptor: &MessageDescriptor) -> Result<Value, Malformed> {
        let mut fields = Map::new();
        self.members(|model, name| {
            let field = name.and_then(|name| descriptor.get_field_by_name(&name));
            let Some(field) = field.filter(|_| !model.next_is_null()) else {
                return model.skip().map(drop);
            };
            if let Some(value) = model.value(&Form::of(&field))?
                && fields.insert(field.name().to_owned(), value).is_some()
            {
                model.report();
            }
            Ok(())
        })?;
        Ok(Value::Object(fields))
    }

    fn object(&mut self, depth: usize) -> Result<Value, Malformed> {
        let mut members = Map::new();
        self.members(|model, name| {
            let Some(name) = name else {
                model.skip()?;
                model.report();
                return Ok(());
            };
            if let Some(value) = model.value(&Form::Any(depth + 2))? {
                members.insert(name, value);
            }
            Ok(())
        })?;
        Ok(Value::Object(members))
    }

    fn list(&mut self, form: &Form) -> Result<Value, Malformed> {
        let mut entries = Vec::new();
        self.sequence(b'[', b']', |model, index| {
            model.path.push(Step::Index(index));
            entries.extend(model.value(form)?);
            model.path.pop();
            Ok(())
        })?;
        Ok(Value::Array(entries))
    }

    /// Calls `member` with the name of each member, if it can be read.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Option<String>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.sequence(b'{', b'}', |model, _| {
            model.next();
            let name: Option<String> = serde_json::from_slice(model.string()?).ok();
            model.expect(b':')?;
            model.path.push(Step::Name(name.clone()));
            member(model, name)?;
            model.path.pop();
            Ok(())
        })
    }

    fn sequence(
        &mut self,
        open: u8,
        close: u8,
        mut entry: impl FnMut(&mut Self, usize) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.expect(open)?;
        if self.next() == Some(close) {
            return self.expect(close);
        }
        for index in 0.. {
            entry(self, index)?;
            if self.next() == Some(close) {
                break;
            }
            self.expect(b',')?;
        }
        self.expect(close)
    }

    /// Whether the next value is null.
    fn next_is_null(&mut self) -> bool {
        let mut ahead = Self { path: Vec::new(), paths: Vec::new(), ..*self };
        ahead.skip().is_ok_and(|token| token == b"null")
    }

    /// Passes a value of which nothing but strings and brackets matters. Returns its text.
    fn skip(&mut self) -> Result<&'a [u8], Malformed> {
        self.next();
        let start = self.rest;
        let mut open = Vec::new();
        loop {
            match self.next().ok_or(Malformed)? {
                b'"' => drop(self.string()?),
                bracket @ (b'{' | b'[') => {
                    open.push(bracket + 2); // `}` and `]` in ASCII
                    self.rest = &self.rest[1..];
                }
                byte @ (b'}' | b']' | b',' | b':') => {
                    let closes = matches!(byte, b'}' | b']');
                    if open.last().is_none_or(|expected| closes && *expected != byte) {
                        return Err(Malformed);
                    }
                    if closes {
                        open.pop();
                    }
                    self.rest = &self.rest[1..];
                }
                _ => {
                    let ends = |byte: &u8| b" \t\r\n\"{}[],:".contains(byte);
                    let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
                    self.rest = &self.rest[length..];
                }
            }
            if open.is_empty() {
                return Ok(&start[..start.len() - self.rest.len()]);
            }
        }
    }

    /// Passes a string. Returns it with its quotes.
    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let text = self.rest;
        let mut bytes = text.iter().enumerate();
        if bytes.next().is_none_or(|(_, byte)| *byte != b'"') {
            return Err(Malformed);
        }
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'\\' => drop(bytes.next()),
                b'"' => {
                    self.rest = &text[at + 1..];
                    return Ok(&text[..=at]);
                }
                _ => {}
            }
        }
        Err(Malformed)
    }

    /// Passes white space. Returns the byte after it.
    fn next(&mut self) -> Option<u8> {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.next() != Some(byte) {
            return Err(Malformed);
        }
        self.rest = &self.rest[1..];
        Ok(())
    }

    fn report(&mut self) {
        self.reported += 1;
        if self.reported > MAX_REPORTS {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Index(index) => path += &format!("[{index}]"),
                Step::Name(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    for char in name.as_deref().unwrap_or("(unreadable)").chars() {
                        match char.is_control() {
                            true => path.extend(char.escape_default()),
                            false => path.push(char),
                        }
                    }
                }
            }
        }
        if path.len() > MAX_PATH {
            path.truncate(path.floor_char_boundary(MAX_PATH));
            path.push('…');
        }
        self.paths.push(path);
    }
}

/// Returns whether `body` is JSON that leaves `prost-reflect` no choice: no object has a name
/// twice, or one in camel case, which protobuf's JSON mapping takes for a field too.
fn is_plain(body: &[u8]) -> bool {
    serde_json::from_slice::<Plain>(body).is_ok_and(|plain| plain.0)
}

struct Plain(bool);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PlainVisitor.deserialize(deserializer)
    }
}

struct PlainVisitor;

impl<'de> DeserializeSeed<'de> for PlainVisitor {
    type Value = Plain;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Plain, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain(true))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Plain, E> {
        Ok(Plain(true))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Plain, E> {
        Ok(Plain(true))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Plain, E> {
        Ok(Plain(true))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Plain, E> {
        Ok(Plain(true))
    }

    fn visit_str<E>(self, _: &str) -> Result<Plain, E> {
        Ok(Plain(true))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Plain, A::Error> {
        let mut plain = true;
        while let Some(entry) = seq.next_element::<Plain>()? {
            plain &= entry.0;
        }
        Ok(Plain(plain))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain, A::Error> {
        let (mut plain, mut names) = (true, HashSet::new());
        while let Some(name) = map.next_key::<String>()? {
            plain &= !name.contains(|it: char| it.is_uppercase() || it == '[');
            plain &= names.insert(name);
            plain &= map.next_value::<Plain>()?.0;
        }
        Ok(Plain(plain))
    }
}
