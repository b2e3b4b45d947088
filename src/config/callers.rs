//! How callers are identified, and what they may do.

use std::path::{Path, PathBuf};

use reqwest::Url;

use super::{
    kind::{AUTHORITIES, FILE, Kind, SWITCH, TEXT, checked_file},
    server::GRPC_ADDR,
    setting::{Setting, settings},
    unchecked::Reader,
};
use crate::{
    access::{self, Policy, Proxy, Tokens, jwt},
    connection::tls,
    http_client::is_confidential,
};

settings! { CALLERS "Callers"
    /// PEM file with the certificate chain of the gRPC port. Read again when it changes.
    TLS_CERT_FILE: PathBuf = Setting::new("TOTP_FACADE_TLS_CERT_FILE", FILE);

    /// PEM file with the private key of the certificate. Read again when it changes.
    TLS_KEY_FILE: PathBuf = Setting::new("TOTP_FACADE_TLS_KEY_FILE", FILE);

    /// PEM file of authorities that issue client certificates. Read again when it changes.
    TLS_CLIENT_CA_FILE: PathBuf = Setting::new("TOTP_FACADE_TLS_CLIENT_CA_FILE", FILE);

    /// File with the names and SHA-256 hashes of bearer tokens, a line for each as `totp-facade
    /// token` prints it. Read again when it changes.
    TOKENS_FILE: PathBuf = Setting::new(
        "TOTP_FACADE_TOKENS_FILE",
        checked_file(|path| Tokens::read(path).map(|_| path.to_owned())),
    );

    /// Issuer of the JWTs to accept as bearer tokens (claim `iss`).
    JWT_ISSUER: String = Setting::new("TOTP_FACADE_JWT_ISSUER", TEXT);

    /// Audience that the JWTs must name (claim `aud`).
    JWT_AUDIENCE: String = Setting::new("TOTP_FACADE_JWT_AUDIENCE", TEXT);

    /// JWKS of the issuer: a file, which is read again when it changes, or a URL.
    JWT_KEYS: jwt::Source = Setting::new("TOTP_FACADE_JWT_KEYS", Kind::text("FILE|URL", jwt_keys));

    /// PEM file of authorities to trust in addition to the system's when the JWKS is fetched. Read
    /// again when it changes.
    JWT_CA_FILE: PathBuf = Setting::new("TOTP_FACADE_JWT_CA_FILE", AUTHORITIES);

    /// File with a bearer token to fetch the JWKS with. Read again when it changes.
    JWT_TOKEN_FILE: PathBuf = Setting::new(
        "TOTP_FACADE_JWT_TOKEN_FILE",
        checked_file(|path| jwt::check_token(path).map(|()| path.to_owned())),
    );

    /// Proxies whose `x-forwarded-client-cert` is trusted: addresses and networks, or on a Unix
    /// domain socket unix:UID, separated by commas.
    TRUST_XFCC_FROM: Vec<Proxy> = Setting::new("TOTP_FACADE_TRUST_XFCC_FROM", PROXIES);

    /// Policy file that says who may call what (docs/callers.md). Without it, every caller with an
    /// identity may call everything. Read again when it changes.
    CALLERS_FILE: PathBuf = Setting::new(
        "TOTP_FACADE_CALLERS_FILE",
        checked_file(|path| Policy::read(path).map(|_| path.to_owned())),
    );

    /// Serve callers without an identity even beyond loopback.
    ALLOW_UNAUTHENTICATED: bool =
        Setting::new("TOTP_FACADE_ALLOW_UNAUTHENTICATED", SWITCH).default("false");

    /// Serve gRPC reflection, with which tools learn the contract.
    REFLECTION: bool = Setting::new("TOTP_FACADE_REFLECTION", SWITCH)
        .derived("true on loopback and on a Unix domain socket, else false");
}

const PROXIES: Kind<Vec<Proxy>> = Kind::shown("PEERS", proxies, |proxies| {
    proxies.iter().map(Proxy::to_string).collect::<Vec<_>>().join(",")
});

/// Reads the files of TLS and how callers are identified.
pub(super) fn read(reader: &mut Reader<'_>) -> (Option<tls::Files>, access::Settings) {
    let tls = tls(reader);
    let mut access = access::Settings {
        certificates: reader.is_given(&TLS_CLIENT_CA_FILE),
        tokens: reader.get(&TOKENS_FILE),
        jwt: jwt(reader),
        proxies: reader.get(&TRUST_XFCC_FROM).unwrap_or_default(),
        policy: reader.get(&CALLERS_FILE),
        users: false,
    };
    let is_unix = reader.get(&GRPC_ADDR).is_some_and(|addr| addr.is_unix());
    // Beside credentials, the users count that the policy names: anybody on the machine is a user.
    access.users = is_unix && (access.policy.is_some() || !is_way_given(reader, &access));
    if is_unix && tls.is_some() {
        let what = format!("is for TCP; {GRPC_ADDR} is a Unix domain socket");
        reader.report(&TLS_CERT_FILE, what);
    }
    check_proxies(reader, &access, is_unix);
    check_policy(reader, &access);
    check_openness(reader, &access);
    (tls, access)
}

/// Reads whether to serve reflection: by default only where just this machine can connect.
pub(super) fn reflection(reader: &mut Reader<'_>) -> Option<bool> {
    let addr = reader.get(&GRPC_ADDR);
    reader.get_or(&REFLECTION, || addr.map(|addr| addr.is_local()))
}

/// Returns the ways to identify callers, for a message.
fn ways() -> String {
    format!("{TLS_CLIENT_CA_FILE}, {TOKENS_FILE}, {JWT_KEYS} or {TRUST_XFCC_FROM}")
}

/// Returns whether a way to identify callers is set up, or tried: what is wrong with a way is a
/// problem of its own, and no reason to propose `--allow-unauthenticated`.
fn is_way_given(reader: &mut Reader<'_>, access: &access::Settings) -> bool {
    let is_jwt_given = [&JWT_ISSUER, &JWT_AUDIENCE].iter().any(|it| reader.is_given(it))
        || reader.is_given(&JWT_KEYS);
    let is_xfcc_bad = reader.is_given(&TRUST_XFCC_FROM) && reader.get(&TRUST_XFCC_FROM).is_none();
    access.authenticates() || reader.is_given(&TOKENS_FILE) || is_jwt_given || is_xfcc_bad
}

/// Checks that every trusted proxy could connect.
fn check_proxies(reader: &mut Reader<'_>, access: &access::Settings, is_unix: bool) {
    let fits = |proxy: &&Proxy| matches!(proxy, Proxy::User(_)) == is_unix;
    if let Some(other) = access.proxies.iter().find(|proxy| !fits(proxy)) {
        let what = match is_unix {
            true => format!("{other} cannot reach a Unix domain socket: list unix:UID"),
            false => format!("{other} needs a Unix domain socket as {GRPC_ADDR}"),
        };
        reader.report(&TRUST_XFCC_FROM, what);
    }
}

/// Checks that callers are identified, and that every token of the policy is in the file of tokens.
fn check_policy(reader: &mut Reader<'_>, access: &access::Settings) {
    let read = |path: &PathBuf| Policy::read(path).ok();
    let Some(policy) = access.policy.as_ref().and_then(read) else { return };
    if !is_way_given(reader, access) {
        reader.report(&CALLERS_FILE, format!("needs a way to identify callers: {}", ways()));
    }
    let tokens = access.tokens.as_deref().map(Tokens::read);
    let Some(Ok(tokens)) = tokens else { return };
    for identity in policy.identities() {
        let name = identity.token_name();
        if name.is_some_and(|name| tokens.names().all(|known| known != name)) {
            reader.report(&CALLERS_FILE, format!("{identity:?} has no token"));
        }
    }
}

/// Checks that callers beyond loopback are identified, unless the operator allows others too.
fn check_openness(reader: &mut Reader<'_>, access: &access::Settings) {
    let is_allowed = reader.get(&ALLOW_UNAUTHENTICATED);
    let addr = reader.get(&GRPC_ADDR);
    let is_beyond_loopback = addr.is_some_and(|addr| !addr.is_local());
    if is_beyond_loopback && is_allowed == Some(false) && !is_way_given(reader, access) {
        let what = format!(
            "is beyond loopback, where callers must be identified: set {}, or --allow-unauthenticated \
             if something else restricts access",
            ways()
        );
        reader.report(&GRPC_ADDR, what);
    }
}

fn tls(reader: &mut Reader<'_>) -> Option<tls::Files> {
    let client_ca = reader.get(&TLS_CLIENT_CA_FILE);
    let Some((certificate, key)) = reader.pair(&TLS_CERT_FILE, &TLS_KEY_FILE) else {
        client_ca?;
        let what = format!("needs {TLS_CERT_FILE} and {TLS_KEY_FILE} too");
        return reader.problem(&TLS_CLIENT_CA_FILE, what);
    };
    let files = tls::Files { certificate, key, client_ca };
    match files.read() {
        Ok(_) => Some(files),
        Err(what) => reader.problem(setting_of(&files, &what), what),
    }
}

/// Returns the setting of the file that a problem begins with.
fn setting_of(files: &tls::Files, what: &str) -> &'static Setting<PathBuf> {
    let is_about = |path: &Path| what.starts_with(&format!("{}: ", path.display()));
    if is_about(&files.key) {
        &TLS_KEY_FILE
    } else if files.client_ca.as_deref().is_some_and(is_about) {
        &TLS_CLIENT_CA_FILE
    } else {
        &TLS_CERT_FILE
    }
}

/// Reads the settings of JWTs: all of the first three, or none.
fn jwt(reader: &mut Reader<'_>) -> Option<jwt::Settings> {
    let texts = [&JWT_ISSUER, &JWT_AUDIENCE].into_iter().any(|text| reader.is_given(text));
    let files = [&JWT_CA_FILE, &JWT_TOKEN_FILE].into_iter().any(|file| reader.is_given(file));
    if !texts && !files && !reader.is_given(&JWT_KEYS) {
        return None;
    }
    let issuer = with_the_others(reader, &JWT_ISSUER);
    let audience = with_the_others(reader, &JWT_AUDIENCE);
    let keys = with_the_others(reader, &JWT_KEYS)?;
    if matches!(keys, jwt::Source::File(_)) {
        for setting in [&JWT_CA_FILE, &JWT_TOKEN_FILE] {
            if reader.is_given(setting) {
                let what = format!("is for {JWT_KEYS} with a URL, not with a file");
                reader.report(setting, what);
            }
        }
    }
    let (ca_file, token_file) = (reader.get(&JWT_CA_FILE), reader.get(&JWT_TOKEN_FILE));
    Some(jwt::Settings { issuer: issuer?, audience: audience?, keys, ca_file, token_file })
}

fn with_the_others<T>(reader: &mut Reader<'_>, setting: &Setting<T>) -> Option<T> {
    if reader.is_given(setting) {
        reader.get(setting)
    } else {
        reader.problem(setting, "is required with the other settings of JWTs")
    }
}

/// Reads where a JWKS is. A file is read too. A URL may hold a password, so no problem quotes it.
fn jwt_keys(text: &str) -> Result<jwt::Source, String> {
    match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err(format!("must not hold credentials; see {JWT_TOKEN_FILE}"))
        }
        Ok(url) if is_confidential(&url) => Ok(jwt::Source::Url(url)),
        Ok(url) if url.scheme() == "http" => {
            Err("must be https (http only on loopback), or a file".to_owned())
        }
        _ => jwt::read(Path::new(text)).map(|_| jwt::Source::File(text.into())),
    }
}

/// Reads proxies, separated by commas.
fn proxies(text: &str) -> Result<Vec<Proxy>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let (good, bad): (Vec<_>, Vec<_>) = parts.map(str::parse::<Proxy>).partition(Result::is_ok);
    match bad.is_empty() {
        true => Ok(good.into_iter().flatten().collect()),
        false => Err(bad.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; ")),
    }
}
