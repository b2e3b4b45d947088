//! The NetworkPolicy.

use serde_json::{Value, json};

use crate::{
    api::text,
    manifests::{Manifests, list},
};

/// A rule whose peers are missing, null or an empty list is for everybody. Egress to ports that are open anywhere is
/// wanted where the values name no peers, and is then a rule without `to`.
pub fn lets_nobody_in_by_accident(release: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for policy in release.of_kind("NetworkPolicy") {
        if policy["spec"]["policyTypes"] != json!(["Ingress", "Egress"]) {
            problems.push("the NetworkPolicy is not for both directions".to_owned());
        }
        for rule in
            list(&policy["spec"]["ingress"]).iter().filter(|rule| list(&rule["from"]).is_empty())
        {
            problems.push(format!("the NetworkPolicy lets everybody in to {}", rule["ports"]));
        }
        let unnamed = |rule: &&Value| rule.get("to").is_some_and(|peers| list(peers).is_empty());
        for rule in list(&policy["spec"]["egress"]).iter().filter(unnamed) {
            problems.push(format!("the NetworkPolicy lets {} out to everybody", rule["ports"]));
        }
        for rule in ["ingress", "egress"].iter().flat_map(|way| list(&policy["spec"][way])) {
            if list(&rule["ports"]).is_empty() {
                problems.push(format!("the NetworkPolicy opens every port: {rule}"));
            }
        }
    }
    problems
}

/// What the settings make the façade call, it can reach.
pub fn lets_the_facade_out(release: &Manifests) -> Vec<String> {
    let variables = release.variables();
    let redis = list(&release.container()["env"])
        .iter()
        .any(|it| it["name"] == "TOTP_FACADE_IDEMPOTENCY_URL");
    let mut needed = vec![("DNS", vec![53]), ("Stytch", vec![443])];
    if redis {
        needed.push(("Redis", vec![6379]));
    }
    if variables.contains_key("TOTP_FACADE_JWT_TOKEN_FILE") {
        needed.push(("the API server", vec![443, 6443]));
    }
    if variables.get("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|it| it.ends_with(":4317")) {
        needed.push(("the receiver of traces", vec![4317]));
    }
    let mut problems = Vec::new();
    for policy in release.of_kind("NetworkPolicy") {
        let open = open_ports(&policy["spec"]["egress"]);
        let shut = needed.iter().filter(|(_, ports)| !ports.iter().any(|port| open.contains(port)));
        problems.extend(
            shut.map(|(what, _)| format!("{}: shuts out {what}", text(policy, "/metadata/name"))),
        );
    }
    problems
}

fn open_ports(rules: &Value) -> Vec<u64> {
    let ports = list(rules).iter().flat_map(|rule| list(&rule["ports"]));
    ports.filter_map(|port| port["port"].as_u64()).collect()
}
