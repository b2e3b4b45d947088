//! Writes the protobuf wire format.

use std::ops::Range;

use prost::encoding::{
    DecodeContext, WireType, decode_key, encode_varint, encoded_len_varint, skip_field,
};
use prost_types::Timestamp;

/// The length of what gRPC puts before a message: whether it is compressed, and its length.
pub(super) const PREFIX: usize = 5;

/// A message that is being encoded, after its prefix.
pub(super) struct Wire(Vec<u8>);

/// The start of a nested message whose length is not yet known.
pub(super) struct Open {
    /// The position of its length.
    at: usize,
}

impl Wire {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(PREFIX + capacity);
        bytes.extend([0; PREFIX]);
        Self(bytes)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the bytes, to append to.
    pub(super) fn as_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Returns the message with its prefix.
    pub(super) fn into_frame(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - PREFIX).unwrap_or(u32::MAX);
        self.0[PREFIX - size_of::<u32>()..PREFIX].copy_from_slice(&length.to_be_bytes());
        self.0
    }

    #[inline]
    pub(super) fn text(&mut self, number: u32, text: &[u8]) {
        self.key(number, WireType::LengthDelimited);
        self.varint(text.len());
        self.0.extend_from_slice(text);
    }

    /// Writes a bool, an enumeration or a 32-bit integer.
    pub(super) fn int32(&mut self, number: u32, value: i32) {
        prost::encoding::int32::encode(number, &value, &mut self.0);
    }

    pub(super) fn double(&mut self, number: u32, value: f64) {
        self.key(number, WireType::SixtyFourBit);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn timestamp(&mut self, number: u32, timestamp: &Timestamp) {
        prost::encoding::message::encode(number, timestamp, &mut self.0);
    }

    /// Begins a nested message.
    #[inline]
    pub(super) fn open(&mut self, number: u32) -> Open {
        self.key(number, WireType::LengthDelimited);
        self.0.push(0);
        Open { at: self.0.len() - 1 }
    }

    /// Writes the length of a nested message or a text that ends here.
    #[inline]
    pub(super) fn set_length(&mut self, Open { at }: Open, length: u8) {
        self.0[at] = length;
    }

    /// Ends a nested message, and writes its length before it.
    #[inline]
    pub(super) fn close(&mut self, Open { at }: Open) {
        let length = self.0.len() - (at + 1);
        match u8::try_from(length) {
            Ok(length @ 0..0x80) => self.0[at] = length,
            _ => self.widen(at, length),
        }
    }

    /// Writes a length of several bytes. That moves the message, which costs less than to find the
    /// length in a pass of its own.
    #[cold]
    fn widen(&mut self, at: usize, length: usize) {
        let mut prefix = [0; 10];
        encode_varint(length as u64, &mut prefix.as_mut_slice());
        let width = encoded_len_varint(length as u64);
        self.0.resize(at + width + length, 0);
        self.0.copy_within(at + 1..at + 1 + length, at + width);
        self.0[at..at + width].copy_from_slice(&prefix[..width]);
    }

    #[inline]
    fn key(&mut self, number: u32, wire_type: WireType) {
        self.varint((number << 3 | wire_type as u32) as usize);
    }

    /// Writes a number, which nearly always takes one byte or two.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // at most seven bits are left
    fn varint(&mut self, value: usize) {
        match value {
            0..0x80 => self.0.push(value as u8),
            0x80..0x4000 => self.0.extend([value as u8 | 0x80, (value >> 7) as u8]),
            _ => encode_varint(value as u64, &mut self.0),
        }
    }

    /// Forgets what was written from `length` on.
    pub(super) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// Removes the values of a field at the start of a part of the message. Returns their length.
    pub(super) fn remove_values(&mut self, number: u32, part: Range<usize>) -> usize {
        let values = &self.0[part.clone()];
        let mut rest = values;
        loop {
            let mut next = rest;
            match decode_key(&mut next) {
                Ok((other, wire_type)) if other == number => {
                    skip_field(wire_type, number, &mut next, DecodeContext::default())
                        .expect("what was encoded");
                    rest = next;
                }
                _ => break,
            }
        }
        let length = values.len() - rest.len();
        self.0.drain(part.start..part.start + length);
        length
    }
}
