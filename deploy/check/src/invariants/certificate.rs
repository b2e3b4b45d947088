//! The certificate from cert-manager.

use serde_json::json;

use crate::{
    api::text,
    manifests::{Manifests, list},
};

/// Clients verify the name by which they call: that of any Service with the gRPC port.
pub fn has_the_names_of_the_services(release: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for certificate in release.of_kind("Certificate") {
        for service in
            release.of_kind("Service").filter(|it| text(it, "/spec/ports/0/name") == "grpc")
        {
            let name = format!(
                "{}.{}.svc",
                text(service, "/metadata/name"),
                text(service, "/metadata/namespace")
            );
            if !list(&certificate["spec"]["dnsNames"]).contains(&json!(name)) {
                problems.push(format!("the certificate is not for {name}"));
            }
        }
        let secret = &certificate["spec"]["secretName"];
        let volumes = list(&release.template()["spec"]["volumes"]);
        if !volumes.iter().any(|volume| &volume["secret"]["secretName"] == secret) {
            problems.push(format!("the certificate's Secret {secret} is not mounted"));
        }
    }
    problems
}
