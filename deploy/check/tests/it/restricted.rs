//! A pod that passes the restricted standard, and one that breaks each rule.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use totp_facade_deploy_check::restricted::{self, RULES};

/// A pod with what the standard demands, and with what it allows.
fn pod() -> Value {
    json!({
        "metadata": { "annotations": { "container.apparmor.security.beta.kubernetes.io/one": "localhost/mine" } },
        "spec": {
            "hostNetwork": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
                "seLinuxOptions": { "type": "container_t", "level": "s0" },
                "sysctls": [{ "name": "net.ipv4.tcp_syncookies", "value": "1" }],
            },
            "containers": [{
                "name": "one",
                "ports": [{ "containerPort": 80, "hostPort": 0 }],
                "livenessProbe": { "httpGet": { "path": "/", "port": 80 } },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] },
                    "privileged": false,
                    "procMount": "Default",
                },
            }],
            "initContainers": [{
                "name": "two",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                    "runAsNonRoot": true,
                    "runAsUser": 1,
                    "seccompProfile": { "type": "Localhost", "localhostProfile": "mine" },
                },
            }],
            "volumes": [
                { "name": "a", "secret": { "secretName": "a" } },
                { "name": "b", "csi": { "driver": "example.org" } },
                { "name": "c", "projected": { "sources": [] } },
            ],
        },
    })
}

/// The pod with a value put at a path, whose last step need not exist.
fn with(path: &str, value: Value) -> Value {
    let mut pod = pod();
    let (parent, key) = path.rsplit_once('/').unwrap();
    match pod.pointer_mut(parent).unwrap() {
        Value::Array(elements) => elements[key.parse::<usize>().unwrap()] = value,
        parent => parent[key.replace("~1", "/").as_str()] = value,
    }
    pod
}

/// The rules that a pod breaks.
fn broken(pod: &Value) -> BTreeSet<&'static str> {
    RULES.iter().filter(|(_, rule)| !rule(pod).is_empty()).map(|(name, _)| *name).collect()
}

#[test]
fn a_pod_with_what_the_standard_demands_and_allows_passes() {
    assert_eq!(restricted::problems(&pod()), [""; 0]);
}

/// What breaks the rules: where, by which value, and which rules.
fn breaches() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        ("/spec/securityContext/windowsOptions", json!({ "hostProcess": true }), &["HostProcess"]),
        (
            "/spec/initContainers/0/securityContext/windowsOptions",
            json!({ "hostProcess": true }),
            &["HostProcess"],
        ),
        ("/spec/hostNetwork", json!(true), &["Host Namespaces"]),
        ("/spec/hostPID", json!(true), &["Host Namespaces"]),
        ("/spec/hostIPC", json!(true), &["Host Namespaces"]),
        ("/spec/containers/0/securityContext/privileged", json!(true), &["Privileged Containers"]),
        (
            "/spec/initContainers/0/securityContext/privileged",
            json!(true),
            &["Privileged Containers"],
        ),
        (
            "/spec/containers/0/securityContext/capabilities",
            json!({ "add": ["SYS_ADMIN"], "drop": ["ALL"] }),
            &["Capabilities", "Capabilities (restricted)"],
        ),
        (
            "/spec/initContainers/0/securityContext/capabilities",
            json!({ "add": ["CHOWN"], "drop": ["ALL"] }),
            &["Capabilities (restricted)"],
        ),
        (
            "/spec/containers/0/securityContext/capabilities",
            json!({ "drop": ["NET_RAW"] }),
            &["Capabilities (restricted)"],
        ),
        (
            "/spec/volumes/0",
            json!({ "name": "a", "hostPath": { "path": "/" } }),
            &["HostPath Volumes", "Volume Types"],
        ),
        (
            "/spec/volumes/0",
            json!({ "name": "a", "nfs": { "server": "a", "path": "/" } }),
            &["Volume Types"],
        ),
        (
            "/spec/containers/0/ports",
            json!([{ "containerPort": 80, "hostPort": 80 }]),
            &["Host Ports"],
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({ "httpGet": { "host": "10.0.0.1", "port": 80 } }),
            &["Host Probes / Lifecycle Hooks"],
        ),
        (
            "/spec/containers/0/readinessProbe",
            json!({ "tcpSocket": { "host": "10.0.0.1", "port": 80 } }),
            &["Host Probes / Lifecycle Hooks"],
        ),
        (
            "/spec/containers/0/lifecycle",
            json!({ "preStop": { "httpGet": { "host": "10.0.0.1", "port": 80 } } }),
            &["Host Probes / Lifecycle Hooks"],
        ),
        (
            "/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1one",
            json!("unconfined"),
            &["AppArmor"],
        ),
        ("/spec/securityContext/appArmorProfile", json!({ "type": "Unconfined" }), &["AppArmor"]),
        (
            "/spec/containers/0/securityContext/appArmorProfile",
            json!({ "type": "Unconfined" }),
            &["AppArmor"],
        ),
        ("/spec/securityContext/seLinuxOptions", json!({ "type": "spc_t" }), &["SELinux"]),
        (
            "/spec/containers/0/securityContext/seLinuxOptions",
            json!({ "user": "root" }),
            &["SELinux"],
        ),
        (
            "/spec/containers/0/securityContext/seLinuxOptions",
            json!({ "role": "sysadm_r" }),
            &["SELinux"],
        ),
        ("/spec/containers/0/securityContext/procMount", json!("Unmasked"), &["/proc Mount Type"]),
        ("/spec/securityContext/seccompProfile", json!({ "type": "Unconfined" }), &["Seccomp"]),
        (
            "/spec/containers/0/securityContext/seccompProfile",
            json!({ "type": "Unconfined" }),
            &["Seccomp"],
        ),
        ("/spec/securityContext/seccompProfile", Value::Null, &["Seccomp (restricted)"]),
        (
            "/spec/securityContext/sysctls",
            json!([{ "name": "kernel.msgmax", "value": "1" }]),
            &["Sysctls"],
        ),
        (
            "/spec/containers/0/securityContext/allowPrivilegeEscalation",
            json!(true),
            &["Privilege Escalation"],
        ),
        (
            "/spec/initContainers/0/securityContext/allowPrivilegeEscalation",
            Value::Null,
            &["Privilege Escalation"],
        ),
        ("/spec/securityContext/runAsNonRoot", Value::Null, &["Running as Non-root"]),
        ("/spec/containers/0/securityContext/runAsNonRoot", json!(false), &["Running as Non-root"]),
        ("/spec/securityContext/runAsUser", json!(0), &["Running as Non-root user"]),
        (
            "/spec/initContainers/0/securityContext/runAsUser",
            json!(0),
            &["Running as Non-root user"],
        ),
        (
            "/spec/ephemeralContainers",
            json!([{ "name": "three" }]),
            &["Privilege Escalation", "Capabilities (restricted)"],
        ),
        (
            "/spec/containers/0/securityContext",
            Value::Null,
            &["Privilege Escalation", "Capabilities (restricted)"],
        ),
    ]
}

#[test]
fn a_pod_that_breaks_a_rule_is_found_by_that_rule_alone() {
    for (path, value, rules) in breaches() {
        let found = broken(&with(path, value.clone()));

        assert_eq!(found, rules.iter().copied().collect(), "{path}: {value}");
    }
}

#[test]
fn every_rule_is_broken_by_a_pod() {
    let broken: BTreeSet<_> =
        breaches().into_iter().flat_map(|(_, _, rules)| rules).copied().collect();

    assert_eq!(broken, RULES.iter().map(|(name, _)| *name).collect());
}
