//! Whether the commands that `dev` prints, and its console, trust the certificate of the façade.

use std::path::Path;

use rustls::CertificateError;
use url::Url;

use crate::{
    config::ClientConfig,
    connection::{tls, trust::verify},
    tls_failure::TlsFailure,
};

/// Says why this client refuses the certificate of the façade, and what to do; `None` if it does
/// not.
pub(super) fn refusal(client: &ClientConfig, facade: Option<&tls::Files>) -> Option<String> {
    let files = facade?;
    let url = Url::parse(&client.url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let authorities = client.files.authorities.as_deref();
    let error = verify(&files.certificate, host, authorities).err()?;
    let flaw = files.read().ok().and_then(|tls| tls.flaws.into_iter().next());
    Some(match &error {
        _ if let Some(why) = flaw => format!("Clients refuse the certificate: {why}."),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => of_another_host(host, &files.names()),
        error if TlsFailure::of_tls(error) == Some(TlsFailure::Untrusted) => untrusted(authorities),
        error => format!("Clients refuse the certificate: {error}."),
    })
}

fn of_another_host(host: &str, names: &[String]) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    let is_for = match names {
        [] => "has no subjectAltName".to_owned(),
        names => format!("is for {}", names.join(", ")),
    };
    format!(
        "The certificate {is_for}, and dev is called at {host}: make one with \
         subjectAltName={kind}:{host}."
    )
}

fn untrusted(authorities: Option<&Path>) -> String {
    let who = match authorities {
        Some(path) => format!("No authority in {}", path.display()),
        None => "No authority that the system trusts".to_owned(),
    };
    format!(
        "{who} has issued the certificate: give dev --ca-file FILE, a PEM file with the authority \
         that has."
    )
}
