//! The JSON form of message fields, where serde's derives do not match Stytch's JSON.
//!
//! The messages use prost-types rather than pbjson-types, which turns a null inside a list into a
//! value without a kind, refuses null for a plain scalar, and writes whole numbers as `5.0`.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Returns whether `json` parses as a `T`.
pub(super) fn fits<T: DeserializeOwned>(json: &[u8]) -> bool {
    serde_json::from_slice::<T>(json).is_ok()
}

/// Reads null as the default value: Stytch sends nulls where its schema has none.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A message that deserializes from a JSON object only. serde's derive would also accept an array,
/// and fill the fields by position.
#[derive(Debug)]
pub struct FromObject<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FromObjectVisitor(PhantomData))
    }
}

struct FromObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FromObjectVisitor<T> {
    type Value = FromObject<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(FromObject)
    }
}

/// Reads an object or null.
pub fn message<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<FromObject<T>>::deserialize(deserializer)?.map(|read| read.0))
}

/// Reads a list of objects or null.
pub fn messages<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let read: Vec<FromObject<T>> = null_as_default(deserializer)?;
    Ok(read.into_iter().map(|read| read.0).collect())
}

/// `google.protobuf.Timestamp` as RFC 3339 text.
pub mod timestamp {
    use std::{borrow::Cow, fmt};

    use prost_types::Timestamp;
    use serde::{
        Deserializer, Serializer,
        de::{Error, Visitor},
    };

    /// Writes the time in UTC, with as many decimals as needed.
    pub fn serialize<S: Serializer>(
        value: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(timestamp) => serializer.collect_str(timestamp),
            None => serializer.serialize_none(),
        }
    }

    /// Reads RFC 3339 text or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        deserializer.deserialize_option(OptionalTimestamp)
    }

    /// Returns whether `json` is an RFC 3339 timestamp.
    pub(in crate::proto) fn fits(json: &[u8]) -> bool {
        let time = deserialize(&mut serde_json::Deserializer::from_slice(json));
        time.is_ok_and(|time| time.is_some())
    }

    struct OptionalTimestamp;

    impl<'de> Visitor<'de> for OptionalTimestamp {
        type Value = Option<Timestamp>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an RFC 3339 timestamp")
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
            let text: Cow<'de, str> = serde::Deserialize::deserialize(d)?;
            // The error does not quote the value, which may be a secret.
            text.parse().map(Some).map_err(|_| D::Error::custom("not an RFC 3339 timestamp"))
        }
    }
}

/// `google.protobuf.Struct` as a JSON object. Nulls survive at every depth, and whole numbers up to
/// 2^53 are written as whole numbers. An object that is too deep for clients is refused.
pub mod object {
    use std::{collections::BTreeMap, fmt};

    use prost_types::{ListValue, Struct, Value, value::Kind};
    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
    };

    use crate::proto::depth::Depth;

    /// The largest number up to which a double represents every whole number exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;

    /// Writes the object, with its fields in the order of their names.
    pub fn serialize<S: Serializer>(
        value: &Option<Struct>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(object) => serializer.collect_map(members(object)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads an object or null, as a `Struct` at depth `DEPTH`.
    pub fn deserialize<'de, const DEPTH: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Struct>, D::Error> {
        Ok(Option::<Object<DEPTH>>::deserialize(deserializer)?.map(|object| object.0))
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

    struct Object<const DEPTH: usize>(Struct);

    impl<'de, const DEPTH: usize> Deserialize<'de> for Object<DEPTH> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(ObjectVisitor)
        }
    }

    struct ObjectVisitor<const DEPTH: usize>;

    impl<'de, const DEPTH: usize> Visitor<'de> for ObjectVisitor<DEPTH> {
        type Value = Object<DEPTH>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<DEPTH>, A::Error> {
            read_members(map, Depth(DEPTH)).map(Object)
        }
    }

    fn read_members<'de, A: MapAccess<'de>>(mut map: A, depth: Depth) -> Result<Struct, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(name) = map.next_key()? {
            fields.insert(name, map.next_value_seed(AnyValue(depth.of_member()))?);
        }
        Ok(Struct { fields })
    }

    fn too_deep<E: Error>() -> E {
        E::custom("too deep")
    }

    /// Reads a `Value` at this depth; `None` is too deep.
    struct AnyValue(Option<Depth>);

    impl<'de> DeserializeSeed<'de> for AnyValue {
        type Value = Value;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
            deserializer.deserialize_any(AnyVisitor(self.0.ok_or_else(too_deep)?))
        }
    }

    struct AnyVisitor(Depth);

    impl<'de> Visitor<'de> for AnyVisitor {
        type Value = Value;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON value")
        }

        fn visit_unit<E: Error>(self) -> Result<Value, E> {
            Ok(Value { kind: Some(Kind::NullValue(0)) })
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
            Ok(Value { kind: Some(Kind::BoolValue(value)) })
        }

        #[allow(clippy::cast_precision_loss)] // a protobuf number is a double
        fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
            self.visit_f64(value as f64)
        }

        #[allow(clippy::cast_precision_loss)] // a protobuf number is a double
        fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
            self.visit_f64(value as f64)
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
            Ok(Value { kind: Some(Kind::NumberValue(value)) })
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
            self.visit_string(value.to_owned())
        }

        fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
            Ok(Value { kind: Some(Kind::StringValue(value)) })
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
            let depth = self.0.of_content().ok_or_else(too_deep)?;
            let mut values = Vec::new();
            while let Some(value) = seq.next_element_seed(AnyValue(depth.of_entry()))? {
                values.push(value);
            }
            Ok(Value { kind: Some(Kind::ListValue(ListValue { values })) })
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
            let object = read_members(map, self.0.of_content().ok_or_else(too_deep)?)?;
            Ok(Value { kind: Some(Kind::StructValue(object)) })
        }
    }
}
