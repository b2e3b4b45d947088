//! What users are told to run, and to try, where TLS is involved.

use std::{fs, path::PathBuf, process::Command};

use crate::support::{
    credentials::Authority,
    folder::Folder,
    process::{FREE_PORTS, Server, dev, program, run},
};

const IDS: [&str; 4] = ["--organization-id", "example-works", "--member-id", "fresh"];

/// The files of a façade with TLS: certificate, private key, and the authority of the certificate.
struct Files {
    _folder: Folder,
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Files {
    fn new() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        let (certificate, key) = authority.certify(&["dns:localhost"], false);
        Self {
            certificate: folder.write("server.pem", &certificate),
            key: folder.write("server.key", &key),
            authority: folder.write("ca.pem", &authority.certificate.pem()),
            _folder: folder,
        }
    }

    /// Starts `dev` with TLS. Returns it with its port.
    fn dev(&self, more: &[&str]) -> (Server, u16) {
        let mut command = program(&["dev"]);
        command.args(FREE_PORTS).args(more);
        command.arg("--tls-cert-file").arg(&self.certificate);
        command.arg("--tls-key-file").arg(&self.key);
        // Otherwise the hints are for whoever calls it by cargo.
        command.env_remove("CARGO");
        let mut server = Server::start(command);
        let port = server.addr("grpc").port();
        (server, port)
    }
}

/// Runs `create`, and returns what it says.
fn create(flags: &[&str]) -> String {
    let output = run(&[&["create"], flags, &IDS[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_commands_that_dev_prints_with_tls_work() {
    let files = Files::new();
    let ca = files.authority.to_str().unwrap();
    let (mut server, port) = files.dev(&["--ca-file", ca]);

    let args = server.line(&format!("  {} create ", env!("CARGO_BIN_EXE_totp-facade")));
    let args: Vec<_> = args.split(' ').take_while(|arg| *arg != ">").collect();
    let output = run(&[&["create"], &args[..]].concat());

    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let grpcurl = server.line("  grpcurl ");
    assert!(grpcurl.starts_with(&format!("-cacert {ca} -d '")), "{grpcurl}");
    assert!(
        grpcurl.contains(&format!("' localhost:{port} stytch.b2b.recovery_codes")),
        "{grpcurl}"
    );
}

#[test]
fn the_commands_that_dev_prints_are_quoted_for_the_shell() {
    let (files, folder) = (Files::new(), Folder::new());
    let ca = folder.path("the authority's; $(false)");
    fs::copy(&files.authority, &ca).unwrap();
    let (mut server, _) = files.dev(&["--ca-file", ca.to_str().unwrap()]);

    let program = env!("CARGO_BIN_EXE_totp-facade");
    let flags = server.line(&format!("  {program} create "));
    let script = format!("{program} create {flags}");
    let output = Command::new("sh").args(["-c", &script]).current_dir(&folder).output().unwrap();

    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    let grpcurl = server.line("  grpcurl ");
    let script = format!("printf '%s\\n' {grpcurl}");
    let words = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
    let words = String::from_utf8(words).unwrap();
    let words: Vec<_> = words.lines().collect();
    assert_eq!(words[..3], ["-cacert", ca.to_str().unwrap(), "-d"], "{grpcurl}");
}

#[test]
fn a_client_certificate_of_another_authority_is_refused_in_words_on_both_sides() {
    let (files, others) = (Files::new(), Files::new());
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let clients = path(&files.authority);
    let flags = ["--tls-client-ca-file", &clients, "--drain-delay", "0s"];
    let (server, port) = files.dev(&flags);
    let url = format!("https://localhost:{port}");
    let (certificate, key) = (path(&others.certificate), path(&others.key));

    let text = create(&[
        "--addr",
        &url,
        "--ca-file",
        &clients,
        "--cert-file",
        &certificate,
        "--key-file",
        &key,
    ]);

    assert!(text.contains("the façade refused the client certificate"), "{text}");
    server.signal("TERM");
    let stderr = server.end().2;
    let lines: Vec<_> = stderr.lines().filter(|it| it.contains("handshake refused")).collect();
    let [line] = lines[..] else { panic!("{stderr}") };
    assert!(line.contains("WARN") && line.contains("127.0.0.1:"), "{line}");
    assert!(line.contains("no authority in TOTP_FACADE_TLS_CLIENT_CA_FILE has issued"), "{line}");
}

#[test]
fn a_client_is_told_what_to_try_where_one_side_alone_speaks_tls() {
    let files = Files::new();
    let ca = ["--ca-file", files.authority.to_str().unwrap()];
    let (_with_tls, port) = files.dev(&[]);
    let (_without, plain) = dev(&[]);

    let text = create(&["--addr", &format!("http://localhost:{port}")]);
    let hint = format!("if the port is for TLS, try --addr https://localhost:{port}");
    assert!(text.contains(&hint), "{text}");

    let text = create(&[&["--addr", &plain.replace("http://", "https://")], &ca[..]].concat());
    let hint = format!("does not speak TLS on this port: try --addr {plain}");
    assert!(text.contains(&hint), "{text}");

    // Leads to the same port, but is no loopback address.
    let beyond = plain.replace("http://127.0.0.1:", "https://0.0.0.0:");
    let text = create(&[&["--addr", &beyond], &ca[..]].concat());
    assert!(text.contains("does not speak TLS on this port"), "{text}");
    assert!(!text.contains("http://"), "a token would travel in the clear: {text}");

    let text = create(&["--addr", &format!("https://localhost:{port}")]);
    assert!(text.contains("no trusted authority has issued"), "{text}");
    assert!(text.contains(" in --ca-file"), "{text}");
}
