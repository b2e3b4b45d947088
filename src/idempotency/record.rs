//! What a record holds: the fingerprint of the request, the outcome of the call, and where its
//! trace is. The wire format of all three.

use bytes::Bytes;
use prost::Message;
use tonic::{
    Code, Status,
    metadata::{KeyAndValueRef, MetadataKey, MetadataMap},
};

use super::{
    key::{Fingerprint, RecordId},
    seal::Sealer,
};
use crate::{status, telemetry::trace::Ids, translate::Encoded};

/// A call that has ended.
#[derive(Clone)]
pub(super) struct Ended {
    /// The response, whatever its message, or the failure.
    pub(super) result: Result<Encoded<()>, status::Failure>,
    /// Its span, if that is recorded.
    pub(super) span: Option<Ids>,
}

impl Ended {
    /// Whether a retry with the same key gets this result, rather than being executed.
    pub(super) fn is_remembered(&self) -> bool {
        self.result.as_ref().map_or_else(status::Failure::is_remembered, |_| true)
    }
}

/// What a record says to a call with its key.
pub(super) enum Found {
    /// The key is claimed, and the outcome is not recorded.
    Pending,
    /// The call has ended.
    Ended(Ended),
    /// The key was used for another request.
    Reused,
    /// The record was encrypted with another key, or is damaged.
    Unreadable,
}

/// Encrypts the record of a claim.
pub(super) fn seal_pending(sealer: &Sealer, id: RecordId, fingerprint: Fingerprint) -> Vec<u8> {
    sealer.seal(id, &Plain::new(fingerprint))
}

/// Encrypts the record of a call that has ended.
pub(super) fn seal_ended(
    ended: &Ended,
    sealer: &Sealer,
    id: RecordId,
    fingerprint: Fingerprint,
) -> Vec<u8> {
    let mut plain = Plain::new(fingerprint);
    plain.span = ended.span.map(|span| span.to_bytes().to_vec()).unwrap_or_default();
    match &ended.result {
        Ok(answer) => plain.answer = Some(answer.clone().into_bytes()),
        Err(failure) => plain.failure = Some((&Status::from(failure.clone())).into()),
    }
    sealer.seal(id, &plain)
}

/// Decrypts a record for a call with its key.
pub(super) fn open(
    sealed: &[u8],
    sealer: &Sealer,
    id: RecordId,
    fingerprint: Fingerprint,
) -> Found {
    let plain = sealer.open(id, sealed).and_then(|plain| Plain::decode(plain.as_slice()).ok());
    match plain {
        None => Found::Unreadable,
        Some(plain) if plain.fingerprint != fingerprint.as_ref() => Found::Reused,
        Some(plain) => {
            let span = Ids::from_bytes(&plain.span);
            let result = match (plain.answer, plain.failure) {
                (Some(answer), _) => Ok(Encoded::new(&answer)),
                (None, Some(failure)) => Err(status::Failure::recorded(failure.into())),
                (None, None) => return Found::Pending,
            };
            Found::Ended(Ended { result, span })
        }
    }
}

/// A record before it is encrypted. It is protobuf, so that different versions of the program read
/// each other's.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Plain {
    #[prost(bytes = "vec", tag = "1")]
    fingerprint: Vec<u8>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    answer: Option<Bytes>,
    #[prost(message, optional, tag = "3")]
    failure: Option<Failure>,
    /// [`Ids::to_bytes`]; empty in a record of a version without traces.
    #[prost(bytes = "vec", tag = "4")]
    span: Vec<u8>,
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

impl Plain {
    fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint: fingerprint.as_ref().to_vec(), ..Self::default() }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as versions without traces write and read it.
    #[derive(Clone, PartialEq, Message)]
    struct Older {
        #[prost(bytes = "vec", tag = "1")]
        fingerprint: Vec<u8>,
        #[prost(bytes = "bytes", optional, tag = "2")]
        answer: Option<Bytes>,
    }

    #[test]
    fn records_with_and_without_a_span_are_read_by_versions_with_and_without_traces() {
        let (sealer, id) = (Sealer::random(), RecordId::of_test("a"));
        let fingerprint = Fingerprint::of(&Older::default());
        let answer = Bytes::from_static(b"answer");
        let span = Ids::new(7, 8, true);
        let ended = Ended { result: Ok(Encoded::new(&answer)), span };

        let newer = seal_ended(&ended, &sealer, id, fingerprint);
        let read = Older::decode(sealer.open(id, &newer).unwrap().as_slice()).unwrap();
        let older = Older { fingerprint: fingerprint.as_ref().to_vec(), answer: Some(answer) };
        assert!(read == older);

        let older = sealer.seal(id, &older);
        for (sealed, expected) in [(newer, span), (older, None)] {
            let Found::Ended(ended) = open(&sealed, &sealer, id, fingerprint) else {
                panic!("a record of a call that has ended")
            };
            assert_eq!(ended.span, expected);
            assert!(matches!(ended.result, Ok(answer) if answer.clone().into_bytes() == "answer"));
        }
    }
}
