//! TLS on the gRPC port: certificate, key and client CA from files, reloaded when they change.
//!
//! tonic's own TLS cannot reload. An open connection keeps the server certificate that it began
//! with, but each call checks that the client certificate is still trusted
//! ([`ClientCertificate::is_trusted`]).

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::extensions::GeneralName;

use super::{flaws::flaws, server_certificate::verify_chain};
use crate::{
    files::{Content, Expiration, Reloaded, complete, pem, what_is_wrong},
    identity::Identity,
    telemetry::metrics::Metrics,
};

/// The paths of the TLS files, all PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key of the server's certificate.
    pub key: PathBuf,
    /// The certificate authorities that client certificates are verified against.
    pub client_ca: Option<PathBuf>,
}

/// The content of the files, ready for handshakes.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    clients: Clients,
    /// The number of this load of the files.
    generation: u64,
    /// When the server's certificate expires.
    pub not_after: SystemTime,
    /// Why clients refuse the server's certificate, as of the load.
    pub flaws: Vec<String>,
    /// When the first certificate of each file expires.
    expirations: Vec<Expiration>,
}

/// Which client certificates are accepted.
#[derive(Debug)]
enum Clients {
    /// No client CA is configured: clients are not asked for a certificate.
    NotAsked,
    /// None, because the client CA file is empty. Holds the message that says so.
    Nobody(String),
    /// Those that this verifies.
    Of(Arc<dyn ClientCertVerifier>),
}

impl Content for Tls {
    fn missing(&self) -> Option<String> {
        match &self.clients {
            Clients::Nobody(what) => Some(what.clone()),
            Clients::NotAsked | Clients::Of(_) => None,
        }
    }

    fn expirations(&self) -> Vec<Expiration> {
        self.expirations.clone()
    }
}

impl Files {
    fn paths(&self) -> Vec<PathBuf> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Returns the DNS names and IP addresses that the server's certificate is for, as far as it
    /// can be read.
    pub fn names(&self) -> Vec<String> {
        let chain = pem::certificates(&self.certificate).unwrap_or_default();
        chain.first().map(names).unwrap_or_default()
    }

    /// Whether the file of the certificate also holds its authority, as that of a self-signed
    /// certificate does, so that a client can trust this file.
    pub fn hold_their_authority(&self) -> bool {
        let chain = pem::certificates(&self.certificate).unwrap_or_default();
        let trusts = |host: &String| verify_chain(&chain, host, chain.clone()).is_ok();
        chain.first().map(names).unwrap_or_default().iter().any(trusts)
    }

    /// Loads the files now, and again when one of them changes. Must be called in a Tokio runtime.
    ///
    /// # Errors
    ///
    /// Returns a message that names the file and the problem.
    pub fn watch(&self, metrics: &Metrics) -> Result<Reloaded<Tls>, String> {
        let (files, on_load) = (self.clone(), metrics.clone());
        Reloaded::from_files(metrics, "tls", self.paths(), move || {
            let tls = files.load()?;
            on_load.certificate_expires(tls.not_after);
            for why in &tls.flaws {
                tracing::warn!(why, "clients refuse the server's certificate");
            }
            Ok(tls)
        })
    }

    /// Loads the files once, as at startup, where an empty client CA file is an error.
    ///
    /// # Errors
    ///
    /// Returns a message that names the file and the problem.
    pub fn read(&self) -> Result<Tls, String> {
        self.load().and_then(complete)
    }

    /// Loads the files once. An empty client CA file means that no client certificate is accepted.
    ///
    /// # Errors
    ///
    /// Returns a message that names the file and the problem.
    pub fn load(&self) -> Result<Tls, String> {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let (chain, key) = pem::pair(&self.certificate, &self.key)?;
        let not_after = chain.first().and_then(pem::expiration).ok_or_else(|| {
            what_is_wrong(&self.certificate, &"holds no certificate that can be read")
        })?;
        let flaws = chain.first().map(|leaf| flaws(leaf, SystemTime::now())).unwrap_or_default();
        let mut expirations = vec![Expiration { suffix: "", at: pem::first_expiration(&chain) }];
        let clients = match self.client_ca.as_deref() {
            None => Clients::NotAsked,
            Some(path) => {
                let authorities = pem::certificates(path)?;
                let at = pem::first_expiration(&authorities);
                expirations.push(Expiration { suffix: "_client_ca", at });
                clients(path, authorities)?
            }
        };
        let builder = ServerConfig::builder();
        let builder = match &clients {
            Clients::NotAsked | Clients::Nobody(_) => builder.with_no_client_auth(),
            Clients::Of(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            format!("{} and {}: {error}", self.certificate.display(), self.key.display())
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        Ok(Tls { config: Arc::new(config), clients, generation, not_after, flaws, expirations })
    }
}

impl Tls {
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// Builds a verifier for client certificates. A client without one is let in: it may have a token,
/// or only make health checks.
fn clients(path: &Path, authorities: Vec<CertificateDer<'static>>) -> Result<Clients, String> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate).map_err(|error| what_is_wrong(path, &error))?;
    }
    if roots.is_empty() {
        return Ok(Clients::Nobody(what_is_wrong(path, &pem::NO_CERTIFICATE)));
    }
    WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .map(Clients::Of)
        .map_err(|error| what_is_wrong(path, &error))
}

/// A client certificate that was trusted when its connection began.
#[derive(Debug)]
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    identities: Arc<[Identity]>,
    not_after: SystemTime,
    tls: Reloaded<Tls>,
    /// The generation of [`Tls`] that last verified it.
    trusted_by: AtomicU64,
}

impl ClientCertificate {
    /// Creates it from a chain that `verified_by`, the content of `tls`, has just verified.
    pub(super) fn new(
        chain: &[CertificateDer<'_>],
        verified_by: &Tls,
        tls: &Reloaded<Tls>,
    ) -> Option<Self> {
        let leaf = chain.first()?;
        Some(Self {
            identities: identities(leaf).into(),
            not_after: pem::expiration(leaf)?,
            chain: chain.iter().map(|it| it.clone().into_owned()).collect(),
            tls: tls.clone(),
            trusted_by: AtomicU64::new(verified_by.generation),
        })
    }

    /// Returns the certificate in a file as the server takes it from a client that presents it, or
    /// `None` if the server would refuse it.
    pub fn read(path: &Path, tls: &Reloaded<Tls>) -> Option<Self> {
        let (chain, content) = (pem::certificates(path).ok()?, tls.get());
        let (leaf, intermediates) = chain.split_first()?;
        let Clients::Of(clients) = &content.clients else { return None };
        clients.verify_client_cert(leaf, intermediates, UnixTime::now()).ok()?;
        Self::new(&chain, &content, tls)
    }

    /// Returns its identities, SPIFFE ids before DNS names.
    pub fn identities(&self) -> &Arc<[Identity]> {
        &self.identities
    }

    /// Whether it is valid now and the current client CA trusts it.
    pub fn is_trusted(&self) -> bool {
        let tls = self.tls.get();
        if SystemTime::now() > self.not_after {
            return false;
        }
        if self.trusted_by.load(Ordering::Relaxed) == tls.generation {
            return true;
        }
        let Some((leaf, intermediates)) = self.chain.split_first() else { return false };
        let Clients::Of(clients) = &tls.clients else { return false };
        let verified = clients.verify_client_cert(leaf, intermediates, UnixTime::now()).is_ok();
        if verified {
            self.trusted_by.store(tls.generation, Ordering::Relaxed);
        }
        verified
    }
}

fn identities(certificate: &CertificateDer<'_>) -> Vec<Identity> {
    let uris = alternatives(certificate, |name| match name {
        GeneralName::URI(uri) => Identity::spiffe(*uri),
        _ => None,
    });
    let dns = alternatives(certificate, |name| match name {
        GeneralName::DNSName(name) => Identity::dns(name),
        _ => None,
    });
    [uris, dns].concat()
}

/// The DNS names and IP addresses of a certificate.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    alternatives(certificate, |name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|it| IpAddr::from(it).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|it| IpAddr::from(it).to_string()),
        },
        _ => None,
    })
}

/// Picks from the alternative names of a certificate's subject.
fn alternatives<T>(
    certificate: &CertificateDer<'_>,
    pick: fn(&GeneralName<'_>) -> Option<T>,
) -> Vec<T> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return Vec::new() };
    alternatives.value.general_names.iter().filter_map(pick).collect()
}
