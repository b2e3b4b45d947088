//! How messages are written as JSON, where serde's derive does not match Stytch's JSON.
//!
//! The messages use prost-types rather than pbjson-types, which writes whole numbers as `5.0`. JSON
//! is read by [`translate`](crate::translate).

use prost_types::{Struct, Timestamp, Value, value::Kind};
use serde::{Serialize, Serializer};

/// The largest number up to which a double represents every whole number exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes a timestamp as RFC 3339 text in UTC, with as many decimals as needed.
pub fn timestamp<S: Serializer>(
    value: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(timestamp) => serializer.collect_str(timestamp),
        None => serializer.serialize_none(),
    }
}

/// Writes a `Struct` as a JSON object, with its fields in the order of their names. Nulls survive
/// at every depth, and whole numbers up to 2^53 are written as whole numbers.
pub fn object<S: Serializer>(value: &Option<Struct>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(object) => serializer.collect_map(members(object)),
        None => serializer.serialize_none(),
    }
}

fn members(object: &Struct) -> impl Iterator<Item = (&String, Json<'_>)> {
    object.fields.iter().map(|(name, value)| (name, Json(value)))
}

/// A protobuf value that serializes as the JSON it represents.
struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.kind {
            None | Some(Kind::NullValue(_)) => serializer.serialize_unit(),
            Some(Kind::BoolValue(value)) => serializer.serialize_bool(*value),
            Some(Kind::StringValue(value)) => serializer.serialize_str(value),
            Some(Kind::ListValue(list)) => serializer.collect_seq(list.values.iter().map(Json)),
            Some(Kind::StructValue(object)) => serializer.collect_map(members(object)),
            Some(Kind::NumberValue(number)) => {
                if number.fract() == 0.0 && number.abs() <= EXACT {
                    #[allow(clippy::cast_possible_truncation)] // whole and below 2^53
                    serializer.serialize_i64(*number as i64)
                } else {
                    serializer.serialize_f64(*number)
                }
            }
        }
    }
}
