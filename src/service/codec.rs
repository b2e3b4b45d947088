//! The codec of the services: it decodes requests, and passes on responses that are encoded.

use std::marker::PhantomData;

use bytes::BufMut as _;
use tonic::{
    Status,
    codec::{self, BufferSettings, EncodeBuf},
};
use tonic_prost::ProstDecoder;

use crate::translate::Encoded;

/// The buffer of a request, in bytes. It grows for the few that are longer.
const REQUEST_BUFFER: usize = 512;

/// A codec for requests of type `Req` and encoded responses of type `Res`.
#[derive(Debug)]
pub struct Codec<Res, Req>(PhantomData<fn(Req) -> Res>);

impl<Res, Req> Default for Codec<Res, Req> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Res, Req> codec::Codec for Codec<Res, Req>
where
    Res: 'static,
    Req: prost::Message + Default + 'static,
{
    type Encode = Encoded<Res>;
    type Decode = Req;
    type Encoder = Encoder<Res>;
    type Decoder = ProstDecoder<Req>;

    fn encoder(&mut self) -> Encoder<Res> {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<Req> {
        ProstDecoder::new(buffer(REQUEST_BUFFER))
    }
}

fn buffer(size: usize) -> BufferSettings {
    let one_message = 0;
    BufferSettings::new(size, one_message)
}

/// Writes an encoded response. A successful response has a body of its own, see
/// [`WholeBody`](super::WholeBody), so that this one is hardly ever polled.
#[derive(Debug)]
pub struct Encoder<Res>(PhantomData<fn() -> Res>);

impl<Res> codec::Encoder for Encoder<Res> {
    type Item = Encoded<Res>;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        buffer(0)
    }

    fn encode(&mut self, response: Encoded<Res>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(response.into_bytes());
        Ok(())
    }
}
