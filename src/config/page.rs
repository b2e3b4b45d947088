//! The table of settings in `docs/settings.md`.

use std::collections::BTreeSet;

use super::{
    client::ClientConfig,
    console::ConsoleConfig,
    facade::Config,
    logs::LogConfig,
    sandbox::{DevConfig, SandboxConfig},
    setting::{About, DefaultValue, Group},
    unchecked::FromSettings,
    verify::VerifyConfig,
};

/// Who reads which groups, in the order of the page.
const READERS: [(&str, &[&Group]); 8] = [
    ("`serve`", Config::GROUPS),
    ("`check`", Config::GROUPS),
    ("`dev`", DevConfig::GROUPS),
    ("`sandbox`", SandboxConfig::GROUPS),
    ("`console`", ConsoleConfig::GROUPS),
    ("`verify`", VerifyConfig::GROUPS),
    ("every subcommand", LogConfig::GROUPS),
    ("every subcommand that calls a façade", ClientConfig::GROUPS),
];

/// Returns every setting of the program, in the order of [`page`].
pub fn all() -> impl Iterator<Item = &'static About> {
    groups().flat_map(|group| group.settings).copied()
}

fn groups() -> impl Iterator<Item = &'static Group> {
    let mut seen = BTreeSet::new();
    let groups = READERS.iter().flat_map(|(_, groups)| *groups).copied();
    groups.filter(move |group| seen.insert(group.heading))
}

/// Returns the list of secrets, which have no flag, for the end of `--help`.
pub fn secrets_help() -> String {
    let line = |about: &About| {
        let meaning = about.meaning();
        let sentence = meaning.trim_end_matches('.').split(". ").next().unwrap_or_default();
        format!("\n  {}\n          {sentence}", about.name)
    };
    let secrets = all().filter(|about| about.is_secret()).map(line);
    let secrets: String = secrets.collect();
    format!(
        "Secrets, read from environment variables only:{secrets}\n\n\
         Traces are set up by OpenTelemetry's variables, OTEL_EXPORTER_OTLP_ENDPOINT first of all."
    )
}

/// Returns the tables of `docs/settings.md`, a table for each group.
pub fn page() -> String {
    let mut page = String::new();
    for group in groups() {
        let reads = |(_, groups): &&(&str, &[&Group])| {
            groups.iter().any(|other| other.heading == group.heading)
        };
        let readers: Vec<_> = READERS.iter().filter(reads).map(|(name, _)| *name).collect();
        page += &format!(
            "\n## {}\n\nRead by {}.\n\n| variable | flag | default | meaning |\n|---|---|---|---|\n",
            group.heading,
            readers.join(", ")
        );
        page.extend(group.settings.iter().map(|about| row(about)));
    }
    page + "\n"
}

fn row(about: &About) -> String {
    let code = |text: String| format!("`{text}`");
    let variable = about.variable.map_or(String::new(), |variable| code(variable.to_owned()));
    let flag = about.usage().map_or("none".to_owned(), |usage| code(usage.replace('|', "\\|")));
    let default = match about.default {
        DefaultValue::None => String::new(),
        DefaultValue::Required => "required".to_owned(),
        DefaultValue::Value(value) => code(value.to_owned()),
        DefaultValue::Derived(description) => description.to_owned(),
    };
    format!("| {variable} | {flag} | {default} | {} |\n", linked(&about.meaning()))
}

/// Turns `(docs/PAGE.md)` into a link from a page in the same folder.
fn linked(text: &str) -> String {
    let mut parts = text.split("(docs/");
    let mut linked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (page, rest) = part.split_once(')').unwrap_or((part, ""));
        linked += &format!("([{page}]({page})){rest}");
    }
    linked
}
