//! The chart, rendered by Helm. `just helm` runs these tests, with HELM and TOTP_FACADE as the programs.

mod broken;
mod fixtures;
mod pages;
mod refusals;
mod restricted;
mod sets;
mod settings;
