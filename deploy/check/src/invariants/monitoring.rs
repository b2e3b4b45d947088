//! Rules, alerts and dashboard are those of `deploy/`, which have tests of their own there.

use std::fs;

use serde_json::{Value, json};

use crate::{api::text, helm, manifests::Manifests};

pub fn is_what_deploy_has(release: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for rule in release.of_kind("PrometheusRule") {
        let found = &rule["spec"]["groups"];
        if without_runbooks(found) != without_runbooks(&groups()) {
            problems.push("the PrometheusRule is not what deploy/prometheus has".to_owned());
        }
    }
    let dashboard =
        fs::read_to_string(helm::root().join("deploy/grafana/totp-facade.json")).unwrap();
    for map in
        release.of_kind("ConfigMap").filter(|it| text(it, "/metadata/name").ends_with("-dashboard"))
    {
        if text(map, "/data/totp-facade.json") != dashboard {
            problems.push("the dashboard is not what deploy/grafana has".to_owned());
        }
    }
    problems
}

/// The groups of the recording rules, then those of the alerts.
fn groups() -> Value {
    let groups = ["rules.yml", "alerts.yml"].map(|file| {
        let text = fs::read_to_string(helm::root().join("deploy/prometheus").join(file)).unwrap();
        let mut file: Value = serde_saphyr::from_str(&text).unwrap();
        file["groups"].take()
    });
    json!(groups.iter().flat_map(|groups| groups.as_array().unwrap()).collect::<Vec<_>>())
}

/// Each alert has a path as `runbook`, or a URL that ends in it as `runbook_url`; here, only the section is left.
fn without_runbooks(groups: &Value) -> Value {
    let mut groups = groups.clone();
    let rules =
        groups.as_array_mut().into_iter().flatten().flat_map(|group| group["rules"].as_array_mut());
    for rule in rules.flatten() {
        let Some(annotations) = rule.get_mut("annotations").and_then(Value::as_object_mut) else {
            continue;
        };
        let runbook = annotations.remove("runbook").or_else(|| annotations.remove("runbook_url"));
        let section = runbook
            .as_ref()
            .and_then(Value::as_str)
            .and_then(|it| it.rsplit_once("docs/operations.md#"));
        annotations.insert("section".to_owned(), json!(section.map(|(_, section)| section)));
    }
    groups
}
