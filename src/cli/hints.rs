//! Commands to paste, for a façade in front of the sandbox.

use std::path::Path;

use serde_json::json;

use super::{program::program, shell::word};
use crate::{config::ClientFiles, sandbox::Seed};

/// The URL that client commands call without a flag.
const DEFAULT_URL: &str = "http://127.0.0.1:50051";

/// Returns commands that call the façade at this URL, for the members of the sandbox. With TLS they
/// need the client's files.
pub(super) fn hints(seed: &Seed, url: &str, files: &ClientFiles) -> String {
    let Some((member, _)) = seed.members().next() else {
        return members(seed);
    };
    let (program, organization) = (program(), seed.organization());
    let ids = format!("--organization-id {} --member-id {}", word(organization), word(member));
    let token = format!("sandbox-login.{member}");
    let [organization, member] = [organization, member].map(|id| json!(id));
    let request = format!(r#"{{"organization_id":{organization},"member_id":{member}}}"#);
    let (flags, (transport, target)) = (flags(url, files), grpcurl(url, files));
    let trust = if url.starts_with("https://") && files.authorities.is_none() {
        "The commands trust the authorities of the system. For another one, give dev --ca-file \
         FILE too.\n\n"
    } else {
        ""
    };
    format!(
        "\nOpen the console in a browser, or try:\n  \
         {program} create {flags}{ids}\n  \
         {program} authenticate {flags}{ids} --intermediate-session-token {} --code CODE\n  \
         grpcurl {transport}-d {} {target} stytch.b2b.totp.v1.TotpService/Create\n\n\
         {trust}{}",
        word(&token),
        word(&request),
        members(seed)
    )
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
