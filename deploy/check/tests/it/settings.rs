//! The façade itself accepts what the chart sets, runs with it, and answers what the chart asks.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use totp_facade_deploy_check::{
    api::text,
    helm,
    manifests::{Manifests, list},
};

use crate::{
    fixtures::{Container, arguments, output},
    sets,
};

/// What `totp-facade check` prints for a release; it has to accept it.
fn checked(set: &str, container: &Container) -> String {
    let (output, stdout, stderr) = output(container.facade().arg("check"));
    assert!(output.status.success(), "{set}: {stdout}{stderr}");
    stdout
}

/// The settings that `check` printed.
fn names(printed: &str) -> BTreeSet<&str> {
    let lines = printed.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(name, _)| name)
        .filter(|name| name.bytes().all(|it| it.is_ascii_uppercase() || it == b'_'))
        .collect()
}

#[test]
fn the_facade_accepts_the_settings_of_every_set_and_knows_each_of_them() {
    for (set, release) in sets::all() {
        let container = Container::of(&release);

        let printed = checked(&set, &container);

        let set_here: BTreeSet<_> = container.environment.keys().map(String::as_str).collect();
        assert!(set_here.is_subset(&names(&printed)), "{set}: {set_here:?} {printed}");
    }
}

#[test]
fn a_setting_that_the_facade_refuses_is_found() {
    let mut container = Container::of(&sets::one("minimal"));
    container.environment.remove("TOTP_FACADE_TOKENS_FILE");

    let (output, _, stderr) = output(container.facade().arg("check"));

    assert_eq!(output.status.code(), Some(64));
    assert!(stderr.contains("is beyond loopback, where callers must be identified"), "{stderr}");
}

#[test]
fn check_says_who_may_call_what_by_the_policy_in_the_values() {
    for (set, identity) in [
        ("tls", "dns:login.web.svc"),
        ("istio", "spiffe://cluster.local/ns/web/sa/login"),
        ("linkerd", "jwt:system:serviceaccount:web:login"),
        ("spiffe", "spiffe://example.org/ns/support/sa/desk"),
    ] {
        let printed = checked(set, &Container::of(&sets::one(set)));

        assert!(printed.contains(identity), "{set}: {printed}");
    }
}

/// `settings` takes what has no value of its own, and no secrets, which `extraEnv` takes from Secrets; nor the mode of a
/// Unix domain socket, which no pod listens on.
#[test]
fn the_schema_has_every_other_setting_of_the_facade() {
    let schema = fs::read_to_string(helm::chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let listed = list(&schema["properties"]["settings"]["propertyNames"]["enum"])
        .iter()
        .map(|it| it.as_str().unwrap());
    let release = sets::one("everything");
    let container = Container::of(&release);
    let printed = checked("everything", &container);

    let own = own_settings();
    let others = ["STYTCH_SECRET", "TOTP_FACADE_GRPC_SOCKET_MODE"];
    let taken = |name: &&&str| !name.ends_with("_HEADERS") && !others.contains(*name);
    let expected: BTreeSet<_> = names(&printed).into_iter().collect();
    let expected: BTreeSet<_> =
        expected.iter().filter(|name| !own.contains(**name)).filter(taken).copied().collect();

    assert_eq!(listed.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_chart_knows_every_setting_that_is_a_secret() {
    let refusals = fs::read_to_string(helm::chart().join("templates/_refusals.tpl")).unwrap();
    let (_, known) = refusals.split_once("define \"totp-facade.secretSettings\"").unwrap();
    let known = known.lines().skip(1).take_while(|line| !line.starts_with("{{"));
    let known = known.filter_map(|line| line.strip_prefix("- ")).collect::<BTreeSet<_>>();
    let (_, help, _) = output(helm::program("TOTP_FACADE").arg("--help"));
    let (_, secrets) = help.split_once("Secrets, read from environment variables only:\n").unwrap();
    let secrets = secrets.lines().take_while(|line| !line.is_empty());
    let secrets = secrets.filter_map(|line| line.strip_prefix("  "));

    assert_eq!(known, secrets.filter(|line| !line.starts_with(' ')).collect());
}

/// The settings that the chart's templates set from values of their own.
fn own_settings() -> BTreeSet<String> {
    let templates = fs::read_to_string(helm::chart().join("templates/_container.tpl")).unwrap();
    let names = templates.lines().filter_map(|line| line.strip_prefix("- name: "));
    names.filter(|name| !name.contains('{')).map(str::to_owned).collect()
}

/// A façade that runs as the release says, but on free ports of loopback.
struct Serving {
    process: Child,
    grpc: String,
    admin: String,
}

impl Serving {
    fn start(container: &Container, release: &Manifests) -> Self {
        let mut command = container.facade();
        command.args(arguments(release.container(), &[].into()));
        for address in ["TOTP_FACADE_GRPC_ADDR", "TOTP_FACADE_ADMIN_ADDR"] {
            command.env(address, "127.0.0.1:0");
        }
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines =
            BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut address = || lines.next().unwrap().rsplit_once(' ').unwrap().1.to_owned();
        Self { grpc: address(), admin: address(), process }
    }

    /// The status of a response of the admin port.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response.split(' ').nth(1).unwrap().to_owned()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_running_facade_answers_what_the_chart_asks_and_ends_within_the_grace_period() {
    let release = sets::one("everything");
    let container = Container::of(&release);
    let mut serving = Serving::start(&container, &release);

    for probe in ["livenessProbe", "readinessProbe"] {
        let path = text(&release.container()[probe], "/httpGet/path");
        assert_eq!(serving.get(path), "200", "{path}");
    }
    for monitor in release.of_kind("ServiceMonitor") {
        assert_eq!(serving.get(text(monitor, "/spec/endpoints/0/path")), "200");
    }
    assert_eq!(serving.get("/other"), "404");
    healthcheck(&release, &container, &serving);

    let begun = Instant::now();
    let id = serving.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(serving.process.wait().unwrap().success());
    let grace = release.template()["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!((Duration::from_millis(1500)..Duration::from_secs(grace)).contains(&begun.elapsed()));
}

#[test]
fn a_running_facade_answers_the_probes_by_grpc() {
    let release = sets::one("grpc-probes");
    let serving = Serving::start(&Container::of(&release), &release);
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(release.container()[probe]["grpc"], json!({ "port": 50051 }), "{probe}");
    }
    let address = format!("--addr=http://{}", serving.grpc);

    // Asks for the whole server, without an identity, as the kubelet does.
    let (output, stdout, stderr) =
        output(helm::program("TOTP_FACADE").args(["healthcheck", &address]));

    assert!(output.status.success() && stdout == "SERVING\n", "{stdout}{stderr}");
}

/// The pod of `helm test` with its own arguments, to the port that was free.
fn healthcheck(release: &Manifests, container: &Container, serving: &Serving) {
    let pod = release.of_kind("Pod").next().unwrap();
    let ca = container.path("/etc/totp-facade/client-ca/ca.crt");
    let mut arguments = arguments(
        &pod["spec"]["containers"][0],
        &[("/etc/totp-facade/ca/ca.crt", ca.as_path())].into(),
    );
    let address = arguments.iter_mut().find(|it| it.starts_with("--addr=")).unwrap();
    assert_eq!(address, "--addr=https://second-factor.identity.svc:443");
    let port = serving.grpc.rsplit_once(':').unwrap().1;
    *address = format!("--addr=https://localhost:{port}");

    let (output, stdout, stderr) = output(helm::program("TOTP_FACADE").args(arguments));

    assert!(output.status.success() && stdout == "SERVING\n", "{stdout}{stderr}");
}
