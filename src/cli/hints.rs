//! Commands to paste, for a façade in front of the sandbox.

use std::path::Path;

use serde_json::json;

use super::{permissions::Permissions, program::program, shell::word};
use crate::{
    access::REFLECTION,
    client::RPCS,
    config::{ClientConfig, ClientFiles},
    proto::{MAIN_GROUP, Method},
    sandbox::Seed,
};

/// The URL that client commands call without a flag.
const DEFAULT_URL: &str = "http://127.0.0.1:50051";

const CREATE: &str = "stytch.b2b.totp.v1.TotpService/Create";
const AUTHENTICATE: &str = "stytch.b2b.totp.v1.TotpService/Authenticate";
const GET: &str = "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get";

/// Where grpcurl reads the contract without reflection.
const CONTRACT: &str = "totp-facade.binpb";

/// Returns commands that call the façade as this client does, for the members of the sandbox, and
/// what they need besides. Only commands that the façade lets the client call are among them.
pub(super) fn hints(
    seed: &Seed,
    client: &ClientConfig,
    permissions: Result<Permissions, String>,
    reflection: bool,
) -> String {
    let members = members(seed);
    let permissions = match permissions {
        Ok(permissions) => permissions,
        Err(what) => return format!("\n{what}\n\n{members}"),
    };
    let name = permissions.caller.name();
    let allowed = |(id, _): &(&str, &str)| permissions.caller.authorize_for(id).is_ok();
    let Some((organization, organization_id)) = seed.organizations().find(allowed) else {
        let ids: Vec<_> = seed.organizations().map(|(spelling, _)| spelling).collect();
        let ids = ids.join(", ");
        return format!(
            "\nThe policy allows {name} no organization of the sandbox: {ids}.\n\n{members}"
        );
    };
    let target = Target { client, permissions: &permissions, organization, reflection };
    let mut commands = Vec::new();
    if let Some(member) = seed.member_to_enrol(organization_id) {
        commands.extend(target.enrolment(member));
    }
    if let Some(member) = seed.member_with_recovery_codes(organization_id) {
        commands.extend(target.recovery_codes(member));
    }
    let mut what = "try one after the other";
    if commands.is_empty() {
        commands = target.help();
        what = "see the flags of the calls that can be made";
    }
    if commands.is_empty() {
        return format!("\nThe policy lets {name} call none of the RPCs.\n\n{members}");
    }
    let draws = commands.iter().any(|command| command.ends_with("> totp.json"));
    let qr_code = match draws {
        true => "On a terminal, without > totp.json, create draws the QR code for a phone.\n\n",
        false => "",
    };
    let note = permissions.note.map_or_else(String::new, |note| format!("{note}\n\n"));
    let commands: String = commands.iter().map(|command| format!("  {command}\n")).collect();
    format!("\n{note}Open the console in a browser, or {what}:\n{commands}\n{qr_code}{members}")
}

/// Lists the members of the sandbox.
pub(super) fn members(seed: &Seed) -> String {
    let mut text = format!("Members of {}:\n", seed.organization());
    for (id, name) in seed.members() {
        text += &format!("  {id:<16}{name}\n");
    }
    text
}

/// What the commands call, and as whom.
struct Target<'a> {
    client: &'a ClientConfig,
    permissions: &'a Permissions,
    organization: &'a str,
    reflection: bool,
}

impl Target<'_> {
    /// Returns the commands that enrol a member and log in.
    fn enrolment(&self, member: &str) -> Vec<String> {
        if !self.may(CREATE) {
            return Vec::new();
        }
        let (program, flags) = (program(), flags(&self.client.url, &self.client.files));
        let ids = format!(
            "{flags}--organization-id {} --member-id {}",
            word(self.organization),
            word(member)
        );
        let token = format!("sandbox-login.{member}");
        let authenticate = format!(
            "{program} authenticate {ids} --intermediate-session-token {} --code \"$({program} code \
             < totp.json)\"",
            word(&token)
        );
        let create = format!("{program} create {ids} > totp.json");
        [Some(create), self.may(AUTHENTICATE).then_some(authenticate)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Returns the commands that read a member's recovery codes.
    fn recovery_codes(&self, member: &str) -> Vec<String> {
        if !self.may(GET) {
            return Vec::new();
        }
        let (transport, target) = grpcurl(&self.client.url, &self.client.files);
        // The token stays out of the arguments, which every user of the machine can read.
        let header = match self.permissions.needs_token {
            true => "-expand-headers -H 'authorization: Bearer ${TOTP_FACADE_TOKEN}' ",
            false => "",
        };
        let has_reflection = self.reflection && self.may(REFLECTION);
        let (contract, protoset) = match has_reflection {
            true => (None, String::new()),
            false => (
                Some(format!("{} contract --out {CONTRACT}", program())),
                format!("-protoset {CONTRACT} "),
            ),
        };
        let [organization, member] = [self.organization, member].map(|id| json!(id));
        let request = format!(r#"{{"organization_id":{organization},"member_id":{member}}}"#);
        let request = word(&request);
        let get = format!("grpcurl {transport}{protoset}{header}-d {request} {target} {GET}");
        contract.into_iter().chain([get]).collect()
    }

    /// Returns the commands that describe what the caller may call.
    fn help(&self) -> Vec<String> {
        let allowed = RPCS.iter().filter(|rpc| self.may(rpc.method.name));
        let command = |Method { group, command, .. }: &Method| match *group {
            MAIN_GROUP => format!("{} {command} --help", program()),
            group => format!("{} {group} {command} --help", program()),
        };
        allowed.map(|rpc| command(rpc.method)).collect()
    }

    fn may(&self, method: &str) -> bool {
        self.permissions.caller.may_call(method)
    }
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
        (Some(path), _) => {
            (plaintext, format!("-authority localhost -unix {}", word(&escaped(path))))
        }
        (None, Some(("https", host))) => {
            (of_files(files, ["-cacert", "-cert", "-key"]), word(host).into_owned())
        }
        (None, other) => (plaintext, word(other.map_or(url, |(_, host)| host)).into_owned()),
    }
}

/// grpcurl takes the path of a socket for that of a URL.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('#', "%23").replace('?', "%3F")
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
