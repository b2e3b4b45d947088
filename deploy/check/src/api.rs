//! Manifests as Kubernetes' API understands them.

use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{Role, RoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::crds::{Certificate, PrometheusRule, ServiceMonitor};

/// What is wrong with a manifest for the API: a type that it does not have, or a field that its type does not take or
/// would drop.
pub fn problems(manifest: &Value) -> Vec<String> {
    let kind = format!("{} {}", text(manifest, "/apiVersion"), text(manifest, "/kind"));
    let lossless = match kind.as_str() {
        "apps/v1 Deployment" => lossless::<Deployment>,
        "autoscaling/v2 HorizontalPodAutoscaler" => lossless::<HorizontalPodAutoscaler>,
        "v1 ConfigMap" => lossless::<ConfigMap>,
        "v1 Pod" => lossless::<Pod>,
        "v1 Service" => lossless::<Service>,
        "v1 ServiceAccount" => lossless::<ServiceAccount>,
        "networking.k8s.io/v1 NetworkPolicy" => lossless::<NetworkPolicy>,
        "policy/v1 PodDisruptionBudget" => lossless::<PodDisruptionBudget>,
        "rbac.authorization.k8s.io/v1 Role" => lossless::<Role>,
        "rbac.authorization.k8s.io/v1 RoleBinding" => lossless::<RoleBinding>,
        "cert-manager.io/v1 Certificate" => lossless::<Certificate>,
        "monitoring.coreos.com/v1 PrometheusRule" => lossless::<PrometheusRule>,
        "monitoring.coreos.com/v1 ServiceMonitor" => lossless::<ServiceMonitor>,
        _ => return vec![format!("{kind}: is no kind that the chart may make")],
    };
    lossless(manifest).into_iter().map(|problem| format!("{kind}: {problem}")).collect()
}

/// The text at a path, empty if there is none.
pub fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// Reads a manifest as a type, writes it again, and reports what differs.
fn lossless<T: DeserializeOwned + Serialize>(manifest: &Value) -> Vec<String> {
    match serde_json::from_value::<T>(manifest.clone()) {
        Ok(typed) => {
            let mut lost = Vec::new();
            compare("", manifest, &serde_json::to_value(typed).unwrap(), &mut lost);
            lost
        }
        Err(error) => vec![error.to_string()],
    }
}

/// Adds each path at which something was written that is not read, or read that was not written: a field that the type
/// requires, and that would otherwise be read as nothing or 0.
fn compare(path: &str, written: &Value, read: &Value, lost: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written {
                compare(
                    &format!("{path}/{key}"),
                    value,
                    read.get(key).unwrap_or(&Value::Null),
                    lost,
                );
            }
            let missing = read.keys().filter(|key| !written.contains_key(*key));
            lost.extend(missing.map(|key| format!("{path}/{key}: is missing")));
        }
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            for (index, (written, read)) in written.iter().zip(read).enumerate() {
                compare(&format!("{path}/{index}"), written, read, lost);
            }
        }
        (Value::Null, _) => lost.push(format!("{path}: has no value")),
        _ if written == read => {}
        _ => lost.push(format!("{path}: {written} is read as {read}")),
    }
}
