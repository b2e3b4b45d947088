//! What must hold between the parts of a release, whatever the values are.

mod accounts;
mod certificate;
pub mod files;
mod lifecycle;
mod metadata;
mod monitoring;
mod network;
mod ports;
mod selectors;

use crate::manifests::Manifests;

/// What is wrong with a release.
pub type Invariant = fn(&Manifests) -> Vec<String>;

const ALL: [Invariant; 17] = [
    accounts::exists,
    accounts::has_no_token,
    certificate::has_the_names_of_the_services,
    files::are_mounted,
    files::have_volumes,
    lifecycle::outlasts_the_drain,
    lifecycle::rolls_out_without_a_gap,
    metadata::is_complete,
    metadata::is_unique,
    monitoring::is_what_deploy_has,
    network::lets_nobody_in_by_accident,
    network::lets_the_facade_out,
    ports::are_those_of_the_settings,
    ports::are_probed,
    ports::exist,
    selectors::find_the_pods,
    selectors::find_the_admin_service,
];

/// What any invariant finds.
pub fn problems(release: &Manifests) -> Vec<String> {
    ALL.iter().flat_map(|invariant| invariant(release)).collect()
}
