//! What the chart rendered, and how to find something in it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::text;

#[derive(Clone)]
pub struct Manifests(pub Vec<Value>);

impl Manifests {
    /// Reads documents of YAML. A key that occurs twice is an error.
    pub fn read(yaml: &str) -> Result<Self, String> {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(yaml).map_err(|error| error.to_string())?;
        Ok(Self(documents.into_iter().filter(|document| !document.is_null()).collect()))
    }

    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |manifest| text(manifest, "/kind") == kind)
    }

    /// The only one of its kind, mutable to be broken by tests.
    pub fn only(&mut self, kind: &str) -> &mut Value {
        let mut all = self.0.iter_mut().filter(|manifest| text(manifest, "/kind") == kind);
        let first = all.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(all.next().is_none(), "more than one {kind}");
        first
    }

    pub fn named(&self, kind: &str, name: &str) -> Option<&Value> {
        self.of_kind(kind).find(|manifest| text(manifest, "/metadata/name") == name)
    }

    pub fn deployment(&self) -> &Value {
        self.of_kind("Deployment").next().expect("a Deployment")
    }

    /// The pods of the Deployment: `metadata` and `spec`.
    pub fn template(&self) -> &Value {
        &self.deployment()["spec"]["template"]
    }

    /// The façade's container.
    pub fn container(&self) -> &Value {
        let containers = list(&self.template()["spec"]["containers"]);
        containers.iter().find(|it| it["name"] == "totp-facade").expect("the façade's container")
    }

    /// The variables of the façade that have a value here.
    pub fn variables(&self) -> BTreeMap<&str, &str> {
        let all = list(&self.container()["env"]).iter();
        all.filter(|it| !it["value"].is_null())
            .map(|it| (text(it, "/name"), text(it, "/value")))
            .collect()
    }

    /// Pods of every kind, with where they are from.
    pub fn pods(&self) -> Vec<(String, &Value)> {
        let tests = self.of_kind("Pod").map(|pod| (name(pod), pod));
        tests.chain([(name(self.deployment()), self.template())]).collect()
    }
}

/// A manifest as messages name it.
pub fn name(manifest: &Value) -> String {
    format!("{} {}", text(manifest, "/kind"), text(manifest, "/metadata/name"))
}

/// The elements of a list, none if there is no list.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether labels have everything that a selector asks for.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    selector
        .as_object()
        .is_some_and(|wanted| wanted.iter().all(|(key, value)| &labels[key] == value))
}
