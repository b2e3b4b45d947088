//! A receiver of traces, as OpenTelemetry's collector is one.

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use tonic::{
    Request, Response, Status, async_trait,
    codec::CompressionEncoding,
    transport::{Identity, ServerTlsConfig, server::TcpIncoming},
};
use totp_facade::{
    otlp::{Protocol, Settings},
    telemetry::trace::{Options, Root, Sampler},
};

/// A receiver that keeps what it gets.
#[derive(Clone)]
pub struct Receiver {
    pub addr: SocketAddr,
    pub protocol: Protocol,
    got: Arc<Mutex<Vec<Got>>>,
}

/// A request with spans.
pub struct Got {
    pub headers: HeaderMap,
    pub request: ExportTraceServiceRequest,
}

impl Receiver {
    pub async fn start(protocol: Protocol) -> Self {
        let listener = super::listener().await;
        let addr = listener.local_addr().unwrap();
        let this = Self { addr, protocol, got: Arc::default() };
        let receiver = this.clone();
        match protocol {
            Protocol::Grpc => {
                let service = TraceServiceServer::new(receiver);
                let service = service.accept_compressed(CompressionEncoding::Gzip);
                let server = tonic::transport::Server::builder().add_service(service);
                tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
            }
            Protocol::Http => {
                let take = async move |headers: HeaderMap, body: Bytes| {
                    assert_eq!(headers["content-type"], "application/x-protobuf");
                    let mut plain = Vec::new();
                    match headers.get("content-encoding") {
                        Some(_) => drop(GzDecoder::new(&*body).read_to_end(&mut plain).unwrap()),
                        None => plain.extend_from_slice(&body),
                    }
                    let request = ExportTraceServiceRequest::decode(&*plain).unwrap();
                    receiver.got.lock().unwrap().push(Got { headers, request });
                };
                let router = Router::new().route("/v1/traces", post(take));
                tokio::spawn(async { axum::serve(listener, router).await });
            }
        }
        this
    }

    /// Starts a receiver of gRPC with TLS.
    pub async fn start_with_tls(certificate: &str, key: &str) -> Self {
        let listener = super::listener().await;
        let addr = listener.local_addr().unwrap();
        let this = Self { addr, protocol: Protocol::Grpc, got: Arc::default() };
        let service = TraceServiceServer::new(this.clone());
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        let mut server = tonic::transport::Server::builder().tls_config(tls).unwrap();
        let server = server.add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        this
    }

    /// Returns the settings of a façade that sends it everything.
    pub fn settings(&self) -> Settings {
        settings(self.addr, self.protocol)
    }

    /// Returns all spans so far, in the order in which they ended.
    pub fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        let resources = got.iter().flat_map(|got| got.request.resource_spans.clone());
        resources.flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
    }

    /// Returns what the requests say about the process that sends them.
    pub fn resource(&self) -> BTreeMap<String, String> {
        let got = self.got.lock().unwrap();
        let resource = got[0].request.resource_spans[0].resource.clone().unwrap();
        texts(&resource.attributes)
    }

    /// Passes each request to `read`.
    pub fn each(&self, read: impl FnMut(&Got)) {
        self.got.lock().unwrap().iter().for_each(read);
    }
}

/// Returns the settings of a façade that sends everything to this address.
pub fn settings(addr: SocketAddr, protocol: Protocol) -> Settings {
    let path = if protocol == Protocol::Http { "/v1/traces" } else { "" };
    Settings {
        endpoint: format!("http://{addr}{path}").parse().unwrap(),
        protocol,
        headers: HeaderMap::new(),
        is_compressed: false,
        timeout: Duration::from_secs(10),
        ca_file: None,
        resource: vec![("service.name".to_owned(), "tested".to_owned())],
        options: Options {
            sampler: Sampler { follows_caller: true, root: Root::All },
            is_passed_on: false,
            shows_ids: false,
        },
    }
}

#[async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.got.lock().unwrap().push(Got { headers: metadata.into_headers(), request });
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Returns attributes as text.
pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|it| (it.key.clone(), text(it))).collect()
}

/// Returns the names of a span's events.
pub fn events(span: &Span) -> Vec<&str> {
    span.events.iter().map(|event| event.name.as_str()).collect()
}

/// Returns an id as the header `traceparent` shows it.
pub fn hex(id: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(id)
}
