//! Commands to paste, for a façade in front of the sandbox.

use super::program::program;
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
    let ids = format!("--organization-id {organization} --member-id {member}");
    let request = format!(r#"{{"organization_id":"{organization}","member_id":"{member}"}}"#);
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
         {program} authenticate {flags}{ids} --intermediate-session-token sandbox-login.{member} \
         --code CODE\n  \
         grpcurl {transport}-d '{request}' {target} stytch.b2b.totp.v1.TotpService/Create\n\n\
         {trust}{}",
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
    let addr = if url == DEFAULT_URL { String::new() } else { format!("--addr {url} ") };
    addr + &of_files(files, ["--ca-file", "--cert-file", "--key-file"])
}

/// Returns how grpcurl connects, and where to.
fn grpcurl(url: &str, files: &ClientFiles) -> (String, String) {
    let plaintext = "-plaintext ".to_owned();
    match (url.strip_prefix("unix:"), url.split_once("://")) {
        // Otherwise grpcurl sends the path as `:authority`, which is no host.
        (Some(path), _) => (plaintext, format!("-authority localhost -unix {path}")),
        (None, Some(("https", host))) => {
            (of_files(files, ["-cacert", "-cert", "-key"]), host.to_owned())
        }
        (None, other) => (plaintext, other.map_or(url, |(_, host)| host).to_owned()),
    }
}

/// Returns flags that name the files of TLS, each with a blank after it.
fn of_files(files: &ClientFiles, [ca, cert, key]: [&str; 3]) -> String {
    let ClientFiles { authorities, certificate } = files;
    let mut flags = String::new();
    if let Some(path) = authorities {
        flags += &format!("{ca} {} ", path.display());
    }
    if let Some((certificate, private)) = certificate {
        flags += &format!("{cert} {} {key} {} ", certificate.display(), private.display());
    }
    flags
}
