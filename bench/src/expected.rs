//! Checks responses.

use std::cell::RefCell;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage as _};

use crate::grpc::Reply;

/// The response that every call must get.
pub struct Expected {
    message: DynamicMessage,
    /// Bytes that were decoded once and found to be the message. Encodings may differ in the order
    /// of map entries.
    known: RefCell<Vec<Bytes>>,
}

impl Expected {
    pub fn new(message: &DynamicMessage) -> Self {
        Self { message: normal(message), known: RefCell::default() }
    }

    /// Checks that a call succeeded with the expected message.
    pub fn check(&self, reply: &Reply) -> Result<(), String> {
        if reply.code != 0 {
            return Err(format!("status {}: {:?}", reply.code, reply.text));
        }
        if self.known.borrow().iter().any(|known| known == &reply.framed) {
            return Ok(());
        }
        let length =
            reply.framed.get(1..5).map_or(0, |it| u32::from_be_bytes(it.try_into().unwrap()));
        let message = reply.framed.get(5..).unwrap_or_default();
        if message.len() != length as usize {
            return Err(format!("{} bytes after a prefix of {length}", message.len()));
        }
        let message = DynamicMessage::decode(self.message.descriptor(), message)
            .map_err(|error| error.to_string())?;
        let message = normal(&message);
        if message != self.message {
            return Err(difference(&self.message, &message));
        }
        self.known.borrow_mut().push(reply.framed.clone());
        Ok(())
    }
}

/// Returns the message without the fields that are set to their default, which JSON has and some
/// encoders write.
fn normal(message: &DynamicMessage) -> DynamicMessage {
    let encoded = message.encode_to_vec();
    DynamicMessage::decode(message.descriptor(), &*encoded).expect("what was just encoded")
}

/// Names the fields that differ, without their values.
fn difference(expected: &DynamicMessage, actual: &DynamicMessage) -> String {
    let mut paths = Vec::new();
    find_differences(expected, actual, "", &mut paths);
    format!("unexpected values of {}", paths.join(", "))
}

fn find_differences(
    expected: &DynamicMessage,
    actual: &DynamicMessage,
    path: &str,
    paths: &mut Vec<String>,
) {
    for field in expected.descriptor().fields() {
        let (expected, actual) = (expected.get_field(&field), actual.get_field(&field));
        let path = format!("{path}{}", field.name());
        match (expected.as_message(), actual.as_message()) {
            _ if expected == actual => {}
            (Some(expected), Some(actual)) if expected != actual => {
                find_differences(expected, actual, &format!("{path}."), paths);
            }
            _ => paths.push(path),
        }
    }
}
