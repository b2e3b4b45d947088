//! TLS on the gRPC port: certificate, key and client CA from files, read again when they change.
//!
//! tonic's own TLS can do neither. A connection keeps the certificate that it began with; whether its client's
//! certificate is still trusted is asked of each call ([`ClientCertificate::is_trusted`]).

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use crate::{
    files::{Content, Reloaded, complete, pem, what_is_wrong},
    identity::Identity,
    telemetry::metrics::Metrics,
};

/// The files of TLS.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate chain, PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities whose client certificates are taken, PEM.
    pub client_ca: Option<PathBuf>,
}

/// What the files say, ready for use.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    clients: Clients,
    /// Which load of the files this is.
    generation: u64,
    /// When the server's own certificate ends.
    pub not_after: SystemTime,
}

/// Whose certificates are taken.
#[derive(Debug)]
enum Clients {
    /// They are not asked for.
    NotAsked,
    /// Nobody's: the file of authorities is empty, which this says.
    Nobody(String),
    Of(Arc<dyn ClientCertVerifier>),
}

impl Content for Tls {
    fn missing(&self) -> Option<String> {
        match &self.clients {
            Clients::Nobody(what) => Some(what.clone()),
            Clients::NotAsked | Clients::Of(_) => None,
        }
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

    /// Reads them now, and again when one of them changes. Needs a runtime.
    ///
    /// # Errors
    ///
    /// What is wrong, and with which file.
    pub fn watch(&self, metrics: &Metrics) -> Result<Reloaded<Tls>, String> {
        let (files, on_load) = (self.clone(), metrics.clone());
        Reloaded::from_files(metrics, "tls", self.paths(), move || {
            let tls = files.load()?;
            on_load.certificate_expires(tls.not_after);
            Ok(tls)
        })
    }

    /// Reads them, for a start.
    ///
    /// # Errors
    ///
    /// What is wrong, and with which file.
    pub fn read(&self) -> Result<Tls, String> {
        self.load().and_then(complete)
    }

    /// Reads them. Of client certificates none is taken if the file of authorities is empty.
    ///
    /// # Errors
    ///
    /// What is wrong, and with which file.
    pub fn load(&self) -> Result<Tls, String> {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let chain = pem::certificates(&self.certificate)?;
        let key = pem::private_key(&self.key)?;
        let not_after = chain.first().and_then(|it| validity_end(it)).ok_or_else(|| {
            what_is_wrong(&self.certificate, &"holds no certificate that can be read")
        })?;
        let clients = self.client_ca.as_deref().map_or(Ok(Clients::NotAsked), clients)?;
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
        Ok(Tls { config: Arc::new(config), clients, generation, not_after })
    }
}

impl Tls {
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// Takes certificates of these authorities, and clients without one: they may have a token, or only ask
/// for health.
fn clients(path: &Path) -> Result<Clients, String> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(path)? {
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

/// The certificate of a client, which was trusted when its connection began.
#[derive(Debug)]
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    identities: Arc<[Identity]>,
    not_after: SystemTime,
    tls: Reloaded<Tls>,
    /// The last load of the authorities by which it was found good.
    trusted_by: AtomicU64,
}

impl ClientCertificate {
    /// The certificate in a chain that `verified_by` has just verified, which is a load of `tls`.
    pub(super) fn new(
        chain: &[CertificateDer<'_>],
        verified_by: &Tls,
        tls: &Reloaded<Tls>,
    ) -> Option<Self> {
        let leaf = chain.first()?;
        Some(Self {
            identities: identities(leaf).into(),
            not_after: validity_end(leaf)?,
            chain: chain.iter().map(|it| it.clone().into_owned()).collect(),
            tls: tls.clone(),
            trusted_by: AtomicU64::new(verified_by.generation),
        })
    }

    /// Returns its identities, SPIFFE ids before DNS names.
    pub fn identities(&self) -> &Arc<[Identity]> {
        &self.identities
    }

    /// Whether it is still good, by the authorities as they are now.
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

fn validity_end(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = parse(certificate)?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn identities(certificate: &CertificateDer<'_>) -> Vec<Identity> {
    let Some((_, parsed)) = parse(certificate) else { return Vec::new() };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return Vec::new() };
    let of = |pick: fn(&GeneralName<'_>) -> Option<Identity>| {
        alternatives.value.general_names.iter().filter_map(pick)
    };
    let uris = of(|name| match name {
        GeneralName::URI(uri) => Identity::spiffe(*uri),
        _ => None,
    });
    let dns = of(|name| match name {
        GeneralName::DNSName(name) => Identity::dns(name),
        _ => None,
    });
    uris.chain(dns).collect()
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<(&'a [u8], X509Certificate<'a>)> {
    x509_parser::parse_x509_certificate(certificate).ok()
}
