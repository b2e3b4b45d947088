//! What is remembered of a call: what it asked for, and what it was told.

use bytes::Bytes;
use prost::Message;
use tonic::{
    Code, Status,
    metadata::{KeyAndValueRef, MetadataKey, MetadataMap},
};

use super::{
    key::{Fingerprint, Identity},
    seal::Sealer,
};
use crate::status;

/// What a call was told.
#[derive(Clone)]
pub(super) enum Outcome {
    /// The encoded answer.
    Answer(Bytes),
    /// A failure.
    Failure(status::Failure),
}

/// A record as it is kept.
pub(super) enum Record {
    /// The call is under way, or was when its process ended.
    Pending,
    /// The call has ended.
    Ended(Outcome),
}

/// Why a record is not what a call is told.
pub(super) enum Unusable {
    /// It is of another request.
    Reused,
    /// It was sealed with another key, and tells nothing.
    Sealed,
}

/// The plain form, in protobuf so that versions of the program read each other's.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Plain {
    #[prost(bytes = "vec", tag = "1")]
    fingerprint: Vec<u8>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    answer: Option<Bytes>,
    #[prost(message, optional, tag = "3")]
    failure: Option<Failure>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Failure {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(bytes = "bytes", tag = "3")]
    details: Bytes,
    #[prost(message, repeated, tag = "4")]
    metadata: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl Record {
    pub(super) fn seal(
        &self,
        sealer: &Sealer,
        identity: &Identity,
        fingerprint: Fingerprint,
    ) -> Vec<u8> {
        let mut plain = Plain { fingerprint: fingerprint.as_ref().to_vec(), ..Plain::default() };
        match self {
            Self::Pending => {}
            Self::Ended(Outcome::Answer(answer)) => plain.answer = Some(answer.clone()),
            Self::Ended(Outcome::Failure(failure)) => {
                plain.failure = Some((&Status::from(failure.clone())).into());
            }
        }
        sealer.seal(identity, &zeroize::Zeroizing::new(plain.encode_to_vec()))
    }

    pub(super) fn open(
        sealed: &[u8],
        sealer: &Sealer,
        identity: &Identity,
        fingerprint: Fingerprint,
    ) -> Result<Self, Unusable> {
        let plain = sealer.open(identity, sealed).ok_or(Unusable::Sealed)?;
        let plain = Plain::decode(plain.as_slice()).map_err(|_| Unusable::Sealed)?;
        if plain.fingerprint != fingerprint.as_ref() {
            return Err(Unusable::Reused);
        }
        Ok(match (plain.answer, plain.failure) {
            (Some(answer), _) => Self::Ended(Outcome::Answer(answer)),
            (None, Some(failure)) => {
                Self::Ended(Outcome::Failure(status::Failure::recorded(failure.into())))
            }
            (None, None) => Self::Pending,
        })
    }
}

impl Outcome {
    /// Whether a repetition is told the same.
    pub(super) fn is_remembered(&self) -> bool {
        match self {
            Self::Answer(_) => true,
            Self::Failure(failure) => failure.is_remembered(),
        }
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        let metadata = status.metadata().iter().filter_map(|entry| match entry {
            KeyAndValueRef::Ascii(key, value) => {
                Some(Entry { key: key.to_string(), value: value.to_str().ok()?.to_owned() })
            }
            KeyAndValueRef::Binary(..) => None,
        });
        Self {
            code: status.code() as i32,
            message: status.message().to_owned(),
            details: Bytes::copy_from_slice(status.details()),
            metadata: metadata.collect(),
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut metadata = MetadataMap::new();
        for Entry { key, value } in failure.metadata {
            if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
                metadata.insert(key, value);
            }
        }
        let code = Code::from_i32(failure.code);
        Self::with_details_and_metadata(code, failure.message, failure.details, metadata)
    }
}
