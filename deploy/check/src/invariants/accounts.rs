//! The ServiceAccount, whose token is nowhere but where the chart puts it by itself.

use crate::{
    api::text,
    manifests::{Manifests, name},
};

/// The account of the pods is made, and so is that of a RoleBinding. One that the chart does not make is the user's.
pub fn exists(release: &Manifests) -> Vec<String> {
    let made: Vec<_> =
        release.of_kind("ServiceAccount").map(|it| text(it, "/metadata/name")).collect();
    let pods = text(release.template(), "/spec/serviceAccountName");
    let bound = release.of_kind("RoleBinding").map(|it| text(it, "/subjects/0/name"));
    let others = bound.chain([pods]).filter(|account| !made.is_empty() && !made.contains(account));
    others.map(|account| format!("no ServiceAccount {account}")).collect()
}

pub fn has_no_token(release: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for account in release.of_kind("ServiceAccount") {
        if account["automountServiceAccountToken"] != false {
            problems.push(format!("{}: mounts its token", name(account)));
        }
    }
    for (name, pod) in release.pods() {
        if pod["spec"]["automountServiceAccountToken"] != false {
            problems.push(format!("{name}: mounts the account's token"));
        }
        // Variables of Services called totp-facade-… begin as the settings do.
        if pod["spec"]["enableServiceLinks"] != false {
            problems.push(format!("{name}: gets variables of Services"));
        }
    }
    problems
}
