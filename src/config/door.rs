//! Who may come in, and how: TLS, and the ways to know callers.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use ipnet::IpNet;
use reqwest::Url;

use super::{Check, ServerConfig};
use crate::{
    access::{self, Policy, Tokens, jwt},
    connection::tls,
    files::pem,
    http_client::is_confidential,
};

/// Who may come in, unchecked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Callers")]
pub struct DoorArgs {
    /// Certificate chain of the gRPC port, PEM; read again when it changes
    #[arg(long, env = TLS_CERT, hide_env_values = true, value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// Its key, PEM
    #[arg(long, env = TLS_KEY, hide_env_values = true, value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// Authorities of client certificates, PEM
    #[arg(long, env = TLS_CLIENT_CA, hide_env_values = true, value_name = "FILE")]
    pub tls_client_ca_file: Option<PathBuf>,

    /// Names and SHA-256 hashes of bearer tokens, as `totp-facade token` makes them
    #[arg(long, env = TOKENS, hide_env_values = true, value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,

    /// Issuer of JWTs that are taken as bearer tokens (claim `iss`)
    #[arg(long, env = JWT_ISSUER, hide_env_values = true, value_name = "TEXT")]
    pub jwt_issuer: Option<String>,

    /// Whom they must be for (claim `aud`)
    #[arg(long, env = JWT_AUDIENCE, hide_env_values = true, value_name = "TEXT")]
    pub jwt_audience: Option<String>,

    /// The issuer's keys, a JWKS
    #[arg(long, env = JWT_KEYS, hide_env_values = true, value_name = "FILE|URL")]
    pub jwt_keys: Option<String>,

    /// Authorities to trust beside the system's when the JWKS is fetched, PEM; read again when it changes
    #[arg(long, env = JWT_CA, hide_env_values = true, value_name = "FILE")]
    pub jwt_ca_file: Option<PathBuf>,

    /// File with a bearer token to fetch the JWKS with; read again when it changes
    #[arg(long, env = JWT_TOKEN, hide_env_values = true, value_name = "FILE")]
    pub jwt_token_file: Option<PathBuf>,

    /// Proxies whose x-forwarded-client-cert is believed: addresses and networks, comma-separated
    #[arg(long, env = TRUST_XFCC, hide_env_values = true, value_name = "IPS")]
    pub trust_xfcc_from: Option<String>,

    /// Who may call what (docs/callers.md); without it, whoever is known may call everything
    #[arg(long, env = CALLERS, hide_env_values = true, value_name = "FILE")]
    pub callers_file: Option<PathBuf>,

    /// Serve callers that are not known, also beyond loopback
    #[arg(
        long,
        env = ALLOW_UNAUTHENTICATED,
        hide_env_values = true,
        value_name = "BOOL",
        default_value = "false",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub allow_unauthenticated: String,

    /// Answer reflection, by which tools learn the contract; by default on loopback only
    #[arg(long, env = REFLECTION, hide_env_values = true, value_name = "BOOL")]
    pub reflection: Option<String>,
}

const TLS_CERT: &str = "TOTP_FACADE_TLS_CERT_FILE";
const TLS_KEY: &str = "TOTP_FACADE_TLS_KEY_FILE";
const TLS_CLIENT_CA: &str = "TOTP_FACADE_TLS_CLIENT_CA_FILE";
const TOKENS: &str = "TOTP_FACADE_TOKENS_FILE";
const JWT_ISSUER: &str = "TOTP_FACADE_JWT_ISSUER";
const JWT_AUDIENCE: &str = "TOTP_FACADE_JWT_AUDIENCE";
const JWT_KEYS: &str = "TOTP_FACADE_JWT_KEYS";
const JWT_CA: &str = "TOTP_FACADE_JWT_CA_FILE";
const JWT_TOKEN: &str = "TOTP_FACADE_JWT_TOKEN_FILE";
const TRUST_XFCC: &str = "TOTP_FACADE_TRUST_XFCC_FROM";
const CALLERS: &str = "TOTP_FACADE_CALLERS_FILE";
const ALLOW_UNAUTHENTICATED: &str = "TOTP_FACADE_ALLOW_UNAUTHENTICATED";
const REFLECTION: &str = "TOTP_FACADE_REFLECTION";

/// What a message may propose where callers have to be known.
const WAYS: &str = "TOTP_FACADE_TLS_CLIENT_CA_FILE, TOTP_FACADE_TOKENS_FILE, TOTP_FACADE_JWT_KEYS or \
                    TOTP_FACADE_TRUST_XFCC_FROM";

impl ServerConfig {
    /// How callers get in.
    pub(super) fn door_summary(&self) -> String {
        let Self { tls, access, settings, .. } = self;
        let text_of = |text: Option<String>| text.unwrap_or_else(|| "(not set)".to_owned());
        let path = |path: Option<&PathBuf>| text_of(path.map(|path| path.display().to_string()));
        let tls = tls.as_ref();
        let mut text = String::new();
        for (name, value) in [
            (TLS_CERT, path(tls.map(|tls| &tls.certificate))),
            (TLS_KEY, path(tls.map(|tls| &tls.key))),
            (TLS_CLIENT_CA, path(tls.and_then(|tls| tls.client_ca.as_ref()))),
            (TOKENS, path(access.tokens.as_ref())),
            (JWT_ISSUER, text_of(access.jwt.as_ref().map(|jwt| jwt.issuer.clone()))),
            (JWT_AUDIENCE, text_of(access.jwt.as_ref().map(|jwt| jwt.audience.clone()))),
            (JWT_KEYS, text_of(access.jwt.as_ref().map(|jwt| jwt.keys.to_string()))),
            (JWT_CA, path(access.jwt.as_ref().and_then(|jwt| jwt.ca_file.as_ref()))),
            (JWT_TOKEN, path(access.jwt.as_ref().and_then(|jwt| jwt.token_file.as_ref()))),
            (
                TRUST_XFCC,
                text_of(
                    access.proxies.iter().map(IpNet::to_string).reduce(|all, it| all + "," + &it),
                ),
            ),
            (CALLERS, path(access.policy.as_ref())),
            (REFLECTION, settings.reflection.to_string()),
        ] {
            text += &format!("{name}={value}\n");
        }
        text
    }

    /// Who may call what, and how long the certificate lasts; for people.
    pub fn callers(&self) -> String {
        let mut text = String::new();
        if let Some(Ok(tls)) = self.tls.as_ref().map(tls::Files::read) {
            let end = humantime::format_rfc3339_seconds(tls.not_after);
            text += &format!("The certificate is good until {end}.\n");
        }
        text += &match self.access.policy.as_deref().map(Policy::read) {
            Some(Ok(policy)) => format!("Who may call what:\n{}", policy.summary()),
            _ if self.access.authenticates() => "Whoever is known may call everything.\n".into(),
            _ if self.grpc_addr.ip().is_loopback() => {
                "Callers are not told apart: whoever is on this machine may call everything.\n"
                    .into()
            }
            _ => {
                "CALLERS ARE NOT TOLD APART: whoever reaches the port may call everything.\n".into()
            }
        };
        text
    }
}

impl Check {
    /// The files are read, so that a mistake in one is found with all others.
    pub(super) fn door(
        &mut self,
        args: &DoorArgs,
        addr: Option<SocketAddr>,
    ) -> (Option<tls::Files>, access::Settings) {
        let tls = self.tls(args);
        let access = access::Settings {
            tokens: args.tokens_file.clone(),
            policy: args.callers_file.clone(),
            certificates: args.tls_client_ca_file.is_some(),
            jwt: self.jwt(args),
            proxies: self.proxies(args.trust_xfcc_from.as_deref()),
        };
        let tokens = self.file(TOKENS, args.tokens_file.as_deref(), Tokens::read);
        let policy = self.file(CALLERS, args.callers_file.as_deref(), Policy::read);
        if let (Some(policy), Some(tokens)) = (&policy, &tokens) {
            for identity in policy.identities() {
                let name = identity.token_name();
                if name.is_some_and(|name| tokens.names().all(|known| known != name)) {
                    let _: Option<()> = self.problem(CALLERS, format!("{identity:?} has no token"));
                }
            }
        }
        if policy.is_some() && !access.authenticates() {
            let what = format!("needs a way to know callers: {WAYS}");
            let _: Option<()> = self.problem(CALLERS, what);
        }
        let is_allowed = self.boolean(ALLOW_UNAUTHENTICATED, &args.allow_unauthenticated);
        let is_open = !access.authenticates() && is_allowed == Some(false);
        if is_open && addr.is_some_and(|addr| !addr.ip().is_loopback()) {
            let what = format!(
                "is beyond loopback, where callers must be known: set {WAYS}, or \
                 --allow-unauthenticated if something else keeps strangers out"
            );
            let _: Option<()> = self.problem("TOTP_FACADE_GRPC_ADDR", what);
        }
        (tls, access)
    }

    /// By default on loopback only.
    pub(super) fn reflection(&mut self, args: &DoorArgs, addr: Option<SocketAddr>) -> Option<bool> {
        match &args.reflection {
            Some(given) => self.boolean(REFLECTION, given),
            None => Some(addr.is_none_or(|addr| addr.ip().is_loopback())),
        }
    }

    fn jwt(&mut self, args: &DoorArgs) -> Option<jwt::Settings> {
        let given = [
            (JWT_ISSUER, &args.jwt_issuer),
            (JWT_AUDIENCE, &args.jwt_audience),
            (JWT_KEYS, &args.jwt_keys),
        ];
        let files = [(JWT_CA, &args.jwt_ca_file), (JWT_TOKEN, &args.jwt_token_file)];
        let is_set = given.iter().any(|(_, value)| value.is_some())
            || files.iter().any(|(_, file)| file.is_some());
        if !is_set {
            return None;
        }
        let [issuer, audience, keys] = given.map(|(setting, value)| match value.as_deref() {
            None | Some("") => self.problem(setting, "is required with the others of JWTs"),
            Some(value) => Some(value.to_owned()),
        });
        let keys = keys.and_then(|keys| self.jwt_keys(keys));
        match &keys {
            Some(jwt::Source::Url(_)) => self.fetching(args),
            Some(jwt::Source::File(_)) => {
                for (setting, _) in files.iter().filter(|(_, file)| file.is_some()) {
                    let what = format!("is for {JWT_KEYS} with a URL, and it is a file");
                    let _: Option<()> = self.problem(setting, what);
                }
            }
            None => {}
        }
        let (ca_file, token_file) = (args.jwt_ca_file.clone(), args.jwt_token_file.clone());
        Some(jwt::Settings {
            issuer: issuer?,
            audience: audience?,
            keys: keys?,
            ca_file,
            token_file,
        })
    }

    /// Where the keys are. A file is read.
    fn jwt_keys(&mut self, value: String) -> Option<jwt::Source> {
        match Url::parse(&value) {
            // A password is not quoted.
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.problem(JWT_KEYS, format!("must not hold credentials; see {JWT_TOKEN}"))
            }
            Ok(url) if is_confidential(&url) => Some(jwt::Source::Url(url)),
            Ok(url) if url.scheme() == "http" => {
                self.problem(JWT_KEYS, "must be https (http only on loopback), or a file")
            }
            _ => {
                let path = PathBuf::from(value);
                self.file(JWT_KEYS, Some(&path), jwt::read)?;
                Some(jwt::Source::File(path))
            }
        }
    }

    /// The files with which the keys are fetched are read.
    fn fetching(&mut self, args: &DoorArgs) {
        self.file(JWT_CA, args.jwt_ca_file.as_deref(), pem::check_authorities);
        self.file(JWT_TOKEN, args.jwt_token_file.as_deref(), jwt::check_token);
    }

    fn proxies(&mut self, value: Option<&str>) -> Vec<IpNet> {
        let parts = value.unwrap_or_default().split(',').map(str::trim).filter(|it| !it.is_empty());
        let (good, bad): (Vec<_>, Vec<_>) = parts.map(access::network).partition(Result::is_ok);
        for what in bad.into_iter().filter_map(Result::err) {
            let _: Option<()> = self.problem(TRUST_XFCC, what);
        }
        good.into_iter().flatten().collect()
    }

    fn tls(&mut self, args: &DoorArgs) -> Option<tls::Files> {
        let client_ca = args.tls_client_ca_file.clone();
        match (args.tls_cert_file.clone(), args.tls_key_file.clone()) {
            (Some(certificate), Some(key)) => {
                let files = tls::Files { certificate, key, client_ca };
                let read = files.read();
                read.map_err(|what| self.problem::<()>(setting_of(&files, &what), what)).ok()?;
                Some(files)
            }
            (None, None) => match client_ca {
                None => None,
                Some(_) => {
                    self.problem(TLS_CLIENT_CA, format!("needs {TLS_CERT} and {TLS_KEY} too"))
                }
            },
            (Some(_), None) => self.problem(TLS_KEY, format!("is required with {TLS_CERT}")),
            (None, Some(_)) => self.problem(TLS_CERT, format!("is required with {TLS_KEY}")),
        }
    }

    pub(super) fn file<T>(
        &mut self,
        setting: &'static str,
        path: Option<&Path>,
        read: fn(&Path) -> Result<T, String>,
    ) -> Option<T> {
        read(path?).map_err(|what| self.problem::<()>(setting, what)).ok()
    }
}

/// The setting of the file that a problem begins with.
fn setting_of(files: &tls::Files, what: &str) -> &'static str {
    let names = |path: &Path| what.starts_with(&format!("{}: ", path.display()));
    if names(&files.key) {
        TLS_KEY
    } else if files.client_ca.as_deref().is_some_and(names) {
        TLS_CLIENT_CA
    } else {
        TLS_CERT
    }
}
