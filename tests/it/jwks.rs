//! A JWKS behind a URL that requires a token and a private authority, as on a Kubernetes API
//! server.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tonic::Code;
use totp_facade::access::jwt;

use crate::{
    callers::taking_jwts_by,
    support::{
        credentials::{AUDIENCE, Authority, ISSUER, Issuing, jwks},
        door::{DoorFiles, becomes, create, is},
        folder::Folder,
        info, listener,
        peer::json,
        process::{program, serve, start},
    },
};

/// What the server serves at present.
struct Serving {
    acceptor: TlsAcceptor,
    token: String,
    keys: String,
}

/// An HTTPS server with a JWKS at `/openid/v1/jwks`.
struct Issuer {
    url: String,
    serving: Arc<Mutex<Serving>>,
}

impl Issuer {
    async fn new(authority: &Authority, token: &str, key: &Issuing) -> Self {
        let serving =
            Serving { acceptor: acceptor(authority), token: token.to_owned(), keys: jwks(&[key]) };
        let serving = Arc::new(Mutex::new(serving));
        let listener = listener().await;
        let port = listener.local_addr().unwrap().port();
        let its = Arc::clone(&serving);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&its);
                tokio::spawn(async move {
                    let acceptor = serving.lock().unwrap().acceptor.clone();
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut stream = BufReader::new(stream);
                    let mut head = Vec::new();
                    let mut line = String::new();
                    while stream.read_line(&mut line).await.is_ok_and(|read| read > 2) {
                        head.push(std::mem::take(&mut line).trim_end().to_owned());
                    }
                    let answer = {
                        let serving = serving.lock().unwrap();
                        let bearer = format!("authorization: Bearer {}", serving.token);
                        let asked = head.first().is_some_and(|it| it.contains(" /openid/v1/jwks "));
                        match (asked, head.contains(&bearer)) {
                            (true, true) => json(200, &serving.keys),
                            (true, false) => json(401, "{}"),
                            (false, _) => json(404, "{}"),
                        }
                    };
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { url: format!("https://localhost:{port}/openid/v1/jwks"), serving }
    }

    fn change(&self, change: impl FnOnce(&mut Serving)) {
        change(&mut self.serving.lock().unwrap());
    }

    fn settings(&self, ca_file: Option<&Path>, token_file: Option<&Path>) -> jwt::Settings {
        jwt::Settings {
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            keys: jwt::Source::Url(self.url.parse().unwrap()),
            ca_file: ca_file.map(Into::into),
            token_file: token_file.map(Into::into),
        }
    }
}

/// Returns an acceptor with a certificate of this authority.
fn acceptor(authority: &Authority) -> TlsAcceptor {
    let (certificate, key) = authority.certify(&["dns:localhost"], false);
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwks_is_fetched_with_a_private_authority_and_a_token_and_both_are_reloaded() {
    let (first, second) = (Authority::new(), Authority::new());
    let [one, two, three, four] = ["one", "two", "three", "four"].map(Issuing::new);
    let issuer = Issuer::new(&first, "token-1-never-printed", &one).await;
    let folder = Folder::new();
    let ca_file = folder.write("ca.pem", &first.certificate.pem());
    let token_file = folder.write("token", "\u{feff}token-1-never-printed\r\n");
    let mut command = serve("http://127.0.0.1:9", "secret");
    command.args(["--log", "trace", "--drain-delay", "0s"]).env("NO_PROXY", "localhost");
    command.args(["--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE, "--jwt-keys", &issuer.url]);
    command.arg("--jwt-ca-file").arg(&ca_file).arg("--jwt-token-file").arg(&token_file);
    let (server, url) = start(command);
    let channel = crate::support::channel(&url).await;
    // Stytch is unreachable, which is UNAVAILABLE too, but for another reason than missing keys.
    let is_known = async |key: &Issuing| {
        let token = key.sign(&json!({}));
        let start = std::time::Instant::now();
        loop {
            let status = create(&channel, Some(&token)).await.expect_err("Stytch is unreachable");
            if !info(&status).reason.starts_with("CALLER_") {
                return;
            }
            assert!(start.elapsed() < crate::support::PATIENCE, "it stays {status:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    is_known(&one).await;

    issuer.change(|serving| {
        serving.token = "token-2-never-printed".into();
        serving.keys = jwks(&[&two]);
    });
    is(create(&channel, Some(&two.sign(&json!({})))).await, Code::Unauthenticated, "not yet");
    folder.write("token", "token-2-never-printed");
    is_known(&two).await;

    issuer.change(|serving| {
        serving.acceptor = acceptor(&second);
        serving.keys = jwks(&[&three]);
    });
    folder.write("ca.pem", &second.certificate.pem());
    is_known(&three).await;

    // Both change at once, and one of the files is broken for a while.
    folder.write("ca.pem", "not a certificate");
    issuer.change(|serving| {
        serving.acceptor = acceptor(&first);
        serving.token = "token-3-never-printed".into();
        serving.keys = jwks(&[&four]);
    });
    folder.write("token", "token-3-never-printed\n");
    folder.write("ca.pem", &first.certificate.pem());
    is_known(&four).await;

    server.signal("TERM");
    let (_, stdout, stderr) = server.end();
    assert!(stderr.contains("hyper"), "tracing was on");
    assert!(!stdout.contains("never-printed") && !stderr.contains("never-printed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_authority_and_token_there_are_no_keys_and_failures_are_counted() {
    let (ours, other) = (Authority::new(), Authority::new());
    let key = Issuing::new("one");
    let issuer = Issuer::new(&ours, "right", &key).await;
    let folder = Folder::new();
    let right_ca = folder.write("right.pem", &ours.certificate.pem());
    let wrong_ca = folder.write("wrong.pem", &other.certificate.pem());
    let right = folder.write("right", "right");
    let wrong = folder.write("wrong", "wrong");
    let token = key.sign(&json!({}));
    for (ca_file, token_file, why) in [
        (None, Some(&right), "no authority"),
        (Some(&wrong_ca), Some(&right), "another authority"),
        (Some(&right_ca), None, "no token"),
        (Some(&right_ca), Some(&wrong), "another token"),
    ] {
        let files = DoorFiles::new(&[]);
        let settings = issuer.settings(ca_file.map(|it| &**it), token_file.map(|it| &**it));
        let facade = taking_jwts_by(&files, settings).await;
        let channel = facade.channel().await;

        facade.shows("totp_facade_reload_last_failed{file=\"jwks\"} 1").await;

        let status = create(&channel, Some(&token)).await.expect_err(why);
        assert_eq!(info(&status).reason, "CALLER_KEYS_UNAVAILABLE", "{why}");
        facade.shows("totp_facade_reload_last_success_timestamp_seconds{file=\"jwks\"} 0").await;
    }
    // The authority is removed and the token emptied, while the last JWKS stays in force.
    let files = DoorFiles::new(&[]);
    let facade = taking_jwts_by(&files, issuer.settings(Some(&right_ca), Some(&right))).await;
    let channel = facade.channel().await;
    becomes(&channel, Some(&token), Code::Ok).await;
    facade.shows("totp_facade_reload_failures_total{file=\"jwks\"} 0").await;
    folder.write("right", "\n");
    facade.shows("totp_facade_reload_failures_total{file=\"jwt_token\"} 1").await;
    folder.write("right.pem", "");
    facade.shows("totp_facade_reload_failures_total{file=\"jwks\"} 1").await;
    facade.shows("totp_facade_reload_failures_total{file=\"jwt_ca\"} 0").await;
    is(create(&channel, Some(&token)).await, Code::Ok, "the last JWKS stays in force");
    folder.write("right.pem", &ours.certificate.pem());
    facade.shows("totp_facade_reload_last_failed{file=\"jwks\"} 0").await;
}

#[test]
fn the_files_for_fetching_a_jwks_are_checked_at_start_and_shown() {
    let folder = Folder::new();
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let ca = text(folder.write("ca.pem", &Authority::new().certificate.pem()));
    let token = text(folder.write("token", "token-never-printed"));
    let two = text(folder.write("two", "never-printed two"));
    let wide = text(folder.write("wide", "never-printed-\u{e4}"));
    let empty = text(folder.write("empty", "\r\n"));
    let set = text(folder.write("jwks.json", &jwks(&[&Issuing::new("one")])));
    let missing = text(folder.path("missing"));
    let url = "https://kubernetes.default.svc/openid/v1/jwks";
    let check = |keys: Option<&str>, more: &[(&str, &str)]| {
        let mut command = program(&["check"]);
        command.env("STYTCH_PROJECT_ID", "project-test-1").env("STYTCH_SECRET", "secret");
        if let Some(keys) = keys {
            command.args(["--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE, "--jwt-keys", keys]);
        }
        for (name, value) in more {
            command.env(name, value);
        }
        let output = command.output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), stdout, String::from_utf8(output.stderr).unwrap())
    };
    const CA: &str = "TOTP_FACADE_JWT_CA_FILE";
    const TOKEN: &str = "TOTP_FACADE_JWT_TOKEN_FILE";

    let (code, stdout, stderr) = check(Some(url), &[(CA, &ca), (TOKEN, &token)]);
    assert_eq!(code, Some(0), "{stderr}");
    for line in [format!("{CA}={ca}"), format!("{TOKEN}={token}")] {
        assert!(stdout.lines().any(|it| it == line), "{line} in {stdout}");
    }
    for (keys, name, value, what) in [
        (Some(url), CA, &missing, "cannot read"),
        (Some(url), CA, &empty, "holds no certificate"),
        (Some(url), CA, &token, "holds no certificate"),
        (Some(url), TOKEN, &missing, "cannot read"),
        (Some(url), TOKEN, &empty, "is empty"),
        (Some(url), TOKEN, &two, "visible ASCII without blanks"),
        (Some(url), TOKEN, &wide, "visible ASCII without blanks"),
        (Some(&*set), CA, &ca, "is for TOTP_FACADE_JWT_KEYS with a URL"),
        (Some(&*set), TOKEN, &token, "is for TOTP_FACADE_JWT_KEYS with a URL"),
    ] {
        let (code, _, stderr) = check(keys, &[(name, value)]);

        assert_eq!(code, Some(64), "{name}={value}");
        let line = stderr.lines().find(|line| line.starts_with(&format!("error: {name}: ")));
        assert!(line.is_some_and(|line| line.contains(what)), "{name}={value}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(!stderr.contains("never-printed"), "{stderr}");
    }
    let (code, _, stderr) = check(None, &[(TOKEN, &token)]);
    assert_eq!(code, Some(64));
    assert!(stderr.contains("TOTP_FACADE_JWT_KEYS: is required"), "{stderr}");
    let (code, _, stderr) = check(Some("https://user:pass-word@issuer.example/keys"), &[]);
    assert_eq!(code, Some(64));
    assert!(stderr.contains("must not hold credentials") && !stderr.contains("pass-word"));
}
