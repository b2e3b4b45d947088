//! What the commands that `dev` prints, and its console, make of the façade's certificate.

use std::path::Path;

use rustls::CertificateError;
use url::Url;

use crate::{
    config::ClientConfig,
    connection::{
        server_certificate::verify_as_client,
        tls::{Files, Tls},
    },
    tls_failure::TlsFailure,
};

/// Says why this client refuses the certificate of the façade, and what to do; `None` if it does
/// not.
pub(super) fn refusal(client: &ClientConfig, facade: Option<(&Files, &Tls)>) -> Option<String> {
    let (files, tls) = facade?;
    let url = Url::parse(&client.url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let authorities = client.files.authorities.as_deref();
    let error = verify_as_client(&files.certificate, host, authorities).err()?;
    let names = files.names();
    Some(match &error {
        _ if let Some(why) = tls.flaws.first() => format!("Clients refuse the certificate: {why}."),
        _ if names.is_empty() => of_another_host(host, &names),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => of_another_host(host, &names),
        error if TlsFailure::of_tls(error) == Some(TlsFailure::Untrusted) => untrusted(authorities),
        error => format!("Clients refuse the certificate: {error}."),
    })
}

fn of_another_host(host: &str, names: &[String]) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    let is_for = match names {
        [] => "is for no DNS name or IP address".to_owned(),
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
