//! Files as different tools write them: encodings, byte order marks, encrypted keys.

use std::{fs, path::Path, process::Output};

use totp_facade::access::token_line;

use crate::support::{
    credentials::{AUDIENCE, Authority, ISSUER, Issuing, jwks},
    door::DoorFiles,
    folder::Folder,
    process::{program, run},
};

/// Runs `check` with these settings.
fn check(settings: &[(&str, &Path)]) -> Output {
    let mut command = program(&["check", "--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE]);
    command.env("STYTCH_PROJECT_ID", "project-test-1");
    for (name, path) in settings {
        command.env(name, path);
    }
    command.output().unwrap()
}

#[test]
fn text_files_written_on_windows_are_read() {
    let (files, folder, ours) = (DoorFiles::new(&[]), Folder::new(), Authority::new());
    let policy = "[[caller]]\nname = 'login'\nmethods = ['*']\nidentities = ['token:login']\n";
    let texts = [
        ("STYTCH_SECRET_FILE", "secret-never-printed\n".to_owned()),
        ("TOTP_FACADE_TLS_CERT_FILE", fs::read_to_string(files.path("server.pem")).unwrap()),
        ("TOTP_FACADE_TLS_KEY_FILE", fs::read_to_string(files.path("server.key")).unwrap()),
        ("TOTP_FACADE_TLS_CLIENT_CA_FILE", ours.certificate.pem()),
        ("TOTP_FACADE_TOKENS_FILE", format!("{}\n# the last line\n", token_line("login").1)),
        ("TOTP_FACADE_CALLERS_FILE", policy.to_owned()),
        ("TOTP_FACADE_JWT_KEYS", format!("{}\n", jwks(&[&Issuing::new("one")]))),
    ];
    for (encoding, expected) in [("UTF-8", 0), ("UTF-8 with a mark", 0), ("UTF-16", 64)] {
        let written = texts.each_ref().map(|(name, text)| {
            let text = text.replace('\n', "\r\n");
            let bytes = match encoding {
                "UTF-8" => text.into_bytes(),
                "UTF-16" => {
                    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
                }
                _ => format!("\u{feff}{text}").into_bytes(),
            };
            let path = folder.path(name);
            fs::write(&path, bytes).unwrap();
            (*name, path)
        });

        let output = check(&written.each_ref().map(|(name, path)| (*name, &**path)));

        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(expected), "{encoding}: {stderr}");
        assert!(!stderr.contains("never-printed"), "{stderr}");
        if expected != 0 {
            // The key is read only once the certificate is valid.
            let said = stderr.matches("is UTF-16; save it as UTF-8").count();
            assert_eq!(said, 5, "{stderr}");
        }
    }
}

#[test]
fn an_encrypted_private_key_is_refused_by_its_cause_on_both_sides() {
    let (files, folder) = (DoorFiles::new(&[]), Folder::new());
    let secret = folder.write("secret", "secret");
    let body = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    let pem = |label: &str, headers: &str| {
        format!("-----BEGIN {label}-----\n{headers}{body}\n-----END {label}-----\n")
    };
    let legacy = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0123456789ABCDEF\n\n";
    for key in [
        pem("ENCRYPTED PRIVATE KEY", ""),
        pem("RSA PRIVATE KEY", legacy),
        pem("EC PRIVATE KEY", legacy),
        // As `openssl ecparam -genkey` writes it, with parameters before the key.
        format!("{}{}", pem("EC PARAMETERS", ""), pem("EC PRIVATE KEY", legacy)),
    ] {
        let (key, certificate) = (folder.write("key", &key), files.path("server.pem"));
        let served = check(&[
            ("STYTCH_SECRET_FILE", &secret),
            ("TOTP_FACADE_TLS_CERT_FILE", &certificate),
            ("TOTP_FACADE_TLS_KEY_FILE", &key),
        ]);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let called = run(&[
            "healthcheck",
            "--addr",
            "https://127.0.0.1:9",
            "--cert-file",
            &text(&certificate),
            "--key-file",
            &text(&key),
        ]);
        for (output, setting) in [(served, "TOTP_FACADE_TLS_KEY_FILE"), (called, "--key-file")] {
            let stderr = String::from_utf8(output.stderr).unwrap();
            let line = stderr.lines().find(|line| line.starts_with(&format!("error: {setting}: ")));
            assert!(line.is_some_and(|it| it.contains("is encrypted; decrypt it")), "{stderr}");
            assert_eq!(output.status.code(), Some(64), "{stderr}");
            assert!(!stderr.contains("MIGH"), "{stderr}");
        }
    }
}

/// As `openssl x509 -req` writes it without extensions.
const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBIzCBywIUP3odK30mB13c06yDvSr5L/7WgscwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjIwMDMzNloYDzIwOTUwNTA4MjAwMzM2
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AASm9/wy0aQGWfR7FvF5vLy8bHT+hb0f24TK1cHWZ9tLN9dHlNMQ5PBR+HiQvX44
6XJg3IJTy5QzsXAa/uzGfkyhMAoGCCqGSM49BAMCA0cAMEQCIHb0KKe86IssMT0O
1+TfM8AwzIHDJ9oWCMa10dRcrL9kAiB4PtBtEplkjvHXw7lA1b+16l60hzlyFkDy
ot/iOUFr6A==
-----END CERTIFICATE-----
";

#[test]
fn a_certificate_and_a_key_that_tls_cannot_use_are_refused_with_the_file_to_blame() {
    let (files, folder) = (DoorFiles::new(&[]), Folder::new());
    let secret = folder.write("secret", "secret");
    let (_, other_key) = Authority::new().certify(&["dns:localhost"], false);
    let other_key = folder.write("other.key", &other_key);
    let old = folder.write("old.pem", VERSION_1);
    let of_version_1 = "of X.509 version 1; TLS needs one of version 3, with a subjectAltName";
    let (key, certificate) =
        (["TOTP_FACADE_TLS_KEY_FILE", "--key-file"], ["TOTP_FACADE_TLS_CERT_FILE", "--cert-file"]);
    for (cert_file, key_file, settings, expected) in [
        (files.path("server.pem"), other_key, key, "does not belong to the certificate in "),
        (old, files.path("server.key"), certificate, of_version_1),
    ] {
        let served = check(&[
            ("STYTCH_SECRET_FILE", &secret),
            ("TOTP_FACADE_TLS_CERT_FILE", &cert_file),
            ("TOTP_FACADE_TLS_KEY_FILE", &key_file),
        ]);
        let [cert_file, key_file] = [&cert_file, &key_file].map(|it| it.to_str().unwrap());
        let addr = ["healthcheck", "--addr", "https://127.0.0.1:9"];
        let called =
            run(&[&addr[..], &["--cert-file", cert_file, "--key-file", key_file]].concat());
        for (output, setting) in [served, called].into_iter().zip(settings) {
            let stderr = String::from_utf8(output.stderr).unwrap();
            let line = stderr.lines().find(|line| line.starts_with(&format!("error: {setting}: ")));
            assert!(line.is_some_and(|it| it.contains(expected)), "{stderr}");
            assert_eq!(output.status.code(), Some(64), "{stderr}");
        }
    }
}
