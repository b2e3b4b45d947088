//! What the chart renders for each set of values in `ci/`.

use totp_facade_deploy_check::{
    api, helm, invariants,
    manifests::{Manifests, name},
    restricted,
};

use crate::fixtures::{Container, output};

/// Every set, by its name.
pub fn all() -> Vec<(String, Manifests)> {
    let sets = helm::sets();
    let names = sets.iter().map(|set| set.file_stem().unwrap().to_str().unwrap().to_owned());
    let rendered =
        sets.iter().map(|set| helm::template(set, &[]).unwrap_or_else(|error| panic!("{error}")));
    names.zip(rendered.map(|yaml| Manifests::read(&yaml).unwrap())).collect()
}

pub fn one(name: &str) -> Manifests {
    let set = helm::chart().join("ci").join(name).with_extension("yaml");
    Manifests::read(&helm::template(&set, &[]).unwrap()).unwrap()
}

#[test]
fn there_are_seven_and_together_they_make_every_kind() {
    let sets = all();
    let mut kinds: Vec<_> =
        sets.iter().flat_map(|(_, set)| &set.0).map(|it| it["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds.dedup();

    assert_eq!(sets.len(), 7);
    assert_eq!(
        kinds,
        [
            "Certificate",
            "ConfigMap",
            "Deployment",
            "HorizontalPodAutoscaler",
            "NetworkPolicy",
            "Pod",
            "PodDisruptionBudget",
            "PrometheusRule",
            "Role",
            "RoleBinding",
            "Service",
            "ServiceAccount",
            "ServiceMonitor",
        ]
    );
}

#[test]
fn every_manifest_is_one_that_the_api_takes_with_nothing_lost() {
    for (set, manifests) in all() {
        for manifest in &manifests.0 {
            assert_eq!(api::problems(manifest), [""; 0], "{set}: {}", name(manifest));
        }
    }
}

#[test]
fn every_pod_passes_the_restricted_standard() {
    for (set, manifests) in all() {
        for (name, pod) in manifests.pods() {
            assert_eq!(restricted::problems(pod), [""; 0], "{set}: {name}");
        }
    }
}

#[test]
fn the_parts_of_each_release_fit_together() {
    for (set, manifests) in all() {
        assert_eq!(invariants::problems(&manifests), [""; 0], "{set}");
    }
}

/// Values that no set has by themselves, each on top of the smallest set.
#[test]
fn one_more_value_makes_a_release_that_holds_too() {
    let smallest = helm::chart().join("ci/minimal.yaml");
    for value in [
        "fullnameOverride=a-name-that-is-as-long-as-the-schema-permits-it-to",
        "nameOverride=totp",
        "replicas=3,redis.perPod=true",
        "callers.allowUnauthenticated=true",
        "callers.jwt.cluster=true",
        "callers.jwt.issuer=https://a,callers.jwt.keys=https://a/keys",
        "callers.trustedProxies={10.0.0.1}",
        "callers.trustedProxies={10.0.0.0/10}",
        "stytch.baseUrl=https://a/b@c",
        "callers.policyConfigMap=policy",
        "tls.existingSecret=tls",
        "tls.existingSecret=tls,tls.clientCa.existingSecret=ca",
        "tls.existingSecret=tls,test.caKey=",
        "tls.certManager.enabled=true,tls.certManager.issuer.name=a,mesh=istio",
        "spiffe.enabled=true,mesh=linkerd",
        "mesh=istio",
        "mesh=linkerd,networkPolicy.meshNamespace=mesh",
        "redis.existingSecret=redis",
        "bindAddress=[::]",
        "drain.delay=1ms,drain.timeout=999ms",
        "drain.delay=2m",
        "service.type=NodePort,service.port=1",
        "serviceAccount.create=false",
        "serviceAccount.create=false,serviceAccount.name=mine",
        "autoscaling.enabled=true,redis.existingSecret=redis",
        "networkPolicy.enabled=false,metrics.serviceMonitor.enabled=true",
        "metrics.prometheusRule.enabled=true",
        "metrics.dashboard.enabled=true",
        "podLabels.app\\.kubernetes\\.io/name=other,labels.app\\.kubernetes\\.io/component=other",
        "podSecurityContext.runAsUser=null,podSecurityContext.fsGroup=null",
        "topologySpreadConstraints=null",
        "test.enabled=false",
    ] {
        let rendered = helm::template(&smallest, &["--set", value])
            .unwrap_or_else(|error| panic!("{value}: {error}"));
        let release = Manifests::read(&rendered).unwrap();

        let mut problems: Vec<_> = release.0.iter().flat_map(api::problems).collect();
        problems.extend(invariants::problems(&release));
        problems.extend(release.pods().iter().flat_map(|(_, pod)| restricted::problems(pod)));
        let container = Container::of(&release);
        let (output, _, stderr) = output(container.facade().arg("check"));
        assert!(problems.is_empty() && output.status.success(), "{value}: {problems:?} {stderr}");
    }
}

#[test]
fn a_name_that_looks_like_a_number_stays_text() {
    for set in helm::sets() {
        for names in ["fullnameOverride=123,serviceAccount.name=1e3", "nameOverride=456"] {
            let flags = ["--set-string", names, "--namespace", "789"];
            let rendered = helm::template_as("456", &set, &flags).unwrap();
            let release = Manifests::read(&rendered).unwrap();

            for manifest in &release.0 {
                assert_eq!(api::problems(manifest), [""; 0], "{set:?}: {names}");
            }
        }
    }
}

#[test]
fn proxies_are_told_what_the_port_speaks() {
    let smallest = helm::chart().join("ci/minimal.yaml");
    for (value, protocol) in [
        ("mesh=none", "grpc"),
        ("mesh=istio", "grpc"),
        ("mesh=linkerd", "kubernetes.io/h2c"),
        ("tls.existingSecret=a", "tls"),
        ("mesh=linkerd,tls.existingSecret=a", "tls"),
        ("mesh=linkerd,spiffe.enabled=true", "tls"),
        ("mesh=linkerd,service.appProtocol=grpc", "grpc"),
    ] {
        let flags = ["--set", value, "--set", "service.headless=true"];
        let release = Manifests::read(&helm::template(&smallest, &flags).unwrap()).unwrap();
        let services: Vec<_> = release.of_kind("Service").collect();

        assert_eq!(services.len(), 2);
        for service in services {
            assert_eq!(api::text(service, "/spec/ports/0/appProtocol"), protocol, "{value}");
        }
    }
}

/// A default that works without an address of the cluster's is wider than it could be.
#[test]
fn the_notes_say_which_ports_are_open_anywhere() {
    const API_SERVER: &str = "ports 443 and 6443 of every address, private ones too";
    const REDIS: &str = "port 6379 of every address";
    let smallest = helm::chart().join("ci/minimal.yaml");
    for (value, said) in [
        ("test.enabled=true", &[][..]),
        ("callers.jwt.cluster=true", &[API_SERVER]),
        ("redis.existingSecret=a", &[REDIS]),
        ("callers.jwt.cluster=true,redis.existingSecret=a", &[API_SERVER, REDIS]),
        ("callers.jwt.cluster=true,networkPolicy.enabled=false", &[]),
        ("callers.jwt.cluster=true,networkPolicy.apiServer.to[0].ipBlock.cidr=10.0.0.1/32", &[]),
        ("redis.existingSecret=a,networkPolicy.redis.to[0].podSelector.matchLabels.a=b", &[]),
    ] {
        let notes = helm::notes(&smallest, &["--set", value]).unwrap();

        for warning in [API_SERVER, REDIS] {
            assert_eq!(notes.contains(warning), said.contains(&warning), "{value}: {notes}");
        }
    }
}
