//! The ports, which have one name and one number wherever they are mentioned.

use serde_json::Value;

use crate::{
    api::text,
    manifests::{Manifests, list},
};

/// What listens where: the settings and the container's ports say the same.
pub fn are_those_of_the_settings(release: &Manifests) -> Vec<String> {
    let variables = release.variables();
    let mut problems = Vec::new();
    for (name, setting) in [("grpc", "TOTP_FACADE_GRPC_ADDR"), ("admin", "TOTP_FACADE_ADMIN_ADDR")]
    {
        let listens =
            variables.get(setting).and_then(|it| it.rsplit_once(':')).map(|(_, port)| port);
        let ports = list(&release.container()["ports"]).iter();
        let declared: Vec<_> = ports
            .filter(|port| port["name"] == name)
            .map(|port| port["containerPort"].to_string())
            .collect();
        if declared.iter().map(String::as_str).ne(listens) {
            problems.push(format!(
                "port {name}: {setting} says {listens:?}, and the container {declared:?}"
            ));
        }
    }
    problems
}

/// Every mention of a port by its name is of one that exists.
pub fn exist(release: &Manifests) -> Vec<String> {
    let declared: Vec<_> =
        list(&release.container()["ports"]).iter().map(|port| &port["name"]).collect();
    let mentions = services(release).chain(policies(release)).chain(asked_by_http(release));
    mentions
        .filter(|(_, port)| !port.is_number() && !declared.contains(port))
        .map(|(whose, port)| format!("{whose}: there is no port {port}"))
        .collect()
}

/// Probes ask the admin port by HTTP, or the gRPC port by gRPC if it speaks no TLS, which the kubelet does not.
pub fn are_probed(release: &Manifests) -> Vec<String> {
    let encrypts = release.variables().contains_key("TOTP_FACADE_TLS_CERT_FILE");
    let grpc = list(&release.container()["ports"]).iter().find(|port| port["name"] == "grpc");
    let grpc = grpc.map(|port| &port["containerPort"]);
    let problem = |(whose, probe): (&str, &Value)| {
        let (http, by_grpc) = (&probe["httpGet"]["port"], &probe["grpc"]["port"]);
        match (http.is_null(), by_grpc.is_null()) {
            (false, true) if http == "admin" => None,
            (false, true) => Some(format!("{whose}: asks port {http} by HTTP, not admin")),
            (true, false) if encrypts => Some(format!("{whose}: asks by gRPC a port with TLS")),
            (true, false) if Some(by_grpc) == grpc => None,
            (true, false) => Some(format!("{whose}: asks port {by_grpc} by gRPC, not {grpc:?}")),
            _ => Some(format!("{whose}: asks neither by HTTP nor by gRPC alone")),
        }
    };
    probes(release).filter_map(problem).collect()
}

type Mention<'r> = (String, &'r Value);

fn services(release: &Manifests) -> impl Iterator<Item = Mention<'_>> {
    release.of_kind("Service").flat_map(|service| {
        let whose = format!("Service {}", text(service, "/metadata/name"));
        list(&service["spec"]["ports"]).iter().map(move |port| (whose.clone(), &port["targetPort"]))
    })
}

fn policies(release: &Manifests) -> impl Iterator<Item = Mention<'_>> {
    let rules =
        release.of_kind("NetworkPolicy").flat_map(|policy| list(&policy["spec"]["ingress"]));
    let ports = rules.flat_map(|rule| list(&rule["ports"]));
    ports.map(|port| ("NetworkPolicy".to_owned(), &port["port"]))
}

fn asked_by_http(release: &Manifests) -> impl Iterator<Item = Mention<'_>> {
    let ports = probes(release).map(|(name, probe)| (name.to_owned(), &probe["httpGet"]["port"]));
    ports.filter(|(_, port)| !port.is_null())
}

fn probes(release: &Manifests) -> impl Iterator<Item = (&'static str, &Value)> {
    ["livenessProbe", "readinessProbe"].into_iter().map(|name| (name, &release.container()[name]))
}
