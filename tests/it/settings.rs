//! The settings are declared once, and everything that is said of them follows.

use std::{collections::BTreeSet, fs, path::Path};

use clap::CommandFactory as _;
use totp_facade::{cli::Cli, config};

use crate::support::process::program;

const START: &str = "<!-- table -->\n";
const END: &str = "<!-- end of table -->";

#[test]
fn the_published_tables_of_settings_are_those_in_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(START).expect("the start of the table");
    let (table, after) = rest.split_once(END).expect("the end of the table");

    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, format!("{before}{START}{}{END}{after}", config::page())).unwrap();
    } else {
        assert!(table == config::page(), "run `just docs` to print the tables of settings again");
    }
}

#[test]
fn every_flag_with_a_variable_is_a_declared_setting() {
    let declared: BTreeSet<_> = config::all().filter_map(|setting| setting.variable).collect();
    let without_flag: Vec<_> = config::all().filter(|setting| setting.flag().is_none()).collect();
    let mut found = BTreeSet::new();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        for variable in command.get_arguments().filter_map(|argument| argument.get_env()) {
            found.insert(variable.to_str().unwrap().to_owned());
        }
        commands.extend(command.get_subcommands().cloned());
    }

    assert!(found.iter().all(|variable| declared.contains(variable.as_str())), "{found:?}");
    assert_eq!(found.len() + without_flag.len(), declared.len(), "{found:?} {declared:?}");
    for setting in without_flag {
        let is_of_traces = setting.name.starts_with("OTEL_") || setting.name.contains("_TRACE_");
        assert!(setting.is_secret() || is_of_traces, "{} has no flag", setting.name);
    }
}

#[test]
fn no_two_settings_share_a_variable_or_a_flag() {
    let variables: Vec<_> = config::all().filter_map(|setting| setting.variable).collect();
    let flags: Vec<_> = config::all().filter_map(config::About::flag).collect();

    assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len(), "{variables:?}");
    assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len(), "{flags:?}");
}

#[test]
fn check_shows_every_setting_of_serve_and_help_lists_it() {
    let run = |args: &[&str]| {
        let mut command = program(args);
        command.env("STYTCH_PROJECT_ID", "project-test-1").env("STYTCH_SECRET", "secret");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let (summary, help) = (run(&["check"]), run(&["serve", "--help"]));

    let shown: Vec<_> = summary.lines().map_while(|line| Some(line.split_once('=')?.0)).collect();
    assert!(shown.len() > 30, "{summary}");
    for setting in config::all().filter(|setting| setting.variable.is_some()) {
        let Some(flag) = setting.flag() else { continue };
        let is_shown = shown.contains(&setting.name);
        let is_listed =
            help.contains(&format!("--{flag} ")) || help.contains(&format!("--{flag}["));
        assert_eq!(is_shown, is_listed, "{}", setting.name);
    }
}

#[test]
fn the_grpc_port_and_the_admin_port_must_differ() {
    for (addr, code) in [("127.0.0.1:50999", 64), ("127.0.0.1:0", 0)] {
        let output = program(&["check", "--grpc-addr", addr, "--admin-addr", addr])
            .env("STYTCH_PROJECT_ID", "project-test-1")
            .env("STYTCH_SECRET", "secret")
            .output()
            .unwrap();

        assert_eq!(output.status.code(), Some(code), "{addr}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.contains("TOTP_FACADE_ADMIN_ADDR: "), code != 0, "{stderr}");
    }
}
