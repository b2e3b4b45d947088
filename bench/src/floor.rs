//! The floor: what a gRPC service in front of an HTTP API costs at least, with the same libraries.
//!
//! It takes a gRPC request, posts a prepared body over a pooled connection, reads the response, and
//! answers with a prepared message. It decodes and records nothing.

use std::task::{Context, Poll};
use std::{convert::Infallible, net::SocketAddr, path::Path, pin::Pin};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::signal::unix::{SignalKind, signal};
use tonic::{
    Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService},
    transport::{Server, server::TcpIncoming},
};
use tower_service::Service;

use crate::{Fallible, contract};

/// Serves on a free port, which it prints. `answer` is the file with the encoded response.
pub async fn serve(upstream: SocketAddr, answer: &Path) -> Fallible<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let forward = Forward {
        client: Client::builder(TokioExecutor::new()).build(connector),
        upstream: format!("http://{upstream}{}", contract::CREATE_PATH).parse()?,
        answer: std::fs::read(answer)?.into(),
    };
    let mut terminated = signal(SignalKind::terminate())?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("grpc listening on {}", listener.local_addr()?);
    let server = Server::builder()
        .max_concurrent_streams(1024)
        .add_service(forward)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    tokio::select! {
        ended = server => Ok(ended?),
        // A clean end, after which callgrind writes what it has counted.
        _ = terminated.recv() => Ok(()),
    }
}

const BODY: &str = r#"{"organization_id":"example-works","member_id":"fresh"}"#;

#[derive(Clone)]
struct Forward {
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: http::Uri,
    answer: Bytes,
}

impl Forward {
    async fn forward(self) -> Result<Bytes, Status> {
        let request = Request::post(self.upstream)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, "Basic cHJvamVjdC10ZXN0LTE6c2VjcmV0LXRlc3QtMQ==")
            .body(Full::new(Bytes::from_static(BODY.as_bytes())))
            .map_err(internal)?;
        let response = self.client.request(request).await.map_err(internal)?;
        let body = response.into_body().collect().await.map_err(internal)?;
        // The answer is prepared; the whole body must have come none the less.
        if body.to_bytes().len() < self.answer.len() / 2 {
            return Err(Status::internal("short answer"));
        }
        Ok(self.answer)
    }
}

fn internal(error: impl std::error::Error) -> Status {
    Status::internal(error.to_string())
}

impl NamedService for Forward {
    const NAME: &'static str = contract::SERVICE;
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Later<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = Method(self.clone());
        Box::pin(async move { Ok(Grpc::new(Raw).unary(method, request).await) })
    }
}

struct Method(Forward);

impl tonic::server::UnaryService<Bytes> for Method {
    type Response = Bytes;
    type Future = Later<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        let forward = self.0.clone();
        Box::pin(async move { forward.forward().await.map(tonic::Response::new) })
    }
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
