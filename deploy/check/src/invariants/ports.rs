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

/// Every mention of a port by its name is of one that exists; probes are of the admin port.
pub fn exist(release: &Manifests) -> Vec<String> {
    let declared: Vec<_> =
        list(&release.container()["ports"]).iter().map(|port| &port["name"]).collect();
    let mentions = services(release).chain(policies(release)).chain(probes(release));
    let mut problems: Vec<_> = mentions
        .filter(|(_, port)| !port.is_number() && !declared.contains(port))
        .map(|(whose, port)| format!("{whose}: there is no port {port}"))
        .collect();
    for (whose, port) in probes(release).filter(|(_, port)| *port != "admin") {
        problems.push(format!("{whose}: asks port {port}, not admin"));
    }
    problems
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

fn probes(release: &Manifests) -> impl Iterator<Item = Mention<'_>> {
    let probes = ["livenessProbe", "readinessProbe"].into_iter();
    probes.map(|probe| (probe.to_owned(), &release.container()[probe]["httpGet"]["port"]))
}
