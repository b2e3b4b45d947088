//! One side of the comparison: a façade, and its upstream behind a recorder.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot};

use super::{
    listening::{Folder, Listening, listen},
    observation::{Grpc, Observation},
    recorder::Recorder,
    setup::SetupError,
    steps::{Call, Raw, Step},
};
use crate::{
    access,
    client::{Connection, Options, Rpc},
    config::{ClientConfig, ClientFiles},
    facade,
    http_client::HttpClient,
    idempotency::{self, StoreSettings},
    server::{self, Listeners},
    stytch,
    telemetry::metrics::Metrics,
};

/// A façade in front of an upstream. It stops with the value.
pub(super) struct Side {
    recorder: Recorder,
    connection: Connection,
    /// For what the façade would refuse to send.
    http: HttpClient,
    upstream: stytch::Settings,
    _facade: Facade,
}

/// A running façade. It stops with the value.
struct Facade {
    _stop: oneshot::Sender<()>,
    _folder: Folder,
}

impl Side {
    /// Starts a façade in front of an upstream.
    pub(super) async fn start(upstream: &stytch::Settings) -> Result<Self, SetupError> {
        let ca_file = upstream.ca_file.as_deref();
        let recorder = Recorder::start(&upstream.base_url, ca_file, upstream.timeout).await?;
        let timeout = upstream.timeout;
        let http = HttpClient::new(&recorder.url, None, move |builder| builder.timeout(timeout));
        let (url, facade) = serve(stytch::Settings {
            base_url: recorder.url.clone(),
            ca_file: None,
            ..upstream.clone()
        })
        .await?;
        let connection = Connection::new(ClientConfig {
            url,
            deadline: deadline(upstream),
            authorization: None,
            tls: None,
            files: ClientFiles::default(),
        });
        Ok(Self {
            recorder,
            connection: connection.map_err(|problem| SetupError(problem.to_string()))?,
            http: http.map_err(SetupError)?,
            upstream: upstream.clone(),
            _facade: facade,
        })
    }

    /// Makes the call of a step.
    pub(super) async fn observe(&self, step: &'static Step, call: &Call) -> Observation {
        let _ = self.recorder.take();
        let grpc = match call {
            Call::Rpc(method, request) => Some(self.call(method, request).await),
            Call::Raw(raw) => {
                self.send(raw).await;
                None
            }
        };
        Observation { step: step.name, method: call.method(), http: self.recorder.take(), grpc }
    }

    async fn call(&self, method: &str, request: &Value) -> Grpc {
        let rpc = Rpc::named(method).expect("a step names an RPC of the contract");
        let request = rpc.request(&request.to_string()).expect("a step makes a fitting request");
        let options = Options::new(deadline(&self.upstream));
        match rpc.call(&self.connection, request, &options).await {
            Ok(_) => Grpc { code: "OK", reason: None },
            Err(failure) => {
                let report = failure.report();
                Grpc {
                    code: report.map_or("no response", |report| report.code()),
                    reason: report.and_then(|report| Some(report.reason.as_ref()?.0.clone())),
                }
            }
        }
    }

    /// Sends a request past the façade. The recorder keeps the response.
    async fn send(&self, raw: &Raw) {
        let url = format!("{}{}", self.recorder.url.as_str().trim_end_matches('/'), raw.path);
        let mut request = self.http.client().request(raw.method.clone(), url);
        if let Some(body) = &raw.body {
            request = request.header(CONTENT_TYPE, raw.content_type).body(body.clone());
        }
        if raw.has_credentials {
            let stytch::Settings { project_id, secret, .. } = &self.upstream;
            request = request.basic_auth(project_id, Some(secret.expose_secret()));
        }
        let _ = request.send().await;
    }
}

/// The façade itself says so when Stytch does not respond in time.
fn deadline(upstream: &stytch::Settings) -> Duration {
    upstream.timeout + Duration::from_secs(5)
}

/// Starts a façade. Returns it with its URL.
async fn serve(upstream: stytch::Settings) -> Result<(String, Facade), SetupError> {
    let settings = facade::Settings {
        stytch: upstream,
        idempotency: idempotency::Settings {
            ttl: Duration::from_secs(60),
            store: StoreSettings::Memory { max_bytes: 1024 * 1024 },
        },
        tls: None,
        access: access::Settings::default(),
        server: server::Settings {
            reflection: false,
            worker_threads: 1,
            max_in_flight: 4,
            max_connections: 16,
            max_connection_age: Duration::ZERO,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(1),
        },
        traces: None,
    };
    let server = facade::build(&settings, Metrics::default()).map_err(|it| SetupError::of(&it))?;
    let Listening { listener: grpc, url, folder } = listen().await?;
    let admin = TcpListener::bind("127.0.0.1:0").await.map_err(|it| SetupError::of(&it))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    tokio::spawn(server.run(Listeners { grpc, admin }, stopped));
    Ok((url, Facade { _stop: stop, _folder: folder }))
}
