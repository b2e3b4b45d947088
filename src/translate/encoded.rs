//! An encoded message, and the few values that are read from it.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use prost::encoding::{WireType, decode_varint};

use super::{
    table::FromJson,
    wire::{PREFIX, Wire},
};

/// An encoded `T`. Clones share its bytes.
pub struct Encoded<T> {
    /// The message with its prefix.
    frame: Bytes,
    message: PhantomData<fn() -> T>,
}

impl<T> Encoded<T> {
    /// Copies an encoded message.
    pub fn new(message: &[u8]) -> Self {
        let mut wire = Wire::with_capacity(message.len());
        wire.as_mut().extend_from_slice(message);
        Self::from_frame(wire.into_frame())
    }

    /// Wraps a message with its prefix.
    pub(super) fn from_frame(frame: Vec<u8>) -> Self {
        Self { frame: frame.into(), message: PhantomData }
    }

    /// Returns the message as gRPC sends it: after a prefix with its length.
    pub fn into_frame(self) -> Bytes {
        self.frame
    }

    /// Returns the encoded message.
    pub fn into_bytes(self) -> Bytes {
        self.frame.slice(PREFIX..)
    }

    /// Returns the same message as a `U`, for what keeps messages whatever they are.
    pub fn cast<U>(self) -> Encoded<U> {
        Encoded { frame: self.frame, message: PhantomData }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.frame[PREFIX..]
    }
}

impl<T: FromJson> Encoded<T> {
    /// Returns the value of a text field of the message itself; `None` if the message has no such
    /// field or it is not set.
    pub fn text(&self, name: &str) -> Option<&str> {
        let number = T::TABLE.field(name)?.number;
        let values = fields(self.as_bytes()).filter(|(field, _)| *field == number);
        str::from_utf8(values.last()?.1).ok()
    }

    /// Returns Stytch's id of the call, if the message has it.
    pub fn request_id(&self) -> Option<&str> {
        self.text("request_id")
    }

    /// Returns whether a field of the message itself is set, or a list is not empty.
    pub fn is_set(&self, name: &str) -> bool {
        let number = T::TABLE.field(name).map(|field| field.number);
        fields(self.as_bytes()).any(|(field, _)| Some(field) == number)
    }
}

impl<T> Clone for Encoded<T> {
    fn clone(&self) -> Self {
        Self { frame: self.frame.clone(), message: PhantomData }
    }
}

/// The message may contain secrets.
impl<T> fmt::Debug for Encoded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("length", &self.as_bytes().len()).finish_non_exhaustive()
    }
}

/// Returns the number and the content of each field of a message, up to one that cannot be read.
/// The content of a varint is empty.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let key = varint(&mut message)?;
        let length = match WireType::try_from(key & 7).ok()? {
            WireType::Varint => varint(&mut message).map(|_| 0)?,
            WireType::LengthDelimited => usize::try_from(varint(&mut message)?).ok()?,
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (content, rest) = message.split_at_checked(length)?;
        message = rest;
        Some((u32::try_from(key >> 3).ok()?, content))
    })
}

/// Reads a number, which often takes one byte.
#[inline]
fn varint(message: &mut &[u8]) -> Option<u64> {
    match message.split_first()? {
        (byte, rest) if *byte < 0x80 => {
            *message = rest;
            Some((*byte).into())
        }
        _ => decode_varint(message).ok(),
    }
}
