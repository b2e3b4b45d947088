//! Holds what the Helm chart renders to Kubernetes' API, to the restricted Pod Security Standard, and to itself.
//!
//! Every check takes manifests and returns what is wrong with them; [`tests/it`](../tests/it) renders the chart, and
//! breaks what it rendered to show that each check can fail.

pub mod api;
pub mod crds;
pub mod helm;
pub mod invariants;
pub mod manifests;
pub mod restricted;
pub mod values;
