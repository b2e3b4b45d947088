//! One request to the receiver, by gRPC or HTTP.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient,
};
use prost::Message as _;
use reqwest::{Request, Response, Url};
use tonic::{
    Code, Extensions, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt as _;

use super::settings::{Protocol, Settings};
use crate::{
    error_chain::{find_cause, with_causes},
    files,
    gzip::gzip,
    http_client::{HttpClient, explain},
    proto::code_name,
    tls_failure,
};

/// The settings of the authorities to trust.
const CA_SETTINGS: &str =
    "OTEL_EXPORTER_OTLP_CERTIFICATE (or OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE, if that is set)";

/// What to check if the receiver does not know who sends, or what.
const CHECK_HEADERS: &str =
    "; check OTEL_EXPORTER_OTLP_HEADERS (or OTEL_EXPORTER_OTLP_TRACES_HEADERS, if that is set)";
const CHECK_ENDPOINT: &str = "; check OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL and \
                              OTEL_EXPORTER_OTLP_COMPRESSION (or those with TRACES after OTLP, if \
                              they are set): the usual port is 4317 for grpc, and 4318 for \
                              http/protobuf";

/// The longest answer of a receiver to read, in bytes. It says how many spans it refused, and why.
const MAX_ANSWER: usize = 16 * 1024;

/// A way to the receiver.
pub(super) enum Transport {
    Grpc { client: TraceServiceClient<Channel>, metadata: MetadataMap },
    Http { client: Box<HttpClient>, url: Url, headers: HeaderMap, is_compressed: bool },
}

/// Why spans did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undelivered {
    /// The next attempt may succeed, after this time at the earliest.
    #[error("{why}")]
    ForNow { why: String, wait: Option<Duration> },
    /// The receiver refuses them.
    #[error("{0}")]
    Refused(String),
}

/// What a receiver did not take of a request that it took.
pub(super) struct Taken {
    pub(super) refused: u64,
}

impl Transport {
    /// Prepares the connection, which is made when it is first used. Must be called within the
    /// runtime that will use it.
    ///
    /// # Errors
    ///
    /// What is wrong with the file of authorities or the endpoint.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let is_compressed = settings.is_compressed;
        match settings.protocol {
            Protocol::Grpc => {
                let mut client = TraceServiceClient::new(channel(settings)?);
                if is_compressed {
                    client = client.send_compressed(CompressionEncoding::Gzip);
                }
                let metadata = MetadataMap::from_headers(settings.headers.clone());
                Ok(Self::Grpc { client, metadata })
            }
            Protocol::Http => {
                let timeout = settings.timeout;
                let ca_file = settings.ca_file.as_deref();
                let client = HttpClient::new(&settings.endpoint, ca_file, move |builder| {
                    builder.timeout(timeout).connect_timeout(timeout)
                })?;
                let mut headers = settings.headers.clone();
                let protobuf = HeaderValue::from_static("application/x-protobuf");
                headers.insert(CONTENT_TYPE, protobuf);
                if is_compressed {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                let (client, url) = (Box::new(client), settings.endpoint.clone());
                Ok(Self::Http { client, url, headers, is_compressed })
            }
        }
    }

    /// Sends a request.
    pub(super) async fn send(
        &self,
        message: &ExportTraceServiceRequest,
    ) -> Result<Taken, Undelivered> {
        let response = match self {
            Self::Grpc { client, metadata } => {
                let (metadata, extensions) = (metadata.clone(), Extensions::default());
                let request = tonic::Request::from_parts(metadata, extensions, message.clone());
                let response = client.clone().export(request).await;
                response.map_err(|status| of_status(&status))?.into_inner()
            }
            Self::Http { client, url, headers, is_compressed } => {
                let mut body = message.encode_to_vec();
                if *is_compressed {
                    body = gzip(&body).map_err(|error| Undelivered::Refused(error.to_string()))?;
                }
                let mut request = Request::new(Method::POST, url.clone());
                *request.headers_mut() = headers.clone();
                *request.body_mut() = Some(body.into());
                let response = client.client().execute(request).await;
                let response = response.map_err(broken)?;
                of_response(response).await?
            }
        };
        let refused = response.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(Taken { refused: u64::try_from(refused).unwrap_or(0) })
    }
}

fn channel(settings: &Settings) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(settings.endpoint.as_str().to_owned())
        .map_err(|error| with_causes(&error))?
        .user_agent(concat!("totp-facade/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| with_causes(&error))?
        .timeout(settings.timeout)
        .connect_timeout(settings.timeout);
    let endpoint = match settings.endpoint.scheme() {
        "https" => {
            let mut tls = ClientTlsConfig::new().with_enabled_roots();
            if let Some(path) = &settings.ca_file {
                let authorities = files::read_bytes(path)?;
                tls = tls.ca_certificate(Certificate::from_pem(authorities));
            }
            endpoint.tls_config(tls).map_err(|error| with_causes(&error))?
        }
        _ => endpoint,
    };
    Ok(endpoint.connect_lazy())
}

/// Classifies a failed call as OTLP says. The receiver's text is left out: it may quote headers.
fn of_status(status: &Status) -> Undelivered {
    let why = match status.source() {
        Some(cause) => {
            format!("{}{}", tls_failure::in_full(cause, CA_SETTINGS), check_protocol(status))
        }
        None => {
            let setting = match status.code() {
                Code::Unauthenticated | Code::PermissionDenied => CHECK_HEADERS,
                Code::Unimplemented => CHECK_ENDPOINT,
                _ => "",
            };
            format!("the receiver answers {}{setting}", code_name(status.code()))
        }
    };
    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Undelivered::ForNow { why, wait },
        Code::ResourceExhausted if wait.is_some() => Undelivered::ForNow { why, wait },
        // A connection that breaks is a status of an unknown kind, with a cause.
        Code::Unknown if status.source().is_some() => Undelivered::ForNow { why, wait },
        _ => Undelivered::Refused(why),
    }
}

/// Reads a response, or classifies a refusal as OTLP says.
async fn of_response(mut response: Response) -> Result<ExportTraceServiceResponse, Undelivered> {
    let status = response.status();
    if !status.is_success() {
        let setting = match status.as_u16() {
            401 | 403 => CHECK_HEADERS,
            404 | 405 | 415 => CHECK_ENDPOINT,
            _ => "",
        };
        let why = format!("the receiver answers {}{setting}", status.as_u16());
        let wait = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
        let wait = wait.and_then(|wait| wait.trim().parse().ok()).map(Duration::from_secs);
        return Err(match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Undelivered::ForNow { why, wait },
            _ => Undelivered::Refused(why),
        });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Ok(ExportTraceServiceResponse::default());
        }
    }
    // A receiver that took the spans and answers something else has still taken them.
    Ok(ExportTraceServiceResponse::decode(Bytes::from(body)).unwrap_or_default())
}

fn broken(error: reqwest::Error) -> Undelivered {
    let check = check_protocol(&error);
    Undelivered::ForNow { why: format!("{}{check}", explain(error, CA_SETTINGS)), wait: None }
}

/// Names the settings to check if the receiver answers in another version of HTTP: then it expects
/// gRPC and is sent HTTP, or the other way round.
fn check_protocol(error: &(dyn Error + 'static)) -> &'static str {
    let is_not_http_2 = find_cause(error).is_some_and(h2::Error::is_library);
    // hyper has no other name for an answer that arrives before the request has been sent.
    let is_early = with_causes(error).contains("unexpected message from connection");
    let is_not_http_1 = is_early || find_cause(error).is_some_and(hyper::Error::is_parse);
    if is_not_http_2 || is_not_http_1 { CHECK_ENDPOINT } else { "" }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tonic_types::ErrorDetails;

    use super::*;

    #[tokio::test]
    async fn a_receiver_that_refuses_spans_names_the_setting_to_check() {
        for (status, code, setting) in [
            (401, Code::Unauthenticated, CHECK_HEADERS),
            (403, Code::PermissionDenied, CHECK_HEADERS),
            (404, Code::Unimplemented, CHECK_ENDPOINT),
            (400, Code::InvalidArgument, ""),
            (503, Code::Unavailable, ""),
        ] {
            let response = http::Response::builder().status(status).body(Vec::new()).unwrap();
            let of_http = of_response(response.into()).await.unwrap_err();
            assert_eq!(of_http.to_string(), format!("the receiver answers {status}{setting}"));
            let of_grpc = of_status(&Status::new(code, "never printed")).to_string();
            assert_eq!(of_grpc, format!("the receiver answers {}{setting}", code_name(code)));
        }
    }

    #[tokio::test]
    async fn a_request_is_retried_where_otlp_calls_its_failure_retryable() {
        let is_retried = |result| matches!(result, Undelivered::ForNow { .. });
        for status in 300..600 {
            let response = http::Response::builder().status(status).body(Vec::new()).unwrap();
            let result = of_response(response.into()).await.err().unwrap();
            assert_eq!(is_retried(result), [429, 502, 503, 504].contains(&status), "{status}");
        }
        for number in 1..17 {
            let code = Code::from(number);
            let result = of_status(&Status::new(code, ""));
            let retried = [
                Code::Cancelled,
                Code::DeadlineExceeded,
                Code::Aborted,
                Code::OutOfRange,
                Code::Unavailable,
                Code::DataLoss,
            ];
            assert_eq!(is_retried(result), retried.contains(&code), "{code:?}");
        }
        let wait = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
        let status = Status::with_error_details(Code::ResourceExhausted, "", wait);
        assert!(is_retried(of_status(&status)));
    }

    /// Whether a client of HTTP/2 has sent the headers of a request.
    fn has_headers(sent: &[u8]) -> bool {
        const PREFACE: usize = 24;
        const HEADERS: u8 = 1;
        let mut frames = sent.get(PREFACE..).unwrap_or_default();
        while let [a, b, c, kind, ..] = *frames {
            if kind == HEADERS {
                return true;
            }
            let length = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
            frames = frames.get(length..).unwrap_or_default();
        }
        false
    }

    /// Starts a receiver that answers a request over HTTP/2, or any connection, with these bytes.
    async fn receiver(answer: &'static [u8], is_http_2: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut sent = Vec::new();
                while is_http_2 && !has_headers(&sent) {
                    stream.read_buf(&mut sent).await.unwrap();
                }
                stream.write_all(answer).await.unwrap();
                // Closed with something unread, the connection would lose the answer.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        });
        format!("http://{addr}")
    }

    #[tokio::test]
    async fn grpc_sent_to_a_port_for_http_or_http_to_one_for_grpc_names_the_settings_to_check() {
        for (protocol, answer) in [
            (Protocol::Grpc, &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..]),
            // An empty SETTINGS frame.
            (Protocol::Http, &[0, 0, 0, 4, 0, 0, 0, 0, 0]),
        ] {
            let settings =
                Settings::for_test(&receiver(answer, protocol == Protocol::Grpc).await, protocol);
            let transport = Transport::new(&settings).unwrap();

            let result = transport.send(&ExportTraceServiceRequest::default()).await;

            let why = result.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(why.ends_with(CHECK_ENDPOINT), "{protocol:?}: {why}");
        }
    }
}
