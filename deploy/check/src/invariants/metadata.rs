//! Names and labels.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    api::text,
    helm::{NAMESPACE, RELEASE},
    manifests::{Manifests, name},
};

/// Every object is in the release's namespace, and has a name and labels that the API takes.
pub fn is_complete(release: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for manifest in &release.0 {
        let mut report = |problem: String| problems.push(format!("{}: {problem}", name(manifest)));
        if text(manifest, "/metadata/namespace") != NAMESPACE {
            report(format!("is not in {NAMESPACE}"));
        }
        if !is_dns_label(text(manifest, "/metadata/name")) {
            report("has no name that the API takes".to_owned());
        }
        let labels = &manifest["metadata"]["labels"];
        if labels["app.kubernetes.io/instance"] != RELEASE {
            report("has no label of the release".to_owned());
        }
        let labels = labels.as_object().into_iter().flatten();
        for (key, value) in labels.filter(|(_, value)| !is_label_value(value)) {
            report(format!("label {key} is {value}"));
        }
    }
    problems
}

fn is_dns_label(name: &str) -> bool {
    let inner = name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-');
    inner && !name.starts_with('-') && !name.ends_with('-') && (1..=63).contains(&name.len())
}

fn is_label_value(value: &Value) -> bool {
    let Some(value) = value.as_str() else { return false };
    let edge = |it: Option<u8>| it.is_none_or(|it| it.is_ascii_alphanumeric());
    let inner = value.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
    inner && edge(value.bytes().next()) && edge(value.bytes().last()) && value.len() <= 63
}

pub fn is_unique(release: &Manifests) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = release.0.iter().map(name).filter(|name| !seen.insert(name.clone()));
    twice.map(|name| format!("{name}: is there twice")).collect()
}
