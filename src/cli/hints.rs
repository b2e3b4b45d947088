//! Commands to paste, for a façade in front of the sandbox.

use std::path::Path;

use serde_json::json;

use super::{program::program, shell::word};
use crate::{
    access,
    config::{ClientConfig, ClientFiles},
    sandbox::Seed,
};

/// The URL that client commands call without a flag.
const DEFAULT_URL: &str = "http://127.0.0.1:50051";

/// Returns commands that call the façade as this client does, for the members of the sandbox, and
/// what they need besides.
pub(super) fn hints(seed: &Seed, client: &ClientConfig, access: &access::Settings) -> String {
    let Some((member, _)) = seed.members().next() else {
        return members(seed);
    };
    let (program, organization) = (program(), seed.organization());
    let ids = format!("--organization-id {} --member-id {}", word(organization), word(member));
    let token = format!("sandbox-login.{member}");
    let [organization, member] = [organization, member].map(|id| json!(id));
    let request = format!(r#"{{"organization_id":{organization},"member_id":{member}}}"#);
    let ClientConfig { url, files, .. } = client;
    let (flags, (transport, target)) = (flags(url, files), grpcurl(url, files));
    let needs = needs(client, access);
    let header = needs.map_or("", Needs::header);
    format!(
        "\n{}{}Open the console in a browser, or try one after the other:\n  \
         {program} create {flags}{ids} > totp.json\n  \
         {program} authenticate {flags}{ids} --intermediate-session-token {} \
         --code \"$({program} code < totp.json)\"\n  \
         grpcurl {transport}{header}-d {} {target} \
         stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get\n\n\
         On a terminal, without > totp.json, create draws the QR code for a phone.\n\n\
         {}",
        trust(client),
        needs.map_or("", Needs::explain),
        word(&token),
        word(&request),
        members(seed)
    )
}

/// Says whom the commands trust, if nobody has said it.
fn trust(client: &ClientConfig) -> &'static str {
    if client.url.starts_with("https://") && client.files.authorities.is_none() {
        "The commands trust the authorities of the system. For another one, give dev --ca-file \
         FILE too.\n\n"
    } else {
        ""
    }
}

/// What callers have to present, and the commands cannot name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Token { is_given: bool },
    Certificate,
}

/// Returns what the commands need besides their flags.
fn needs(client: &ClientConfig, access: &access::Settings) -> Option<Needs> {
    if access.certificates && client.files.certificate.is_some() {
        None
    } else if access.tokens.is_some() || access.jwt.is_some() {
        Some(Needs::Token { is_given: client.authorization.is_some() })
    } else {
        access.certificates.then_some(Needs::Certificate)
    }
}

impl Needs {
    /// Returns the flags with which grpcurl presents it, each with a blank after it. The token
    /// stays out of the arguments, which every user of the machine can read.
    fn header(self) -> &'static str {
        match self {
            Self::Token { .. } => {
                "-expand-headers -H 'authorization: Bearer ${TOTP_FACADE_TOKEN}' "
            }
            Self::Certificate => "",
        }
    }

    fn explain(self) -> &'static str {
        match self {
            Self::Token { is_given: true } => {
                "The commands need the token too: export TOTP_FACADE_TOKEN in their shell.\n\n"
            }
            Self::Token { is_given: false } => {
                "Callers need a token: export TOTP_FACADE_TOKEN in the shell of the commands, and \
                 in that of dev, whose console calls with it.\n\n"
            }
            Self::Certificate => {
                "Callers need a client certificate: give dev --cert-file FILE and --key-file FILE \
                 too.\n\n"
            }
        }
    }
}

/// Lists the members of the sandbox.
pub(super) fn members(seed: &Seed) -> String {
    let mut text = format!("Members of {}:\n", seed.organization());
    for (id, name) in seed.members() {
        text += &format!("  {id:<16}{name}\n");
    }
    text
}

/// Returns the flags of client commands, each with a blank after it.
fn flags(url: &str, files: &ClientFiles) -> String {
    let addr = if url == DEFAULT_URL { String::new() } else { format!("--addr {} ", word(url)) };
    addr + &of_files(files, ["--ca-file", "--cert-file", "--key-file"])
}

/// Returns how grpcurl connects, and where to.
fn grpcurl(url: &str, files: &ClientFiles) -> (String, String) {
    let plaintext = "-plaintext ".to_owned();
    match (url.strip_prefix("unix:"), url.split_once("://")) {
        // Otherwise grpcurl sends the path as `:authority`, which is no host.
        (Some(path), _) => (plaintext, format!("-authority localhost -unix {}", word(path))),
        (None, Some(("https", host))) => {
            (of_files(files, ["-cacert", "-cert", "-key"]), word(host).into_owned())
        }
        (None, other) => (plaintext, word(other.map_or(url, |(_, host)| host)).into_owned()),
    }
}

/// Returns flags that name the files of TLS, each with a blank after it.
fn of_files(files: &ClientFiles, [ca, cert, key]: [&str; 3]) -> String {
    let ClientFiles { authorities, certificate } = files;
    let flag = |name: &str, path: &Path| format!("{name} {} ", word(&path.to_string_lossy()));
    let mut flags = String::new();
    if let Some(path) = authorities {
        flags += &flag(ca, path);
    }
    if let Some((certificate, private)) = certificate {
        flags += &(flag(cert, certificate) + &flag(key, private));
    }
    flags
}
