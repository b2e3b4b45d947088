//! Values that the chart refuses, and that it says which.

use std::fs;

use tempfile::NamedTempFile;
use totp_facade_deploy_check::helm;

/// What Helm says about values; they have to be refused.
fn refusal(values: &str) -> String {
    let file = NamedTempFile::new().unwrap();
    fs::write(&file, values).unwrap();
    helm::template(file.path(), &[]).expect_err(values)
}

/// Values that need only this much to be accepted.
const ACCEPTED: &str = "
image: {repository: r}
stytch: {existingSecret: s}
replicas: 1
callers: {tokens: {existingSecret: t}}
";

#[test]
fn what_the_refusals_begin_with_is_accepted() {
    let file = NamedTempFile::new().unwrap();
    fs::write(&file, ACCEPTED).unwrap();

    helm::template(file.path(), &[]).unwrap();
}

/// Values of a wrong type, form or name, which the schema refuses by their place.
#[test]
fn a_value_that_is_none_is_refused_by_its_name() {
    for (value, said) in [
        ("replica: 2", "'replica' not allowed"),
        ("image: {repository: r, registry: x}", "'registry' not allowed"),
        ("stytch: {existingSecret: s, secret: secret-test-1}", "'secret' not allowed"),
        ("callers: {jwt: {enabled: true}}", "'enabled' not allowed"),
        ("networkPolicy: {redis: {port: 1}}", "'port' not allowed"),
        ("metrics: {serviceMonitor: {enabled: yes please}}", "/metrics/serviceMonitor/enabled"),
        ("image: {repository: 'r:1'}", "/image/repository"),
        ("image: {repository: r, tag: 'a b'}", "/image/tag"),
        ("image: {repository: r, digest: 'sha256:1'}", "/image/digest"),
        ("image: {repository: r, pullPolicy: Sometimes}", "/image/pullPolicy"),
        ("image: {repository: r, pullSecrets: [name]}", "/image/pullSecrets/0"),
        ("replicas: 0", "/replicas"),
        ("replicas: two", "/replicas"),
        ("stytch: {existingSecret: s, projectId: project-1}", "/stytch/projectId"),
        ("stytch: {existingSecret: s, baseUrl: 'http://a'}", "/stytch/baseUrl"),
        ("callers: {jwt: {keys: /etc/keys}}", "/callers/jwt/keys"),
        ("callers: {trustedProxies: [proxy]}", "/callers/trustedProxies/0"),
        ("callers: {allowUnauthenticated: 'true'}", "/callers/allowUnauthenticated"),
        ("tls: {certManager: {duration: 90d}}", "/tls/certManager/duration"),
        ("mesh: consul", "/mesh"),
        ("redis: {minReplicas: 256}", "/redis/minReplicas"),
        ("bindAddress: '::'", "/bindAddress"),
        ("workerThreads: 0", "/workerThreads"),
        ("probes: {grpc: 'true'}", "/probes/grpc"),
        ("drain: {delay: 5}", "/drain/delay"),
        ("drain: {timeout: 1h}", "/drain/timeout"),
        ("settings: {TOTP_FACADE_MAX_INFLIGHT: '1'}", "'TOTP_FACADE_MAX_INFLIGHT'"),
        ("settings: {TOTP_FACADE_GRPC_ADDR: '0.0.0.0:1'}", "'TOTP_FACADE_GRPC_ADDR'"),
        // As a number, Helm would write it as 1.34217728e+08.
        (
            "settings: {TOTP_FACADE_IDEMPOTENCY_MAX_BYTES: 134217728}",
            "/settings/TOTP_FACADE_IDEMPOTENCY_MAX_BYTES",
        ),
        ("service: {type: ExternalName}", "/service/type"),
        ("service: {port: 65536}", "/service/port"),
        ("autoscaling: {targetCPU: 0}", "/autoscaling/targetCPU"),
        ("podDisruptionBudget: {maxUnavailable: half}", "/podDisruptionBudget/maxUnavailable"),
        // An empty list of peers is everybody.
        ("networkPolicy: {callers: []}", "/networkPolicy/callers"),
        ("networkPolicy: {stytch: []}", "/networkPolicy/stytch"),
        ("metrics: {serviceMonitor: {interval: often}}", "/metrics/serviceMonitor/interval"),
        ("metrics: {prometheusRule: {runbookBase: docs}}", "/metrics/prometheusRule/runbookBase"),
        ("podLabels: {a: 1}", "/podLabels/a"),
        ("extraEnv: {A: b}", "/extraEnv"),
    ] {
        let found = refusal(&with(value));

        assert!(found.contains(said), "{value}: {found}");
    }
}

/// The values that are accepted, with one line that replaces the line of its key.
fn with(value: &str) -> String {
    let key = value.split_once(':').unwrap().0;
    let others = ACCEPTED.lines().filter(|line| line.split(':').next() != Some(key));
    others.chain([value]).collect::<Vec<_>>().join("\n")
}

/// Values that are fine by themselves, and together are not what anybody can mean.
#[test]
fn values_that_do_not_go_together_are_refused_by_their_names() {
    for (value, said) in [
        ("image: {}", "image.repository: is required"),
        ("stytch: {}", "stytch.existingSecret: is required"),
        ("callers: {}", "callers: nobody could be told apart"),
        (
            "callers: {jwt: {cluster: true, keys: 'https://a'}}",
            "callers.jwt.keys: not together with callers.jwt.cluster",
        ),
        ("callers: {jwt: {issuer: 'https://a'}}", "callers.jwt.keys: is required"),
        ("callers: {jwt: {keys: 'https://a'}}", "callers.jwt.issuer: is required"),
        (
            "callers: {allowUnauthenticated: true, policy: a, policyConfigMap: b}",
            "callers.policy: not together with",
        ),
        ("tls: {certManager: {enabled: true}}", "tls.certManager.issuer.name: is required"),
        (
            "tls: {certManager: {enabled: true, issuer: {name: a}}, existingSecret: b}",
            "tls.existingSecret: not together with",
        ),
        ("tls: {clientCa: {existingSecret: a}}", "tls.clientCa: needs tls.existingSecret"),
        (
            "tls: {existingSecret: a, clientCa: {existingSecret: b, existingConfigMap: c}}",
            "tls.clientCa.existingSecret: not together with",
        ),
        (
            "tls: {existingSecret: a}\nprobes: {grpc: true}",
            "probes.grpc: not together with tls or spiffe",
        ),
        ("spiffe: {enabled: true}\nprobes: {grpc: true}", "probes.grpc: not together with"),
        ("spiffe: {enabled: true}\ntls: {existingSecret: a}", "spiffe: not together with tls"),
        ("replicas: 2", "redis.existingSecret: is required for more than one pod"),
        ("autoscaling: {enabled: true}", "redis.existingSecret: is required for more than one pod"),
        (
            "autoscaling: {enabled: true, minReplicas: 11}\nredis: {perPod: true}",
            "autoscaling.minReplicas: is more than",
        ),
        ("metrics: {serviceMonitor: {enabled: true}}", "networkPolicy.scrapers: is required"),
        ("callers: {trustedProxies: [10.0.0.1, 0.0.0.0/0]}", "0.0.0.0/0 is everybody"),
        ("callers: {trustedProxies: ['::/0']}", "::/0 is everybody"),
        ("callers: {trustedProxies: [10.0.0.1/00]}", "10.0.0.1/00 is everybody"),
    ] {
        let found = refusal(&with(value));

        assert!(found.contains(said), "{value}: {found}");
    }
}

/// Helm takes a null away before the schema sees it, and a rule without peers or ports would be left.
#[test]
fn a_rule_of_the_network_policy_cannot_be_made_void_by_a_null() {
    for (value, said) in [
        ("{callers: null}\ntest: {enabled: false}", "networkPolicy.callers: is required"),
        ("{dns: null}", "networkPolicy.dns: is required"),
        ("{stytch: null}", "networkPolicy.stytch: is required"),
        ("{redis: null}", "networkPolicy.redis.ports: is required"),
        ("{redis: {ports: null}}", "networkPolicy.redis.ports: is required"),
        ("{apiServer: {ports: null}}", "networkPolicy.apiServer.ports: is required"),
        ("null", "networkPolicy: must not be null"),
    ] {
        let found = refusal(&with(&format!("networkPolicy: {value}")));

        assert!(found.contains(said), "{value}: {found}");
    }
}

/// A secret in the values would be in the release too. What refuses it does not print it.
#[test]
fn a_secret_in_the_values_is_refused_and_not_printed() {
    for (value, said) in [
        (
            "stytch: {existingSecret: s, baseUrl: 'https://u:hunter2@a'}",
            "stytch.baseUrl: must not hold credentials",
        ),
        (
            "stytch: {existingSecret: s, baseUrl: 'https:////hunter2@a'}",
            "stytch.baseUrl: must not hold credentials",
        ),
        (
            "callers: {jwt: {issuer: 'https://a', keys: 'https://u:hunter2@a/keys'}}",
            "callers.jwt.keys: must not hold credentials",
        ),
        (
            "extraEnv: [{name: STYTCH_SECRET, value: hunter2}]",
            "extraEnv: STYTCH_SECRET is a secret",
        ),
        (
            "extraEnv: [{name: A, value: a}, {name: OTEL_EXPORTER_OTLP_HEADERS, value: hunter2}]",
            "extraEnv: OTEL_EXPORTER_OTLP_HEADERS is a secret",
        ),
    ] {
        let found = refusal(&with(value));

        assert!(found.contains(said) && !found.contains("hunter2"), "{value}: {found}");
    }
}

#[test]
fn every_problem_is_reported_at_once() {
    let found = refusal("replicas: 2");

    for said in ["image.repository:", "stytch.existingSecret:", "callers:", "redis.existingSecret:"]
    {
        assert!(found.contains(&format!("\n{said}")), "{said}: {found}");
    }
}

/// The same rule as the façade's own: nobody is served unknown, unless somebody says so.
#[test]
fn with_nothing_but_the_secrets_name_nobody_is_served_unknown() {
    let found = refusal("image: {repository: r}\nstytch: {existingSecret: s}\nreplicas: 1");
    assert!(
        found.contains("callers.allowUnauthenticated=true if whoever reaches the port"),
        "{found}"
    );

    let file = NamedTempFile::new().unwrap();
    fs::write(&file, with("callers: {allowUnauthenticated: true}")).unwrap();
    let accepted = helm::template(file.path(), &[]).unwrap();
    assert!(accepted.contains("TOTP_FACADE_ALLOW_UNAUTHENTICATED"), "{accepted}");
}
