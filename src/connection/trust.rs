//! Whether clients trust the certificate of a server.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::tls::Files;
use crate::files::pem;

/// Verifies a server's certificate as a client does that calls this host and trusts the authorities
/// in a file; those of the system, without a file.
///
/// # Errors
///
/// Why the client refuses the certificate.
pub fn verify(
    certificate: &Path,
    host: &str,
    authorities: Option<&Path>,
) -> Result<(), rustls::Error> {
    let read = |path| pem::certificates(path).map_err(rustls::Error::General);
    let roots = match authorities {
        Some(path) => read(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    verify_chain(&read(certificate)?, host, roots)
}

fn verify_chain(
    chain: &[CertificateDer<'static>],
    host: &str,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build();
    let verifier = verifier.map_err(|_| CertificateError::UnknownIssuer)?;
    let (leaf, intermediates) = chain.split_first().ok_or(CertificateError::BadEncoding)?;
    let host = ServerName::try_from(host).map_err(|_| CertificateError::NotValidForName)?;
    verifier.verify_server_cert(leaf, intermediates, &host, &[], UnixTime::now()).map(drop)
}

impl Files {
    /// Whether the file of the certificate also holds its authority, as that of a self-signed
    /// certificate does, so that a client can trust this file.
    pub fn hold_their_authority(&self) -> bool {
        let chain = pem::certificates(&self.certificate).unwrap_or_default();
        let trusts = |host: &String| verify_chain(&chain, host, chain.clone()).is_ok();
        self.names().iter().any(trusts)
    }
}
