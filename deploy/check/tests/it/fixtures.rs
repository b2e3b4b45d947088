//! What a cluster would put into the façade's container: variables and files, with contents of the right kind.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use totp_facade_deploy_check::{
    api::text,
    helm::program,
    invariants::files::volume_of,
    manifests::{Manifests, list},
};

/// What the façade finds in its container: variables, and files in a folder that stands for the root.
pub struct Container {
    pub environment: BTreeMap<String, String>,
    folder: TempDir,
}

impl Container {
    pub fn of(release: &Manifests) -> Self {
        let mut it = Self { environment: BTreeMap::new(), folder: TempDir::new().unwrap() };
        let contents = contents();
        for variable in list(&release.container()["env"]) {
            let name = text(variable, "/name");
            let value = match text(variable, "/value") {
                "" => of_secret(name).to_owned(),
                path if path.starts_with('/') => it
                    .write(path, &mounted(release, path).unwrap_or_else(|| contents[name].clone())),
                value => value.to_owned(),
            };
            it.environment.insert(name.to_owned(), value);
        }
        it
    }

    /// The path at which the container's file is here.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, content: &str) -> String {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The façade with the variables of the container, and no others.
    pub fn facade(&self) -> Command {
        let mut command = program("TOTP_FACADE");
        command.env_clear().envs(&self.environment).current_dir(self.folder.path());
        command
    }
}

pub fn output(command: &mut Command) -> (Output, String, String) {
    let output = command.output().unwrap();
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
    (output, stdout, stderr)
}

/// What a variable has that is read from a Secret of the user.
fn of_secret(variable: &str) -> &'static str {
    match variable {
        "STYTCH_PROJECT_ID" => "project-test-00000000-0000-4000-8000-000000000000",
        "TOTP_FACADE_IDEMPOTENCY_URL" => "rediss://:password@redis.redis.svc:6379",
        "OTEL_EXPORTER_OTLP_HEADERS" => "authorization=Bearer%20token",
        _ => panic!("{variable}: what would be in that Secret?"),
    }
}

/// The content of a file that the chart itself brings.
fn mounted(release: &Manifests, path: &str) -> Option<String> {
    let (volume, file) = volume_of(release, path)?;
    let map = release.named("ConfigMap", text(volume, "/configMap/name"))?;
    let item = list(&volume["configMap"]["items"]).iter().find(|item| item["path"] == file)?;
    map["data"][text(item, "/key")].as_str().map(str::to_owned)
}

/// What is in the files of the user, by the variable that names them.
fn contents() -> BTreeMap<&'static str, String> {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let (_, token, _) = output(program("TOTP_FACADE").args(["token", "login"]));
    let token = token.lines().find_map(|line| line.strip_prefix("line: ")).unwrap().to_owned();
    let policy = "[[caller]]\nname = \"login\"\nidentities = [\"token:login\"]\nmethods = [\"TotpService/*\"]\n";
    [
        ("STYTCH_SECRET_FILE", "secret-test-1".to_owned()),
        ("STYTCH_CA_FILE", ca.clone()),
        ("TOTP_FACADE_TLS_CERT_FILE", certificate.pem()),
        ("TOTP_FACADE_TLS_KEY_FILE", key.serialize_pem()),
        ("TOTP_FACADE_TLS_CLIENT_CA_FILE", ca.clone()),
        ("TOTP_FACADE_TOKENS_FILE", token),
        ("TOTP_FACADE_JWT_CA_FILE", ca.clone()),
        ("TOTP_FACADE_JWT_TOKEN_FILE", "token".to_owned()),
        ("TOTP_FACADE_CALLERS_FILE", policy.to_owned()),
        ("TOTP_FACADE_IDEMPOTENCY_CA_FILE", ca),
    ]
    .into()
}

/// The arguments of a container, with its files where they are here.
pub fn arguments(container: &Value, files: &BTreeMap<&str, &Path>) -> Vec<String> {
    let arguments = list(&container["args"]).iter().map(|it| it.as_str().unwrap().to_owned());
    let replace = |argument: String| {
        files.iter().fold(argument, |argument, (there, here)| {
            argument.replace(there, here.to_str().unwrap())
        })
    };
    arguments.map(replace).collect()
}
