//! What selects the pods, and what selects the Service of the admin port.

use serde_json::Value;

use crate::{
    api::text,
    manifests::{Manifests, list, name, selects},
};

/// Every selector finds the façade's pods, and none the pod of `helm test`.
pub fn find_the_pods(release: &Manifests) -> Vec<String> {
    let pods = &release.template()["metadata"]["labels"];
    let tests: Vec<_> = release.of_kind("Pod").map(|pod| &pod["metadata"]["labels"]).collect();
    let mut problems = Vec::new();
    for (whose, selector) in selectors(release) {
        if !selects(selector, pods) {
            problems.push(format!("{whose}: does not select the façade's pods"));
        }
        if tests.iter().any(|labels| selects(selector, labels)) {
            problems.push(format!("{whose}: selects the pod of the test"));
        }
    }
    for scaler in release.of_kind("HorizontalPodAutoscaler") {
        if scaler["spec"]["scaleTargetRef"]["name"] != release.deployment()["metadata"]["name"] {
            problems.push(format!("{}: does not scale the Deployment", name(scaler)));
        }
    }
    problems
}

fn selectors(release: &Manifests) -> Vec<(String, &Value)> {
    let mut selectors = Vec::new();
    for manifest in &release.0 {
        let path = match text(manifest, "/kind") {
            "Service" => "/spec/selector",
            "Deployment" | "PodDisruptionBudget" => "/spec/selector/matchLabels",
            "NetworkPolicy" => "/spec/podSelector/matchLabels",
            _ => continue,
        };
        selectors.push((name(manifest), manifest.pointer(path).unwrap_or(&Value::Null)));
    }
    let spread = list(&release.template()["spec"]["topologySpreadConstraints"]).iter();
    selectors.extend(
        spread.map(|it| ("topology spread".to_owned(), &it["labelSelector"]["matchLabels"])),
    );
    selectors
}

/// A ServiceMonitor selects one Service, which has its port; otherwise pods are scraped twice or never.
pub fn find_the_admin_service(release: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for monitor in release.of_kind("ServiceMonitor") {
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        let labels = |service: &&Value| selects(selector, &service["metadata"]["labels"]);
        let found: Vec<_> = release.of_kind("Service").filter(labels).collect();
        let port = &monitor["spec"]["endpoints"][0]["port"];
        let has_port =
            |service: &&Value| list(&service["spec"]["ports"]).iter().any(|it| &it["name"] == port);
        if found.len() != 1 || !found.iter().all(has_port) {
            let found: Vec<_> = found.into_iter().map(name).collect();
            problems.push(format!(
                "the ServiceMonitor finds {found:?}, and not one Service with port {port}"
            ));
        }
    }
    problems
}
