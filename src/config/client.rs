//! How the subcommands that call a façade connect to it.

use std::{path::PathBuf, time::Duration};

use reqwest::Url;
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, ClientTlsConfig, Identity},
};
use zeroize::Zeroizing;

use super::{
    callers::{TLS_CERT_FILE, TLS_KEY_FILE},
    kind::{FILE, Kind, show_time, timeout},
    setting::{Group, Setting, settings},
    unchecked::{FromSettings, Reader},
};
use crate::{
    address,
    connection::tls::Files,
    files::{
        self,
        pem::{self, PairError},
        what_is_wrong,
    },
    http_client::is_confidential,
};

const DEFAULT_DEADLINE: &str = "15s";
/// The longest time for a call.
pub const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

settings! { CONNECTION "Connection"
    /// Where the façade listens: a URL, or IP:PORT or unix:PATH as the façade prints it.
    ADDR: String = Setting::new("--addr", Kind::text("URL", url))
        .variable("TOTP_FACADE_ADDR")
        .default("http://127.0.0.1:50051");

    /// Time for connecting and the call together.
    DEADLINE: Duration = Setting::new("--deadline", DEADLINE_KIND).default(DEFAULT_DEADLINE);
}

settings! { CREDENTIALS "Credentials"
    /// Bearer token to call with. A warning says so if it would travel in the clear.
    TOKEN: MetadataValue<Ascii> = Setting::new("TOTP_FACADE_TOKEN", Kind::secret(authorization));

    /// PEM file of the authorities of the façade's certificate.
    CA_FILE: PathBuf = Setting::new("--ca-file", FILE)
        .derived("those of the system; under dev, those in the façade's own file if its authority is there");

    /// PEM file with the certificate to call with.
    CERT_FILE: PathBuf = Setting::new("--cert-file", FILE);

    /// PEM file with the private key of the certificate.
    KEY_FILE: PathBuf = Setting::new("--key-file", FILE);
}

const DEADLINE_KIND: Kind<Duration> =
    Kind::shown("TIME", deadline, show_time).limits("Longer than 0s, at most a day");

/// Where a façade is, and how to call it.
// No `Debug`: that of tonic's TLS settings prints the private key.
#[allow(missing_debug_implementations)]
#[derive(Clone)]
pub struct ClientConfig {
    /// The URL of the façade, without a path.
    pub url: String,
    /// The time for connecting and the call together.
    pub deadline: Duration,
    /// The `authorization` to send.
    pub authorization: Option<MetadataValue<Ascii>>,
    /// TLS, if the URL is https.
    pub tls: Option<ClientTlsConfig>,
    /// The files that TLS was read from.
    pub files: ClientFiles,
}

/// The files of a client's TLS, all PEM.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// The authorities to trust; those of the system, if none.
    pub authorities: Option<PathBuf>,
    /// The client's certificate, and its private key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl FromSettings for ClientConfig {
    const GROUPS: &'static [&'static Group] = &[&CONNECTION, &CREDENTIALS];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (url, deadline) = (reader.get(&ADDR), reader.get(&DEADLINE));
        let url = url?;
        let tls = match url.starts_with("https://") {
            true => tls(None, reader),
            false => refuse_files_of_tls("needs an --addr that begins with https://", reader),
        };
        Some(Self { deadline: deadline?, ..Self::of(url, tls, reader) })
    }
}

impl ClientConfig {
    /// Whether calls send a token that everybody on the way to the façade can read.
    pub fn exposes_token(&self) -> bool {
        let url = Url::parse(&self.url);
        let is_exposed = |url: Url| url.scheme() == "http" && !is_confidential(&url);
        self.authorization.is_some() && url.is_ok_and(is_exposed)
    }

    /// Reads how to call a façade of this process, whose files of TLS these are, if it can have TLS
    /// with them. The URL has port 0 until the caller has bound the port of the façade.
    pub(super) fn beside(facade: Option<&Files>, reader: &mut Reader<'_>) -> Self {
        if !reader.is_given(&TLS_CERT_FILE) {
            let what = format!("needs {TLS_CERT_FILE} and {TLS_KEY_FILE}: the façade has no TLS");
            let tls = refuse_files_of_tls(&what, reader);
            return Self::of("http://127.0.0.1:0".to_owned(), tls, reader);
        }
        let own = facade.filter(|files| files.hold_their_authority());
        let tls = tls(own.map(|files| files.certificate.clone()), reader);
        Self::of("https://127.0.0.1:0".to_owned(), tls, reader)
    }

    /// Has the default deadline.
    fn of(
        url: String,
        tls: Option<(ClientTlsConfig, ClientFiles)>,
        reader: &mut Reader<'_>,
    ) -> Self {
        let deadline = deadline(DEFAULT_DEADLINE).expect("the default is valid");
        let (tls, files) = tls.unzip();
        let authorization = reader.get(&TOKEN);
        Self { url, deadline, authorization, tls, files: files.unwrap_or_default() }
    }
}

/// Whoever names a file of TLS expects TLS.
fn refuse_files_of_tls<T>(what: &str, reader: &mut Reader<'_>) -> Option<T> {
    let setting = [&CA_FILE, &CERT_FILE, &KEY_FILE].into_iter().find(|it| reader.is_given(it))?;
    reader.problem(setting, what)
}

/// Reads TLS; `own` are the authorities to trust if none are given, instead of the system's.
fn tls(own: Option<PathBuf>, reader: &mut Reader<'_>) -> Option<(ClientTlsConfig, ClientFiles)> {
    let authorities = reader.get_or(&CA_FILE, || own);
    let tls = match &authorities {
        None => ClientTlsConfig::new().with_enabled_roots(),
        Some(path) => {
            // The TLS library would not say that there is none.
            if reader.ok(&CA_FILE, pem::certificates(path))?.is_empty() {
                return reader.problem(&CA_FILE, what_is_wrong(path, &pem::NO_CERTIFICATE));
            }
            let authorities = reader.ok(&CA_FILE, files::read_bytes(path))?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities))
        }
    };
    let paths = ClientFiles { authorities, certificate: reader.pair(&CERT_FILE, &KEY_FILE) };
    let Some((certificate, key)) = &paths.certificate else { return Some((tls, paths)) };
    // The TLS library would not say which file is to blame.
    match pem::pair(certificate, key) {
        Ok(_) => {}
        Err(PairError::Certificate(what)) => return reader.problem(&CERT_FILE, what),
        Err(PairError::Key(what)) => return reader.problem(&KEY_FILE, what),
    }
    let certificate = reader.ok(&CERT_FILE, files::read_bytes(certificate))?;
    let key = reader.ok(&KEY_FILE, files::read_bytes(key))?;
    Some((tls.identity(Identity::from_pem(certificate, key)), paths))
}

fn deadline(text: &str) -> Result<Duration, String> {
    match timeout(text)? {
        deadline if deadline > MAX_DEADLINE => Err("is longer than a day".to_owned()),
        deadline => Ok(deadline),
    }
}

fn authorization(token: &str) -> Result<MetadataValue<Ascii>, String> {
    let value = Zeroizing::new(format!("Bearer {token}"));
    let mut value: MetadataValue<Ascii> =
        value.parse().map_err(|_| "must be visible ASCII".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn url(addr: &str) -> Result<String, String> {
    if let Some(unix) = address::unix(addr) {
        return unix.map(|address| address.to_string());
    }
    let instead = format!("; {TOKEN} is the bearer token to call with");
    Ok(address(addr, &instead)?.as_str().trim_end_matches('/').to_owned())
}

/// Reads the URL of a façade's port; `instead` ends the sentence that refuses credentials. It may
/// hold a password, so no problem quotes it.
///
/// # Errors
///
/// Says what is wrong with the address.
pub fn address(addr: &str, instead: &str) -> Result<Url, String> {
    const FORM: &str = "is not the address of a façade: HOST:PORT, http://HOST:PORT, \
                        https://HOST[:PORT] or unix:PATH";
    let (has_scheme, url) = match addr.split_once("://") {
        // `Url` would take the first part of a path for the host.
        Some((_, rest)) if rest.starts_with(['/', '\\']) => return Err(FORM.to_owned()),
        Some(_) => (true, addr.to_owned()),
        None => (false, format!("http://{addr}")),
    };
    let url = Url::parse(&url).map_err(|_| FORM)?;
    // `Url` drops a port that is the scheme's own.
    let has_port = has_scheme || url.port().is_some() || addr.ends_with(":80");
    if !matches!(url.scheme(), "http" | "https") || !has_port {
        return Err(FORM.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("must not hold credentials{instead}"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("must end with the host and the port, without a path or a query".to_owned());
    }
    Ok(url)
}
