//! Why clients refuse the certificate of a server, although the server can present it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::time::ASN1Time;

/// Returns what clients will hold against a server's certificate at this time. Each sentence says
/// it of an "it".
pub(super) fn flaws(certificate: &CertificateDer<'_>, now: SystemTime) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let (start, end) = (parsed.validity().not_before, parsed.validity().not_after);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    let of_authority = "it is that of an authority (CA:TRUE), which many of them do not accept as a \
                        server's: make one with `openssl req … -addext basicConstraints=CA:FALSE`";
    let flaws = [
        (end.timestamp() < now).then(|| format!("it expired on {}", show(end))),
        (now < start.timestamp()).then(|| format!("it is not valid before {}", show(start))),
        parsed.is_ca().then(|| of_authority.to_owned()),
    ];
    flaws.into_iter().flatten().collect()
}

fn show(time: ASN1Time) -> String {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}
