//! The RPCs of the contract, called with JSON.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use prost::Message;
use serde::Serialize;
use serde_json::value::RawValue;
use tonic::{Request, Response, Status, client::Grpc, metadata::MetadataMap, transport::Channel};
use tonic_prost::ProstCodec;

use super::{connection::Connection, failure::CallFailure};
use crate::{
    idempotency::Key,
    proto::{self, Described, Field, Method, metadata},
    translate::{FromJson, Inexact, Table, translate_exactly},
};

/// Every RPC of the contract.
pub static RPCS: &[Rpc] = &proto::rpcs!(rpc);

/// An RPC, with its types hidden behind its functions.
#[derive(Debug)]
pub struct Rpc {
    /// Its names and its comment.
    pub method: &'static Method,
    /// The fields of its request.
    pub request: &'static [Field],
    response: &'static Table,
    encode: fn(&str) -> Result<Bytes, Inexact>,
    call: CallFn,
}

type CallFn = for<'a> fn(
    &'a Connection,
    &'static Method,
    Bytes,
    &'a Options,
) -> BoxFuture<'a, Result<Answer, CallFailure>>;

/// How to make a call.
#[derive(Debug)]
pub struct Options {
    /// The time for connecting and the call together.
    pub deadline: Duration,
    metadata: MetadataMap,
}

/// The response of a call that succeeded.
#[derive(Debug)]
pub struct Answer {
    /// The message as JSON with Stytch's field names, indented.
    pub json: Box<RawValue>,
    metadata: MetadataMap,
}

const fn rpc<Req, Res>(method: &'static Method) -> Rpc
where
    Req: Message + Described + FromJson + Default + 'static,
    Res: Message + FromJson + Serialize + Default + 'static,
{
    let call: CallFn = |connection, method, request, options| {
        Box::pin(call::<Req, Res>(connection, method, request, options))
    };
    Rpc { method, request: Req::FIELDS, response: Res::TABLE, encode: encode::<Req>, call }
}

impl Rpc {
    /// Returns the RPC with this full name.
    pub fn named(name: &str) -> Option<&'static Self> {
        RPCS.iter().find(|rpc| rpc.method.name == name)
    }

    /// Whether the response has a field of this name.
    pub fn responds_with(&self, field: &str) -> bool {
        self.response.field(field).is_some()
    }

    /// Reads a request from JSON. Unlike a response of Stytch's it must fit exactly: an unknown
    /// field is probably a typing error.
    ///
    /// # Errors
    ///
    /// Says what does not fit. No error quotes a value, which may be a token.
    pub fn request(&self, json: &str) -> Result<Bytes, Inexact> {
        (self.encode)(json)
    }

    /// Makes the call.
    ///
    /// # Errors
    ///
    /// Says why the call failed.
    pub async fn call(
        &self,
        connection: &Connection,
        request: Bytes,
        options: &Options,
    ) -> Result<Answer, CallFailure> {
        (self.call)(connection, self.method, request, options).await
    }
}

impl Options {
    /// Makes calls with this deadline.
    pub fn new(deadline: Duration) -> Self {
        Self { deadline, metadata: MetadataMap::new() }
    }

    /// Adds an idempotency key, which must be one that the façade accepts.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the key.
    pub fn with_key(mut self, key: &str) -> Result<Self, &'static str> {
        let value = key.parse().map_err(|_| "must be visible ASCII")?;
        self.metadata.insert(metadata::IDEMPOTENCY_KEY, value);
        Key::of(&self.metadata)?;
        Ok(self)
    }
}

impl Answer {
    /// Whether this is the response to an earlier call with the same idempotency key.
    pub fn is_replayed(&self) -> bool {
        self.metadata.contains_key(metadata::IDEMPOTENT_REPLAYED)
    }

    /// Returns Stytch's request id.
    pub fn request_id(&self) -> Option<&str> {
        self.metadata.get(metadata::STYTCH_REQUEST_ID).and_then(|id| id.to_str().ok())
    }
}

fn encode<Req: FromJson>(json: &str) -> Result<Bytes, Inexact> {
    translate_exactly::<Req>(json.as_bytes()).map(|encoded| encoded.into_bytes())
}

async fn call<Req, Res>(
    connection: &Connection,
    method: &'static Method,
    request: Bytes,
    options: &Options,
) -> Result<Answer, CallFailure>
where
    Req: Message + Default + 'static,
    Res: Message + Serialize + Default + 'static,
{
    let message = Req::decode(request).expect("the translation makes messages");
    let mut request = Request::new(message);
    *request.metadata_mut() = options.metadata.clone();
    let unary = |channel, request| unary::<Req, Res>(channel, method, request);
    let response = connection.call(request, options.deadline, unary).await?;
    let (metadata, message, _) = response.into_parts();
    let json = serde_json::to_string_pretty(&message).and_then(RawValue::from_string);
    let json = json.expect("a message is JSON");
    Ok(Answer { json, metadata })
}

/// Makes a unary call of any method, which the generated clients do by a function for each.
async fn unary<Req, Res>(
    channel: Channel,
    method: &Method,
    request: Request<Req>,
) -> Result<Response<Res>, Status>
where
    Req: Message + 'static,
    Res: Message + Default + 'static,
{
    let path = PathAndQuery::try_from(format!("/{}", method.name));
    let path = path.map_err(|error| Status::from_error(error.into()))?;
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    client.unary(request, path, ProstCodec::<Req, Res>::default()).await
}
