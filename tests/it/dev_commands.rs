//! The commands that `dev` prints work as printed, for each way in which it can be called; where
//! none can, `dev` says what to set. `.ci/callers.py` runs them with grpcurl itself.

use std::{
    fs,
    process::{Command, Output},
};

use rcgen::{CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

use totp_facade::access::token_line;

use crate::support::{
    credentials::Authority,
    folder::Folder,
    process::{FREE_PORTS, Server, program, run},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_totp-facade");

/// `login` may enrol, `support` may read in one organization, `robot` neither, `nobody` nothing.
/// Who runs the tests may enrol too, on a socket.
const POLICY: &str = r#"
[[caller]]
name = "user"
identities = ["unix:UID"]
methods = ["TotpService/*"]
[[caller]]
name = "login"
identities = ["token:login", "spiffe://example.org/login"]
methods = ["TotpService/*"]
[[caller]]
name = "support"
identities = ["token:support"]
methods = ["RecoveryCodesService/Get"]
organizations = ["works"]
[[caller]]
name = "reader"
identities = ["token:reader"]
methods = ["RecoveryCodesService/Get", "reflection"]
[[caller]]
name = "robot"
identities = ["token:robot"]
methods = ["TotpService/Delete", "RecoveryCodesService/Rotate"]
[[caller]]
name = "nobody"
identities = ["token:nobody"]
methods = []
[[caller]]
name = "elsewhere"
identities = ["token:elsewhere"]
methods = ["*"]
organizations = ["another"]
"#;

/// Files for every kind of listener and access.
struct Files {
    folder: Folder,
    tokens: Vec<(&'static str, String)>,
}

impl Files {
    fn new() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        folder.write("ca.pem", &authority.certificate.pem());
        for (name, names) in [
            ("server", "dns:localhost"),
            ("other", "dns:other.example"),
            ("login", "spiffe://example.org/login"),
            ("stranger", "dns:stranger"),
        ] {
            let (certificate, key) = authority.certify(&[names], false);
            folder.write(&format!("{name}.pem"), &certificate);
            folder.write(&format!("{name}.key"), &key);
        }
        let chain = ["server.pem", "ca.pem"].map(|it| fs::read_to_string(folder.path(it)).unwrap());
        folder.write("chain.pem", &chain.concat());
        self_signed(&folder, "self", &["localhost", "127.0.0.1"], IsCa::ExplicitNoCa);
        self_signed(&folder, "capital", &["LOCALHOST"], IsCa::ExplicitNoCa);
        self_signed(&folder, "unnamed", &[], IsCa::ExplicitNoCa);
        let is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        self_signed(&folder, "authority", &["localhost", "127.0.0.1"], is_ca);
        folder.write("policy", &POLICY.replace("UID", &user()));
        let mut lines = String::new();
        let names = ["login", "support", "reader", "robot", "nobody", "elsewhere"];
        let tokens = names.map(|name| {
            let (token, line) = token_line(name);
            lines += &format!("{line}\n");
            (name, token.to_string())
        });
        folder.write("tokens", &lines);
        Self { folder, tokens: tokens.into() }
    }

    /// Starts `dev` in the folder of the files with these flags, as the owner of a token. Returns
    /// what it prints beside the addresses, and with it the process.
    fn dev(&self, flags: &str, token: Option<&str>) -> (Server, String) {
        let mut command = program(&["dev"]);
        command.current_dir(&self.folder).args(["--drain-delay", "0s"]);
        command.args(if flags.contains("--grpc-addr") { &FREE_PORTS[2..] } else { &FREE_PORTS });
        // Otherwise the commands are for whoever calls it by cargo.
        command.args(flags.split_whitespace()).env_remove("CARGO");
        command.envs(token.map(|token| ("TOTP_FACADE_TOKEN", token)));
        let mut server = Server::start(command);
        let text = server.text_before("Members of ");
        (server, text)
    }

    fn token<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let token = self.tokens.iter().find(|(owner, _)| *owner == name);
        token.map(|(_, token)| token.as_str()).or(Some(name).filter(|name| !name.is_empty()))
    }

    /// Runs a command as printed, with `grpcurl` replaced by one that prints its words.
    fn run(&self, command: &str, token: Option<&str>) -> Output {
        let script = format!("grpcurl() {{ printf '%s\\n' \"$@\"; }}\n{command}");
        let mut shell = Command::new("sh");
        shell.args(["-ec", &script]).current_dir(&self.folder).env_remove("TOTP_FACADE_TOKEN");
        shell.envs(token.map(|token| ("TOTP_FACADE_TOKEN", token))).output().unwrap()
    }
}

/// The user id of this process.
fn user() -> String {
    let id = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8(id.stdout).unwrap().trim().to_owned()
}

fn self_signed(folder: &Folder, name: &str, names: &[&str], is_ca: IsCa) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = is_ca;
    let key = KeyPair::generate().unwrap();
    folder.write(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
    folder.write(&format!("{name}.key"), &key.serialize_pem());
}

/// The commands in what `dev` prints.
fn commands(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    lines.filter(|it| it.starts_with(PROGRAM) || it.starts_with("grpcurl ")).collect()
}

/// The subcommand of each command.
fn names<'a>(commands: &[&'a str]) -> Vec<&'a str> {
    let rest = |it: &'a str| it.strip_prefix(&format!("{PROGRAM} ")).unwrap_or(it);
    commands.iter().map(|it| rest(it).split(' ').next().unwrap()).collect()
}

const TLS: &str = "--tls-cert-file self.pem --tls-key-file self.key";
const MTLS: &str = "--tls-cert-file self.pem --tls-key-file self.key --tls-client-ca-file ca.pem";
const AS_LOGIN: &str = "--cert-file login.pem --key-file login.key";
const AS_STRANGER: &str = "--cert-file stranger.pem --key-file stranger.key";
const AS_SELF: &str = "--cert-file self.pem --key-file self.key";
const TOKENS: &str = "--tokens-file tokens";
const PER_POLICY: &str = "--tokens-file tokens --callers-file policy";

const ALL: &[&str] = &["create", "authenticate", "grpcurl"];
const WITHOUT_REFLECTION: &[&str] = &["create", "authenticate", "contract", "grpcurl"];
const ENROL: &[&str] = &["create", "authenticate"];
const READ: &[&str] = &["contract", "grpcurl"];

#[cfg(unix)]
#[test]
fn each_command_that_dev_prints_works_as_printed_for_each_listener_and_access() {
    let files = Files::new();
    let by_authority = "--tls-cert-file server.pem --tls-key-file server.key --ca-file ca.pem";
    let chain = "--tls-cert-file chain.pem --tls-key-file server.key";
    let socket = format!("--grpc-addr unix:{}", files.folder.path("grpc%20.sock").display());
    for (flags, owner, expected, needs) in [
        (&[][..], "", ALL, ""),
        (&["--reflection=false"], "", WITHOUT_REFLECTION, ""),
        (&[&*socket], "", ALL, ""),
        (&[&*socket, PER_POLICY], "", ENROL, ""),
        (
            &[&*socket, PER_POLICY],
            "reader",
            &["grpcurl"],
            "export TOTP_FACADE_TOKEN in their shell",
        ),
        (&[TLS], "", ALL, ""),
        (&["--tls-cert-file capital.pem --tls-key-file capital.key"], "", ALL, ""),
        (&[by_authority], "", ALL, ""),
        (&[chain], "", ALL, ""),
        (&[MTLS, AS_LOGIN], "", ALL, ""),
        (&[MTLS, AS_LOGIN, PER_POLICY], "", ENROL, ""),
        (&[TOKENS], "login", ALL, "The commands need the token too: export TOTP_FACADE_TOKEN"),
        (&[TLS, TOKENS], "login", ALL, "export TOTP_FACADE_TOKEN in their shell"),
        (&[PER_POLICY], "login", ENROL, "export TOTP_FACADE_TOKEN in their shell"),
        (&[PER_POLICY], "support", READ, "export TOTP_FACADE_TOKEN in their shell"),
        (&[TLS, PER_POLICY], "support", READ, "export TOTP_FACADE_TOKEN in their shell"),
        (&[PER_POLICY], "reader", &["grpcurl"], "export TOTP_FACADE_TOKEN in their shell"),
        (
            &[PER_POLICY],
            "robot",
            &["recovery-codes", "delete"],
            "or see the flags of the calls that can be made",
        ),
    ] {
        let (flags, token) = (flags.join(" "), files.token(owner));
        let (_server, text) = files.dev(&flags, token);
        let commands = commands(&text);

        assert_eq!(names(&commands), expected, "{flags} {owner}: {text}");
        assert_eq!(text.contains("TOTP_FACADE_TOKEN in their shell"), !owner.is_empty(), "{text}");
        assert!(text.contains(needs), "{flags} {owner}: {text}");
        assert!(token.is_none_or(|token| !text.contains(token)), "the token is shown: {text}");
        for command in commands {
            let output = files.run(command, token);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{flags} {owner}: {command}: {said}");
            if command.starts_with("grpcurl") {
                check_grpcurl(&String::from_utf8_lossy(&output.stdout), &flags, expected, owner);
            }
        }
    }
}

/// Checks the words of grpcurl's command line.
fn check_grpcurl(words: &str, flags: &str, expected: &[&str], owner: &str) {
    let words: Vec<_> = words.lines().collect();
    let follows = |flag: &str, value: &str| words.windows(2).any(|it| it == [flag, value]);
    assert_eq!(words.contains(&"-plaintext"), !flags.contains("--tls-cert-file"), "{words:?}");
    let authorities = ["ca.pem", "capital.pem", "chain.pem", "self.pem"];
    let trusted = authorities.into_iter().find(|it| {
        flags.contains(&format!("--ca-file {it}"))
            || flags.contains(&format!("--tls-cert-file {it}"))
    });
    for file in authorities {
        assert_eq!(follows("-cacert", file), trusted == Some(file), "{words:?}");
    }
    assert_eq!(follows("-protoset", "totp-facade.binpb"), expected.contains(&"contract"));
    assert_eq!(follows("-cert", "login.pem"), flags.contains(AS_LOGIN), "{words:?}");
    if let Some((_, path)) = flags.split_once("unix:") {
        let path = path.split(' ').next().unwrap();
        // grpcurl decodes it as the path of a URL.
        assert!(follows("-unix", &path.replace('%', "%25")), "{words:?}");
    }
    let header = "authorization: Bearer ${TOTP_FACADE_TOKEN}";
    assert_eq!(follows("-H", header), !owner.is_empty(), "the token is no argument: {words:?}");
    let organization = if owner == "support" { "works" } else { "example-works" };
    let request = format!(r#"{{"organization_id":"{organization}","member_id":"enrolled"}}"#);
    assert!(follows("-d", &request), "{words:?}");
}

#[cfg(unix)]
#[test]
fn dev_prints_commands_for_a_token_that_it_does_not_have_only_where_all_may_call_all() {
    let files = Files::new();
    let (_server, text) = files.dev(TOKENS, None);
    assert!(text.contains("Callers need a token: export TOTP_FACADE_TOKEN in the shell"), "{text}");
    for command in commands(&text) {
        assert!(files.run(command, files.token("robot")).status.success(), "{command}");
    }
    assert_eq!(names(&commands(&text)), ALL);
}

#[test]
fn where_no_command_can_work_dev_prints_none_and_says_what_to_set() {
    let files = Files::new();
    let untrusted = "--tls-cert-file server.pem --tls-key-file server.key";
    let other = "--tls-cert-file other.pem --tls-key-file other.key --ca-file ca.pem";
    let wrong = "--tls-cert-file server.pem --tls-key-file server.key --ca-file self.pem";
    let authority = "--tls-cert-file authority.pem --tls-key-file authority.key";
    for (flags, owner, expected) in [
        (
            &[untrusted][..],
            "",
            "No authority that the system trusts has issued the certificate: give dev --ca-file FILE",
        ),
        (
            &[wrong],
            "",
            "No authority in self.pem has issued the certificate: give dev --ca-file FILE",
        ),
        (
            &[other],
            "",
            "for other.example, and dev is called at 127.0.0.1: make one with subjectAltName=IP:127.0.0.1",
        ),
        (&[authority], "", "basicConstraints=CA:FALSE"),
        (
            &["--tls-cert-file unnamed.pem --tls-key-file unnamed.key"],
            "",
            "The certificate is for no DNS name or IP address, and dev is called at 127.0.0.1",
        ),
        (
            &[MTLS],
            "",
            "Callers need a client certificate: give dev --cert-file FILE and --key-file FILE",
        ),
        (
            &[MTLS, AS_SELF],
            "",
            "The façade refuses the certificate in self.pem: no authority in TOTP_FACADE_TLS_CLIENT_CA_FILE",
        ),
        (
            &[MTLS, "--callers-file policy", AS_STRANGER],
            "",
            "does not take the certificate in stranger.pem: no caller has this identity",
        ),
        (
            &[MTLS, PER_POLICY, AS_STRANGER],
            "login",
            "does not take the certificate in stranger.pem: no caller has this identity",
        ),
        (
            &[MTLS, PER_POLICY, AS_LOGIN],
            "wrong",
            "The façade does not take TOTP_FACADE_TOKEN: the token is unknown",
        ),
        (&[MTLS, "--trust-xfcc-from 127.0.0.1", AS_LOGIN], "", "call through that proxy"),
        (&[TOKENS], "wrong", "The façade does not take TOTP_FACADE_TOKEN: the token is unknown"),
        (&[PER_POLICY], "", "Callers need a token: export TOTP_FACADE_TOKEN in the shell of dev"),
        (&[PER_POLICY], "nobody", "The policy lets nobody call none of the RPCs"),
        (
            &[PER_POLICY],
            "elsewhere",
            "The policy allows elsewhere no organization of the sandbox: example-works, ",
        ),
        (&["--trust-xfcc-from 127.0.0.1"], "", "call through that proxy"),
    ] {
        let flags = flags.join(" ");
        let token = files.token(owner);
        let (_server, text) = files.dev(&flags, token);

        assert!(text.contains(expected), "{flags} {owner}: {text}");
        assert_eq!(commands(&text), Vec::<&str>::new(), "{flags} {owner}");
        assert!(token.is_none_or(|token| !text.contains(token)), "the token is shown: {text}");
    }
}

#[test]
fn files_for_the_calls_of_dev_are_refused_without_tls_by_the_settings_that_dev_has() {
    let output = run(&["dev", "--ca-file", "/nowhere/ca.pem"]);

    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    let expected = "error: --ca-file: needs TOTP_FACADE_TLS_CERT_FILE and TOTP_FACADE_TLS_KEY_FILE";
    assert!(said.starts_with(expected) && !said.contains("--addr"), "{said}");
}

#[test]
fn a_file_of_authorities_without_a_certificate_is_refused_by_its_name() {
    let folder = Folder::new();
    let path = folder.write("ca.pem", "no certificate");

    let addr = ["--addr", "https://127.0.0.1:1", "--ca-file", path.to_str().unwrap()];
    let output = run(&[&["healthcheck"], &addr[..]].concat());

    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    let expected = format!("error: --ca-file: {}: holds no certificate", path.display());
    assert!(said.starts_with(&expected), "{said}");
}

#[cfg(unix)]
#[test]
fn dev_enrols_no_member_of_a_seed_whom_the_sandbox_would_refuse() {
    let files = Files::new();
    let mut seed: Value =
        serde_json::from_str(include_str!("../../src/sandbox/seed.json")).unwrap();
    let members = seed["members"].as_array_mut().unwrap();
    // Those who need more than a first factor come first.
    members.sort_by_key(|member| member["mfa_phone_number_verified"] != true);
    members[0].as_object_mut().unwrap().remove("mfa_phone_number");
    files.folder.write("seed", &seed.to_string());
    seed["organizations"][0]["mfa_methods"] = json!("RESTRICTED");
    seed["organizations"][0]["allowed_mfa_methods"] = json!(["sms_otp"]);
    files.folder.write("restricted", &seed.to_string());

    for (flags, expected) in [("--seed seed", ALL), ("--seed restricted", &["grpcurl"])] {
        let (_server, text) = files.dev(flags, None);

        let commands = commands(&text);
        assert_eq!(names(&commands), expected, "{text}");
        for command in commands {
            assert!(files.run(command, None).status.success(), "{command}");
        }
    }
}

#[test]
fn before_its_jwks_is_fetched_dev_prints_all_commands_for_a_jwt_and_says_so() {
    let files = Files::new();
    let flags = "--jwt-keys http://127.0.0.1:1/jwks --jwt-issuer https://issuer.example \
                 --jwt-audience totp-facade";
    let jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.e30.AAAA";
    for policy in ["", "--callers-file policy"] {
        let (_server, text) = files.dev(&format!("{flags} {policy}"), Some(jwt));

        assert!(text.contains("The JWKS is still to be fetched"), "{text}");
        assert_eq!(names(&commands(&text)), ALL);
        assert!(!text.contains(jwt), "the token is shown: {text}");
    }
}
