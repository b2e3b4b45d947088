//! A release that is broken in one place, and what finds it: no check passes whatever it is given.

use serde_json::{Value, json};
use totp_facade_deploy_check::{api, invariants, manifests::Manifests};

use crate::sets;

/// Puts a value at a path of the only manifest of a kind; an object's member need not exist.
fn put(release: &mut Manifests, kind: &str, path: &str, value: Value) {
    let manifest = release.only(kind);
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap_or_else(|| panic!("{kind} has no {parent}"));
    match parent {
        Value::Array(elements) => elements[key.parse::<usize>().unwrap()] = value,
        _ => parent[key.replace("~1", "/").as_str()] = value,
    }
}

/// A set of values, the kind of manifest, the path in it, the value that breaks it, and what is said.
type Breach = (&'static str, &'static str, &'static str, Value, &'static str);

/// What no API would take.
fn breaches_of_the_api() -> Vec<Breach> {
    vec![
        ("minimal", "Deployment", "/spec/replica", json!(1), "/spec/replica: 1 is read as null"),
        ("minimal", "Deployment", "/spec/replicas", json!("1"), "invalid type"),
        (
            "minimal",
            "Deployment",
            "/apiVersion",
            json!("apps/v1beta1"),
            "is no kind that the chart may make",
        ),
        (
            "minimal",
            "Deployment",
            "/spec/template/spec/containers/0/livenesProbe",
            json!({}),
            "livenesProbe",
        ),
        (
            "minimal",
            "Deployment",
            "/spec/template/spec/priorityClassName",
            Value::Null,
            "has no value",
        ),
        ("minimal", "NetworkPolicy", "/spec/ingress/0/form", json!([]), "form"),
        (
            "everything",
            "HorizontalPodAutoscaler",
            "/spec/maxReplicas",
            Value::Null,
            "/spec/maxReplicas: has no value",
        ),
        (
            "everything",
            "HorizontalPodAutoscaler",
            "/spec/scaleTargetRef",
            json!({ "kind": "a" }),
            "/name: is missing",
        ),
        ("everything", "ServiceMonitor", "/spec/endpoint", json!([]), "unknown field `endpoint`"),
        (
            "everything",
            "PrometheusRule",
            "/spec/groups/0/rules/0/alerts",
            json!("a"),
            "did not match any variant",
        ),
        ("tls", "Certificate", "/spec/dnsName", json!([]), "unknown field `dnsName`"),
        ("tls", "Certificate", "/spec/privateKey/algorithm", json!("DSA"), "unknown variant `DSA`"),
    ]
}

/// What an API takes, and does not work.
fn breaches_of_invariants() -> Vec<Breach> {
    vec![
        (
            "spiffe",
            "ServiceAccount",
            "/metadata/name",
            json!("other"),
            "no ServiceAccount totp-facade",
        ),
        (
            "spiffe",
            "ServiceAccount",
            "/automountServiceAccountToken",
            json!(true),
            "mounts its token",
        ),
        (
            "tls",
            "Deployment",
            "/spec/template/spec/automountServiceAccountToken",
            Value::Null,
            "mounts the account's token",
        ),
        (
            "tls",
            "Deployment",
            "/spec/template/spec/enableServiceLinks",
            Value::Null,
            "gets variables of Services",
        ),
        (
            "tls",
            "Certificate",
            "/spec/dnsNames",
            json!(["totp-facade"]),
            "not for totp-facade-headless.identity.svc",
        ),
        (
            "tls",
            "Certificate",
            "/spec/secretName",
            json!("other"),
            "Secret \"other\" is not mounted",
        ),
        (
            "tls",
            "Deployment",
            "/spec/template/spec/volumes/0/secret/items/0/path",
            json!("other"),
            "STYTCH_SECRET_FILE",
        ),
        (
            "tls",
            "Deployment",
            "/spec/template/spec/containers/0/volumeMounts/0/mountPath",
            json!("/x"),
            "is in no volume",
        ),
        (
            "tls",
            "Deployment",
            "/spec/template/spec/containers/0/volumeMounts/0/name",
            json!("x"),
            "there is no volume x",
        ),
        ("tls", "Deployment", "/spec/template/spec/volumes/0/name", json!("x"), "nobody mounts x"),
        (
            "tls",
            "ConfigMap",
            "/metadata/name",
            json!("x"),
            "there is no ConfigMap totp-facade-policy",
        ),
        (
            "tls",
            "Deployment",
            "/spec/template/spec/terminationGracePeriodSeconds",
            json!(34),
            "the drain takes 30 s",
        ),
        (
            "tls",
            "Deployment",
            "/spec/strategy/rollingUpdate/maxUnavailable",
            json!(1),
            "the rollout takes pods away",
        ),
        ("tls", "Deployment", "/metadata/namespace", json!("default"), "is not in identity"),
        (
            "tls",
            "Deployment",
            "/metadata/name",
            json!("totp_facade"),
            "has no name that the API takes",
        ),
        ("tls", "Deployment", "/metadata/labels/a", json!("b c"), "label a is \"b c\""),
        (
            "tls",
            "Deployment",
            "/metadata/labels/app.kubernetes.io~1instance",
            json!("x"),
            "has no label of the release",
        ),
        (
            "everything",
            "PrometheusRule",
            "/spec/groups/0/rules/0/expr",
            json!("1"),
            "not what deploy/prometheus has",
        ),
        (
            "everything",
            "PrometheusRule",
            "/spec/groups/1/rules/0/annotations/runbook_url",
            json!("x"),
            "not what deploy/prometheus has",
        ),
        (
            "everything",
            "ConfigMap",
            "/data/totp-facade.json",
            json!("{}"),
            "not what deploy/grafana has",
        ),
        (
            "everything",
            "NetworkPolicy",
            "/spec/policyTypes",
            json!(["Ingress"]),
            "not for both directions",
        ),
        ("everything", "NetworkPolicy", "/spec/ingress/0/from", json!([]), "lets everybody in"),
        ("everything", "NetworkPolicy", "/spec/ingress/0/from", Value::Null, "lets everybody in"),
        ("everything", "NetworkPolicy", "/spec/egress/1/to", Value::Null, "out to everybody"),
        ("everything", "NetworkPolicy", "/spec/egress/1/ports", json!([]), "opens every port"),
        (
            "everything",
            "NetworkPolicy",
            "/spec/egress/0/ports",
            json!([{ "port": 54 }]),
            "shuts out DNS",
        ),
        (
            "everything",
            "NetworkPolicy",
            "/spec/egress/1/ports/0/port",
            json!(444),
            "shuts out Stytch",
        ),
        (
            "everything",
            "NetworkPolicy",
            "/spec/egress/2/ports/1/port",
            json!(6380),
            "shuts out Redis",
        ),
        (
            "everything",
            "NetworkPolicy",
            "/spec/ingress/0/ports/0/port",
            json!("grcp"),
            "there is no port \"grcp\"",
        ),
        (
            "everything",
            "Deployment",
            "/spec/template/spec/containers/0/ports/0/containerPort",
            json!(50052),
            "port grpc",
        ),
        (
            "everything",
            "Deployment",
            "/spec/template/spec/containers/0/ports/1/name",
            json!("x"),
            "there is no port \"admin\"",
        ),
        (
            "everything",
            "Deployment",
            "/spec/template/spec/containers/0/livenessProbe/httpGet/port",
            json!("grpc"),
            "not admin",
        ),
        (
            "grpc-probes",
            "Deployment",
            "/spec/template/spec/containers/0/livenessProbe/grpc/port",
            json!(9464),
            "livenessProbe: asks port 9464 by gRPC",
        ),
        (
            "tls",
            "Deployment",
            "/spec/template/spec/containers/0/readinessProbe",
            json!({ "grpc": { "port": 50051 } }),
            "readinessProbe: asks by gRPC a port with TLS",
        ),
        (
            "minimal",
            "Deployment",
            "/spec/template/spec/containers/0/readinessProbe/grpc",
            json!({ "port": 50051 }),
            "readinessProbe: asks neither",
        ),
        (
            "everything",
            "Deployment",
            "/spec/template/metadata/labels/app.kubernetes.io~1name",
            json!("x"),
            "does not select",
        ),
        (
            "everything",
            "PodDisruptionBudget",
            "/spec/selector/matchLabels",
            json!({ "team": "identity" }),
            "selects the pod of the test",
        ),
        (
            "everything",
            "HorizontalPodAutoscaler",
            "/spec/scaleTargetRef/name",
            json!("x"),
            "does not scale the Deployment",
        ),
        (
            "everything",
            "ServiceMonitor",
            "/spec/endpoints/0/port",
            json!("grpc"),
            "not one Service with port \"grpc\"",
        ),
        (
            "everything",
            "ServiceMonitor",
            "/spec/selector/matchLabels",
            json!({}),
            "and not one Service",
        ),
    ]
}

/// Breaks a release in one place and expects to be told.
fn each(breaches: Vec<Breach>, problems: impl Fn(&Manifests) -> Vec<String>) {
    for (set, kind, path, value, said) in breaches {
        let mut release = sets::one(set);
        assert_eq!(problems(&release), [""; 0]);
        put(&mut release, kind, path, value);

        let found = problems(&release);

        assert!(found.iter().any(|it| it.contains(said)), "{kind} {path}: {said}: {found:?}");
    }
}

#[test]
fn what_the_api_would_not_take_is_found() {
    each(breaches_of_the_api(), |release| release.0.iter().flat_map(api::problems).collect());
}

#[test]
fn what_does_not_fit_together_is_found() {
    each(breaches_of_invariants(), invariants::problems);
}

#[test]
fn a_manifest_that_is_there_twice_is_found() {
    let mut release = sets::one("minimal");
    release.0.push(release.deployment().clone());

    assert_eq!(invariants::problems(&release), ["Deployment totp-facade: is there twice"]);
}

#[test]
fn a_key_that_is_there_twice_is_found() {
    let Err(error) = Manifests::read("a: 1\na: 2\n") else { panic!("it is read") };

    assert!(error.contains("duplicate"), "{error}");
}
