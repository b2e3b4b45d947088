//! How a client sees the certificate of a server.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::files::pem;

/// Verifies a server's certificate as a client does that calls this host and trusts the authorities
/// in a file; those of the system, without a file.
///
/// # Errors
///
/// Why the client refuses the certificate.
pub fn verify_as_client(
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

/// Does the same for certificates that have been read.
///
/// # Errors
///
/// The same.
pub(super) fn verify_chain(
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
