//! A façade behind TLS that knows its callers, and the files that say who they are.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use tonic::{
    Code, Request, Status,
    transport::{Channel, Identity},
};
use totp_facade::{
    access::{self, Proxy, jwt},
    connection::tls::Files,
};

use super::{
    Facade, PATIENCE, Setup,
    credentials::{AUDIENCE, Authority, ISSUER},
    folder::Folder,
    info,
    rpc::Rpc,
};

/// The SPIFFE id of a caller in [`POLICY`].
pub const LOGIN: &str = "spiffe://example.org/ns/web/sa/login";

/// Two callers: one for TOTPs, and one who may only read.
pub const POLICY: &str = "
[[caller]]
name = 'login'
identities = ['spiffe://example.org/ns/web/sa/login', 'dns:login.internal', 'token:login']
methods = ['TotpService/*']

[[caller]]
name = 'reader'
identities = ['spiffe://example.org/ns/web/sa/reader', 'token:reader']
methods = ['RecoveryCodesService/Get', 'reflection']
";

/// The files of a façade's door, which a test changes.
pub struct DoorFiles {
    folder: Folder,
    pub servers: Authority,
    /// Whose word on certificates is taken.
    pub proxies: Vec<Proxy>,
}

impl DoorFiles {
    pub fn new(clients: &[&Authority]) -> Self {
        let files = Self { folder: Folder::new(), servers: Authority::new(), proxies: Vec::new() };
        files.new_server_certificate();
        files.trust(clients);
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        self.folder.write(name, text);
    }

    pub fn new_server_certificate(&self) {
        let (certificate, key) = self.servers.certify(&["dns:localhost"], false);
        // Both at once, as the watch waits for the second.
        self.write("server.pem", &certificate);
        self.write("server.key", &key);
    }

    pub fn trust(&self, clients: &[&Authority]) {
        let pem: String = clients.iter().map(|it| it.certificate.pem()).collect();
        self.write("clients.pem", &pem);
    }

    /// A façade behind this door.
    pub async fn facade(&self, upstream: SocketAddr) -> Facade {
        let mut setup = Setup::new(upstream);
        setup.tls = Some(Files {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: Some(self.path("clients.pem")),
        });
        let exists = |name: &str| Some(self.path(name)).filter(|path| path.exists());
        setup.access = access::Settings {
            tokens: exists("tokens"),
            policy: exists("callers.toml"),
            certificates: true,
            jwt: exists("jwks.json").map(|path| jwt::Settings {
                issuer: ISSUER.into(),
                audience: AUDIENCE.into(),
                keys: jwt::Source::File(path),
                ca_file: None,
                token_file: None,
            }),
            proxies: self.proxies.clone(),
            users: false,
        };
        setup.start().await
    }

    pub async fn channel(&self, facade: &Facade, identity: Option<Identity>) -> Channel {
        self.try_channel(facade, identity).await.unwrap()
    }

    pub async fn try_channel(
        &self,
        facade: &Facade,
        identity: Option<Identity>,
    ) -> Result<Channel, tonic::transport::Error> {
        self.servers.endpoint(facade.addr, identity).connect().await
    }
}

/// A Create, with a bearer token if there is one.
pub async fn create(channel: &Channel, token: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new((Rpc::CREATE.request)("fresh"));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    (Rpc::CREATE.call)(channel.clone(), request).await.map(drop)
}

#[track_caller]
pub fn is(result: Result<(), Status>, code: Code, why: &str) {
    match result {
        Ok(()) => assert_eq!(Code::Ok, code, "{why}"),
        Err(status) => {
            assert_eq!(status.code(), code, "{why}: {status:?}");
            assert_eq!(info(&status).upstream, "not_sent", "{why}");
        }
    }
}

/// Calls until they end so. What was there before may be in force for a moment.
pub async fn becomes(channel: &Channel, token: Option<&str>, code: Code) {
    let start = Instant::now();
    loop {
        let found = create(channel, token).await.map_or_else(|status| status.code(), |()| Code::Ok);
        if found == code {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "it stays {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
