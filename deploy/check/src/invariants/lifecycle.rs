//! How pods come and go.

use crate::manifests::Manifests;

/// Seconds for a sidecar to end after the façade, and for the kubelet.
const MARGIN: f64 = 5.0;

/// The kubelet kills no pod that still drains.
pub fn outlasts_the_drain(release: &Manifests) -> Vec<String> {
    let variables = release.variables();
    let drain: f64 = ["TOTP_FACADE_DRAIN_DELAY", "TOTP_FACADE_DRAIN_TIMEOUT"]
        .iter()
        .map(|name| variables.get(name).and_then(|time| seconds(time)).unwrap_or(f64::INFINITY))
        .sum();
    let grace =
        release.template()["spec"]["terminationGracePeriodSeconds"].as_f64().unwrap_or(30.0);
    let late = grace < drain + MARGIN;
    late.then(|| format!("the grace period is {grace} s, and the drain takes {drain} s"))
        .into_iter()
        .collect()
}

/// The seconds of a time such as `1500ms`, `5s` or `1m`.
fn seconds(time: &str) -> Option<f64> {
    let (number, unit) = time.split_at(time.find(|it: char| it.is_ascii_alphabetic())?);
    let unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * unit)
}

/// A new version takes over pod by pod, none less than there should be.
pub fn rolls_out_without_a_gap(release: &Manifests) -> Vec<String> {
    let strategy = &release.deployment()["spec"]["strategy"];
    let gap =
        strategy["type"] != "RollingUpdate" || strategy["rollingUpdate"]["maxUnavailable"] != 0;
    gap.then(|| "the rollout takes pods away before there are new ones".to_owned())
        .into_iter()
        .collect()
}
