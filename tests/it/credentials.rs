//! Every kind of credential in every condition, over real TLS, as one table.

use std::sync::Arc;

use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Code, Request, transport::Identity};
use tonic_types::StatusExt as _;
use totp_facade::access::token_line;

use crate::support::{
    Facade,
    credentials::{Authority, Issuing, jwks},
    door::{DoorFiles, LOGIN, becomes},
    rpc::Rpc,
    sandbox,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Certificate,
    Token,
    Jwt,
    Forwarded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Valid,
    Expired,
    /// Issued by an authority or a key that is not trusted, or not in the file.
    OfAnotherIssuer,
    /// Valid, but with an identity that is not in the policy.
    OfAnotherName,
    /// Valid until the files are read again.
    Revoked,
    Absent,
}

/// What a client presents.
#[derive(Default)]
struct Presented {
    identity: Option<Identity>,
    bearer: Option<String>,
    forwarded: Option<String>,
}

/// Everything that issues credentials.
struct Issuers {
    files: DoorFiles,
    ours: Authority,
    leaving: Authority,
    theirs: Authority,
    key: Issuing,
    leaving_key: Issuing,
    their_key: Issuing,
    tokens: Vec<(&'static str, String, String)>,
}

const LEAVING: &str = "spiffe://example.org/leaving";

impl Issuers {
    fn new() -> Self {
        let (ours, leaving) = (Authority::new(), Authority::new());
        let files = DoorFiles::new(&[&ours, &leaving]);
        let tokens = ["login", "nobody", "leaving", "unknown"].map(|name| {
            let (token, line) = token_line(name);
            (name, token.to_string(), line)
        });
        let issuers = Self {
            files,
            ours,
            leaving,
            theirs: Authority::new(),
            key: Issuing::new("one"),
            leaving_key: Issuing::new("two"),
            their_key: Issuing::new("one"),
            tokens: tokens.into(),
        };
        issuers.write(&["login", "nobody", "leaving"], &[LEAVING]);
        issuers.files.write("jwks.json", &jwks(&[&issuers.key, &issuers.leaving_key]));
        issuers
    }

    fn write(&self, tokens: &[&str], more: &[&str]) {
        let tokens = self.tokens.iter().filter(|(name, ..)| tokens.contains(name));
        self.files
            .write("tokens", &tokens.map(|(.., line)| format!("{line}\n")).collect::<String>());
        let jwt = "jwt:system:serviceaccount:web:login";
        let identities = [&[LOGIN, "token:login", "token:leaving", jwt], more].concat();
        let policy = json!(identities).to_string();
        let caller = format!("[[caller]]\nname = 'login'\nmethods = ['*']\nidentities = {policy}");
        self.files.write("callers.toml", &caller);
    }

    /// Removes the credentials to revoke from the files.
    fn revoke(&self) {
        self.files.trust(&[&self.ours]);
        self.files.write("jwks.json", &jwks(&[&self.key]));
        self.write(&["login", "nobody"], &[]);
    }

    fn token(&self, name: &str) -> String {
        self.tokens.iter().find(|(its, ..)| *its == name).unwrap().1.clone()
    }

    /// Returns `None` for a condition that this kind of credential cannot have.
    fn present(&self, kind: Kind, condition: Condition) -> Option<Presented> {
        use Condition::{Absent, Expired, OfAnotherIssuer, OfAnotherName, Revoked, Valid};
        if condition == Absent {
            return Some(Presented::default());
        }
        Some(match kind {
            Kind::Certificate => {
                let (certificate, key) = match condition {
                    OfAnotherIssuer => self.theirs.certify(&[LOGIN], false),
                    OfAnotherName => self.ours.certify(&["spiffe://example.org/nobody"], false),
                    Revoked => self.leaving.certify(&[LOGIN], false),
                    _ => self.ours.certify(&[LOGIN], condition == Expired),
                };
                Presented {
                    identity: Some(Identity::from_pem(certificate, key)),
                    ..Default::default()
                }
            }
            Kind::Token => {
                let name = match condition {
                    // A token is valid until it is removed from the file.
                    Expired => return None,
                    OfAnotherIssuer => "unknown",
                    OfAnotherName => "nobody",
                    Revoked => "leaving",
                    Valid | Absent => "login",
                };
                Presented { bearer: Some(self.token(name)), ..Default::default() }
            }
            Kind::Jwt => {
                let token = match condition {
                    Expired => self.key.sign(&json!({"exp": 1_600_000_000})),
                    OfAnotherIssuer => self.their_key.sign(&json!({})),
                    OfAnotherName => self.key.sign(&json!({"sub": "system:nobody"})),
                    Revoked => self.leaving_key.sign(&json!({})),
                    Valid | Absent => self.key.sign(&json!({})),
                };
                Presented { bearer: Some(token), ..Default::default() }
            }
            Kind::Forwarded => {
                let name = match condition {
                    // The proxy verifies that. Another test covers headers from other peers.
                    Expired | OfAnotherIssuer => return None,
                    OfAnotherName => "spiffe://example.org/nobody",
                    Revoked => LEAVING,
                    Valid | Absent => LOGIN,
                };
                Presented { forwarded: Some(format!("URI={name}")), ..Default::default() }
            }
        })
    }

    /// Returns the outcome of a call, or `None` if the handshake is refused.
    async fn call(&self, facade: &Facade, presented: Presented) -> Option<Code> {
        let certified = presented.identity.is_some();
        let channel = match self.files.try_channel(facade, presented.identity).await {
            Ok(channel) => channel,
            Err(_) if certified => return None,
            Err(error) => panic!("{error}"),
        };
        let mut request = Request::new((Rpc::CREATE.request)("fresh"));
        let bearer = presented.bearer.map(|token| format!("Bearer {token}"));
        for (name, value) in
            [("authorization", bearer), ("x-forwarded-client-cert", presented.forwarded)]
        {
            if let Some(value) = value {
                request.metadata_mut().insert(name, value.parse().unwrap());
            }
        }
        match (Rpc::CREATE.call)(channel, request).await {
            Ok(_) => Some(Code::Ok),
            // With TLS 1.3 a client learns of the refusal after the handshake only.
            Err(status) if status.get_error_details().error_info().is_none() => None,
            Err(status) => Some(status.code()),
        }
    }
}

#[tokio::test]
async fn each_kind_of_credential_in_each_condition_is_accepted_or_refused() {
    use Condition::{Absent, Expired, OfAnotherIssuer, OfAnotherName, Revoked, Valid};
    let mut issuers = Issuers::new();
    let direct = issuers.files.facade(sandbox().await).await;
    issuers.files.proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let behind_a_proxy = issuers.files.facade(sandbox().await).await;
    let facade_of = |kind| if kind == Kind::Forwarded { &behind_a_proxy } else { &direct };
    let (good, bad) = (Some(Code::Ok), Some(Code::Unauthenticated));
    let mut seen = 0;

    for revoked in [false, true] {
        if revoked {
            issuers.revoke();
            let channel = issuers.files.channel(&direct, None).await;
            becomes(&channel, Some(&issuers.token("leaving")), Code::Unauthenticated).await;
            let old = issuers.leaving_key.sign(&json!({}));
            becomes(&channel, Some(&old), Code::Unauthenticated).await;
            let start = std::time::Instant::now();
            for kind in [Kind::Certificate, Kind::Forwarded] {
                let present = || issuers.present(kind, Revoked).unwrap();
                while issuers.call(facade_of(kind), present()).await == good {
                    assert!(start.elapsed() < crate::support::PATIENCE, "{kind:?} stays valid");
                }
            }
        }
        for kind in [Kind::Certificate, Kind::Token, Kind::Jwt, Kind::Forwarded] {
            for condition in [Valid, Expired, OfAnotherIssuer, OfAnotherName, Revoked, Absent] {
                let Some(presented) = issuers.present(kind, condition) else { continue };
                let expected = match (condition, kind) {
                    (Valid, _) => good,
                    (Revoked, _) if !revoked => good,
                    // The handshake refuses such certificates.
                    (Expired | OfAnotherIssuer | Revoked, Kind::Certificate) => None,
                    _ => bad,
                };

                let found = issuers.call(facade_of(kind), presented).await;

                assert_eq!(found, expected, "{kind:?}, {condition:?}, after the reload: {revoked}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 2 * (6 + 5 + 6 + 4));
}

/// Connects with this version of TLS and this protocol.
async fn handshake(
    files: &DoorFiles,
    facade: &Facade,
    version: &'static SupportedProtocolVersion,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(files.servers.certificate.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(facade.addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn tls_is_1_3_or_1_2_and_for_http2_alone() {
    let files = DoorFiles::new(&[&Authority::new()]);
    let facade = files.facade(sandbox().await).await;

    for (version, expected) in
        [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)]
    {
        let stream = handshake(&files, &facade, version, b"h2").await.expect("HTTP/2");
        let connection = stream.get_ref().1;
        assert_eq!(connection.protocol_version(), Some(expected));
        assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));

        handshake(&files, &facade, version, b"http/1.1").await.expect_err("not HTTP/1.1");
    }
}
