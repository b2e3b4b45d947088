//! The restricted Pod Security Standard, as of Kubernetes 1.37, for pods on Linux:
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>. It includes the baseline.

use serde_json::{Value, json};

use crate::{api::text, manifests::list};

/// A rule of the standard: what breaks it in a pod.
pub type Rule = fn(&Value) -> Vec<String>;

/// Every rule, by the standard's name for it.
pub const RULES: [(&str, Rule); 18] = [
    ("HostProcess", host_process),
    ("Host Namespaces", host_namespaces),
    ("Privileged Containers", privileged),
    ("Capabilities", capabilities),
    ("HostPath Volumes", host_path),
    ("Host Ports", host_ports),
    ("Host Probes / Lifecycle Hooks", host_probes),
    ("AppArmor", app_armor),
    ("SELinux", se_linux),
    ("/proc Mount Type", proc_mount),
    ("Seccomp", seccomp),
    ("Sysctls", sysctls),
    ("Volume Types", volume_types),
    ("Privilege Escalation", privilege_escalation),
    ("Running as Non-root", non_root),
    ("Running as Non-root user", non_root_user),
    ("Capabilities (restricted)", capabilities_restricted),
    ("Seccomp (restricted)", seccomp_restricted),
];

/// What breaks any rule in a pod, which has `metadata` and `spec`.
pub fn problems(pod: &Value) -> Vec<String> {
    let broken = |(name, rule): &(&str, Rule)| {
        let problems = rule(pod).into_iter();
        problems.map(|problem| format!("{name}: {problem}")).collect::<Vec<_>>()
    };
    RULES.iter().flat_map(broken).collect()
}

const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    CONTAINERS.into_iter().flat_map(|kind| list(&pod["spec"][kind]))
}

/// Reports what is neither absent nor allowed at a path of the pod.
fn of_pod(pod: &Value, path: &str, allowed: &[Value]) -> Vec<String> {
    let found = pod.pointer(path).filter(|found| !found.is_null() && !allowed.contains(found));
    found.map(|found| format!("{path} is {found}")).into_iter().collect()
}

/// The same for every container.
fn of_containers(pod: &Value, path: &str, allowed: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for container in containers(pod) {
        let name = text(container, "/name");
        problems.extend(
            of_pod(container, path, allowed).iter().map(|problem| format!("{name}: {problem}")),
        );
    }
    problems
}

/// The same for the security context of the pod and of every container.
fn of_contexts(pod: &Value, path: &str, allowed: &[Value]) -> Vec<String> {
    let path = format!("/securityContext{path}");
    let mut problems = of_pod(&pod["spec"], &path, allowed);
    problems.extend(of_containers(pod, &path, allowed));
    problems
}

fn host_process(pod: &Value) -> Vec<String> {
    of_contexts(pod, "/windowsOptions/hostProcess", &[json!(false)])
}

fn host_namespaces(pod: &Value) -> Vec<String> {
    let fields = ["/spec/hostNetwork", "/spec/hostPID", "/spec/hostIPC"];
    fields.iter().flat_map(|field| of_pod(pod, field, &[json!(false)])).collect()
}

fn privileged(pod: &Value) -> Vec<String> {
    of_containers(pod, "/securityContext/privileged", &[json!(false)])
}

fn capabilities(pod: &Value) -> Vec<String> {
    let allowed = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    added_beyond(pod, &allowed)
}

/// Capabilities that containers add beyond those that are allowed.
fn added_beyond(pod: &Value, allowed: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for container in containers(pod) {
        let added = list(&container["securityContext"]["capabilities"]["add"]).iter();
        for it in added.filter(|it| !it.as_str().is_some_and(|it| allowed.contains(&it))) {
            problems.push(format!("{} adds {it}", text(container, "/name")));
        }
    }
    problems
}

fn host_path(pod: &Value) -> Vec<String> {
    list(&pod["spec"]["volumes"])
        .iter()
        .flat_map(|volume| of_pod(volume, "/hostPath", &[]))
        .collect()
}

fn host_ports(pod: &Value) -> Vec<String> {
    let ports = containers(pod).flat_map(|container| list(&container["ports"]));
    ports.flat_map(|port| of_pod(port, "/hostPort", &[json!(0)])).collect()
}

/// Since 1.34: what the kubelet asks must be the pod.
fn host_probes(pod: &Value) -> Vec<String> {
    let asks = [
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle/postStart",
        "lifecycle/preStop",
    ];
    let paths =
        asks.iter().flat_map(|ask| ["httpGet", "tcpSocket"].map(|by| format!("/{ask}/{by}/host")));
    paths.flat_map(|path| of_containers(pod, &path, &[json!("")])).collect()
}

fn app_armor(pod: &Value) -> Vec<String> {
    let allowed = [json!("RuntimeDefault"), json!("Localhost")];
    let mut problems = of_contexts(pod, "/appArmorProfile/type", &allowed);
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    problems.extend(annotations.filter_map(|(key, value)| {
        let profile = key
            .starts_with("container.apparmor.security.beta.kubernetes.io/")
            .then(|| value.as_str())??;
        let allowed =
            ["", "runtime/default"].contains(&profile) || profile.starts_with("localhost/");
        (!allowed).then(|| format!("{key} is {profile}"))
    }));
    problems
}

fn se_linux(pod: &Value) -> Vec<String> {
    let types = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let mut problems = of_contexts(pod, "/seLinuxOptions/type", &types.map(|it| json!(it)));
    for field in ["user", "role"] {
        problems.extend(of_contexts(pod, &format!("/seLinuxOptions/{field}"), &[json!("")]));
    }
    problems
}

fn proc_mount(pod: &Value) -> Vec<String> {
    of_containers(pod, "/securityContext/procMount", &[json!("Default")])
}

fn seccomp(pod: &Value) -> Vec<String> {
    of_contexts(pod, "/seccompProfile/type", &[json!("RuntimeDefault"), json!("Localhost")])
}

fn sysctls(pod: &Value) -> Vec<String> {
    let safe = [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
    ];
    let sysctls =
        list(&pod["spec"]["securityContext"]["sysctls"]).iter().map(|it| text(it, "/name"));
    sysctls.filter(|name| !safe.contains(name)).map(|name| format!("{name} is set")).collect()
}

fn volume_types(pod: &Value) -> Vec<String> {
    let allowed = [
        "name",
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let keys =
        list(&pod["spec"]["volumes"]).iter().flat_map(|volume| volume.as_object().unwrap().keys());
    keys.filter(|key| !allowed.contains(&key.as_str()))
        .map(|key| format!("a volume is a {key}"))
        .collect()
}

fn privilege_escalation(pod: &Value) -> Vec<String> {
    must(pod, "allowPrivilegeEscalation is not false", |container| {
        container["securityContext"]["allowPrivilegeEscalation"] == false
    })
}

/// Reports the containers that do not meet a demand.
fn must(pod: &Value, problem: &str, meets: impl Fn(&Value) -> bool) -> Vec<String> {
    let others = containers(pod).filter(|container| !meets(container));
    others.map(|container| format!("{}: {problem}", text(container, "/name"))).collect()
}

/// A container may leave it to the pod, but not contradict it.
fn non_root(pod: &Value) -> Vec<String> {
    let by_pod = pod["spec"]["securityContext"]["runAsNonRoot"] == true;
    must(
        pod,
        "runAsNonRoot is not true",
        |container| match &container["securityContext"]["runAsNonRoot"] {
            Value::Null => by_pod,
            own => own == true,
        },
    )
}

fn non_root_user(pod: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if pod["spec"]["securityContext"]["runAsUser"] == 0 {
        problems.push("the pod runs as user 0".to_owned());
    }
    problems.extend(must(pod, "runs as user 0", |container| {
        container["securityContext"]["runAsUser"] != 0
    }));
    problems
}

fn capabilities_restricted(pod: &Value) -> Vec<String> {
    let mut problems = added_beyond(pod, &["NET_BIND_SERVICE"]);
    problems.extend(must(pod, "does not drop ALL capabilities", |container| {
        list(&container["securityContext"]["capabilities"]["drop"]).contains(&json!("ALL"))
    }));
    problems
}

fn seccomp_restricted(pod: &Value) -> Vec<String> {
    let by_pod = !pod["spec"]["securityContext"]["seccompProfile"]["type"].is_null();
    must(pod, "has no seccomp profile", |container| {
        by_pod || !container["securityContext"]["seccompProfile"]["type"].is_null()
    })
}
