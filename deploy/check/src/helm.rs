//! The chart, and Helm, which renders it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The namespace and the release that everything is rendered for.
pub const NAMESPACE: &str = "identity";
pub const RELEASE: &str = "totp-facade";

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

pub fn chart() -> PathBuf {
    root().join("deploy/helm/totp-facade")
}

/// The sets of values in `ci/`, in order.
pub fn sets() -> Vec<PathBuf> {
    let folder = chart().join("ci");
    let mut sets: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    sets.sort();
    sets
}

/// A program that `just helm` names by a variable.
pub fn program(variable: &str) -> Command {
    Command::new(
        env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run `just helm`")),
    )
}

/// What the chart renders for a file of values and further flags, or why Helm refuses.
pub fn template(values: &Path, flags: &[&str]) -> Result<String, String> {
    run(&["template", RELEASE], values, flags)
}

/// The same for a release of another name.
pub fn template_as(release: &str, values: &Path, flags: &[&str]) -> Result<String, String> {
    run(&["template", release], values, flags)
}

/// The notes that Helm prints once it has installed the chart.
pub fn notes(values: &Path, flags: &[&str]) -> Result<String, String> {
    let printed = run(&["install", RELEASE, "--dry-run=client"], values, flags)?;
    Ok(printed.split_once("\nNOTES:\n").expect("there are notes").1.to_owned())
}

fn run(command: &[&str], values: &Path, flags: &[&str]) -> Result<String, String> {
    let mut helm = program("HELM");
    helm.args(command).arg(chart()).args(["--namespace", NAMESPACE, "--values"]);
    let output = helm.arg(values).args(flags).output().expect("Helm runs");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}
