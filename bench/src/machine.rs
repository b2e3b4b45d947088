//! What a measurement was made on.

use std::{fs, path::Path, process::Command};

/// Describes the machine and the versions of the programs.
pub fn description(facade: &Path, envoy: &Path) -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> = cpus.lines().filter_map(|line| line.strip_prefix("model name")).collect();
    let model = models.first().map_or("unknown", |it| it.trim_start_matches([' ', '\t', ':']));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "Machine: {} x {model}, Linux {}.\nPrograms: {}; {}; {}.",
        models.len(),
        kernel.trim(),
        version(facade, &["--version"]),
        version(Path::new("rustc"), &["--version"]),
        version(envoy, &["--version"]),
    )
}

/// Returns the last line that a program prints that is not empty.
fn version(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    let text = text.unwrap_or_default();
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or("unknown").trim().to_owned()
}
