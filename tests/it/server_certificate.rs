//! What is said of a server certificate that clients refuse.

use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

use crate::support::{
    PATIENCE,
    folder::Folder,
    process::{FREE_PORTS, Server, program},
};

/// The files of a server's certificate and its key.
struct Files(Folder);

impl Files {
    /// Writes a certificate that is its own authority, and good but for `change`.
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let files = Self(Folder::new());
        files.write(change);
        files
    }

    fn write(&self, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        self.0.write("server.pem", &params.self_signed(&key).unwrap().pem());
        self.0.write("server.key", &key.serialize_pem());
    }

    fn flags(&self) -> [String; 4] {
        let path = |name| self.0.path(name).to_str().unwrap().to_owned();
        ["--tls-cert-file", &path("server.pem"), "--tls-key-file", &path("server.key")]
            .map(str::to_owned)
    }

    /// Returns the exit code of `check`, and what it prints on both outputs.
    fn check(&self) -> (Option<i32>, String) {
        let mut command = program(&["check"]);
        command.env("STYTCH_PROJECT_ID", "project-test-1").env("STYTCH_SECRET", "secret");
        let output = command.args(self.flags()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }
}

fn expired(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
}

fn early(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(3000, 1, 1);
}

fn of_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

type Change = fn(&mut CertificateParams);

/// What is said of each.
const FLAWS: [(Change, &str); 3] = [
    (expired, "it expired on 2020-02-01T00:00:00Z"),
    (early, "it is not valid before 3000-01-01T00:00:00Z"),
    (of_authority, "basicConstraints=CA:FALSE"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_clients_refuse_is_reported_by_check_and_at_the_start() {
    let (code, text) = Files::new(|_| {}).check();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("The certificate is valid until 4096-01-01T00:00:00Z.\n"), "{text}");
    assert!(!text.contains("REFUSE"), "{text}");

    for (change, why) in FLAWS {
        let files = Files::new(change);
        let (code, text) = files.check();
        assert_eq!(code, Some(0), "{text}");
        let line = text.lines().find(|it| it.starts_with("CLIENTS REFUSE THE CERTIFICATE: "));
        assert!(line.is_some_and(|line| line.contains(why)), "{text}");
        assert_eq!(text.contains("is valid until"), !why.contains("expired"), "{text}");

        let at_start = Facade::of(&files).end();
        assert_eq!(refusals(&at_start, why), 1, "{at_start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_clients_will_refuse_is_reported_when_it_is_reloaded() {
    let files = Files::new(|_| {});
    let mut facade = Facade::of(&files);

    files.write(expired);

    facade.certificate_ends(1_580_515_200).await;
    let stderr = facade.end();
    assert_eq!(refusals(&stderr, "it expired on 2020-02-01T00:00:00Z"), 1, "{stderr}");
}

/// Counts the warnings that clients refuse the certificate, for this reason.
fn refusals(stderr: &str, why: &str) -> usize {
    let lines = stderr.lines().filter(|it| it.contains("clients refuse the server's certificate"));
    lines.filter(|line| line.contains(why) && line.contains("WARN")).count()
}

/// A running `dev`.
struct Facade(Server);

impl Facade {
    fn of(files: &Files) -> Self {
        let mut command = program(&["dev"]);
        command.args(FREE_PORTS).args(["--drain-delay", "0s"]).args(files.flags());
        let mut server = Server::start(command);
        server.addr("grpc");
        Self(server)
    }

    async fn certificate_ends(&mut self, expected: i64) {
        let admin = format!("http://{}/metrics", self.0.addr("admin"));
        let line = format!("totp_facade_tls_certificate_expiration_timestamp_seconds {expected}");
        let start = Instant::now();
        while !reqwest::get(&admin).await.unwrap().text().await.unwrap().contains(&line) {
            assert!(start.elapsed() < PATIENCE, "the façade does not follow the file");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops it, and returns its standard error.
    fn end(self) -> String {
        self.0.signal("TERM");
        self.0.end().2
    }
}
