//! Man pages, and the completions of shells.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use clap::CommandFactory as _;
use totp_facade::cli::{Cli, exit_codes};

use crate::support::{folder::Folder, process::program};

/// What no page may contain, as the value of a variable.
const VALUE: &str = "value-of-a-variable";

/// Runs it where variables are set, and returns what it prints.
fn printed(args: &[&str]) -> String {
    let variables = ["STYTCH_SECRET", "STYTCH_PROJECT_ID", "TOTP_FACADE_ADDR", "TOTP_FACADE_TOKEN"];
    let output = program(args).envs(variables.map(|name| (name, VALUE))).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of all subcommands, as `recovery-codes-get`.
fn subcommands(command: &clap::Command, prefix: &str) -> Vec<String> {
    let below = command.get_subcommands().filter(|it| it.get_name() != "help");
    below
        .flat_map(|it| {
            let name = format!("{prefix}{}", it.get_name());
            let more = subcommands(it, &format!("{name}-"));
            [vec![name], more].concat()
        })
        .collect()
}

#[test]
fn the_program_and_every_subcommand_have_a_man_page() {
    let folder = Folder::new();

    assert_eq!(printed(&["man", folder.as_ref().to_str().unwrap()]), "");

    let names = subcommands(&Cli::command(), "").into_iter();
    let mut expected: BTreeSet<_> = names.map(|name| format!("totp-facade-{name}.1")).collect();
    assert!(expected.contains("totp-facade-recovery-codes-get.1"), "{expected:?}");
    expected.insert("totp-facade.1".into());
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{text}");
        assert!(!text.contains(VALUE), "{text}");
        pages.insert(entry.file_name().into_string().unwrap());
    }
    assert_eq!(pages, expected);
}

#[test]
fn a_man_page_names_the_variable_of_each_setting_and_no_value() {
    let folder = Folder::new();
    printed(&["man", folder.as_ref().to_str().unwrap()]);

    for (command, variable) in [
        ("serve", "STYTCH_PROJECT_ID"),
        ("check", "TOTP_FACADE_GRPC_ADDR"),
        ("recovery-codes-get", "TOTP_FACADE_ADDR"),
    ] {
        let page = fs::read_to_string(folder.path(&format!("totp-facade-{command}.1"))).unwrap();
        // An underscore needs no escape.
        assert!(page.contains(&format!("\\fB{variable}\\fR environment variable")), "{page}");
        assert!(!page.contains(VALUE), "{page}");
    }
}

#[test]
fn without_a_folder_the_page_of_the_program_is_printed() {
    let page = printed(&["man"]);

    for subcommand in Cli::command().get_subcommands() {
        // A hyphen is escaped.
        let name = subcommand.get_name().replace('-', "\\-");
        assert!(page.contains(&format!("totp\\-facade\\-{name}(1)")), "{name} in {page}");
    }
    assert!(!page.contains(VALUE), "{page}");
}

#[test]
fn each_man_page_ends_with_the_exit_codes_and_what_else_to_read() {
    let folder = Folder::new();
    printed(&["man", folder.as_ref().to_str().unwrap()]);

    for (page, other) in [
        ("totp-facade", "totp\\-facade\\-serve"),
        ("totp-facade", "totp\\-facade\\-recovery\\-codes"),
        ("totp-facade-serve", "totp\\-facade"),
        ("totp-facade-recovery-codes-get", "totp\\-facade\\-recovery\\-codes"),
    ] {
        let text = fs::read_to_string(folder.path(&format!("{page}.1"))).unwrap();
        let (_, text) = text.split_once("\n.SH \"EXIT STATUS\"\n").expect("exit codes");
        let (codes, others) = text.split_once(".SH \"SEE ALSO\"\n").expect("other pages");
        for row in exit_codes().lines() {
            let (code, meaning) = row.trim_matches(['|', ' ']).split_once(" | ").unwrap();
            let meaning = meaning.replace('-', "\\-");
            assert!(codes.contains(&format!(".TP\n\\fB{code}\\fR\n{meaning}\n")), "{codes}");
        }
        assert!(others.contains(&format!("\\fB{other}\\fR(1)")), "{page}: {others}");
    }
    let page = printed(&["man"]);
    assert!(page.contains("EXIT STATUS") && page.contains("SEE ALSO"), "{page}");
}

#[test]
fn every_shell_gets_completions_for_every_subcommand() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);

        for subcommand in Cli::command().get_subcommands() {
            assert!(script.contains(subcommand.get_name()), "{shell}: {subcommand}");
        }
        assert!(!script.contains(VALUE), "{shell}");
    }
}

#[test]
fn every_shell_that_completes_values_knows_those_of_a_flag_or_argument_with_few() {
    // elvish and PowerShell complete flags alone.
    for (shell, value) in [
        ("bash", "compgen -W \"text json\""),
        ("fish", "json\\t'One JSON object per line'"),
        ("zsh", "json\\:\"One JSON object per line\""),
        ("fish", "using_subcommand completions\" -f -a \"bash elvish fish powershell zsh\""),
    ] {
        let script = printed(&["completions", shell]);

        assert!(script.contains(value), "{value} in {script}");
    }
}

#[test]
fn a_value_that_no_shell_completes_is_refused_with_all_other_problems() {
    let output = program(&["serve", "--log-format", "xml"]).output().unwrap();

    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for part in ["\"xml\" is neither text nor json", "STYTCH_PROJECT_ID: is required"] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
}

#[test]
fn pages_that_cannot_be_written_say_what_is_in_the_way() {
    let folder = Folder::new();
    let file = folder.write("file", "");
    let file = file.to_str().unwrap();
    let pages = folder.path("pages");
    let page = pages.join("totp-facade.1");
    fs::create_dir_all(&page).unwrap();
    for (args, problem) in [
        (&["man", file][..], format!("cannot create the folder {file}: it is a file")),
        (&["contract", "--proto", file], format!("cannot create the folder {file}/")),
        (&["man", pages.to_str().unwrap()], format!("cannot write {}: ", page.display())),
    ] {
        let output = program(args).output().unwrap();

        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with(&format!("error: {problem}")), "{stderr}");
    }
}

#[cfg(unix)]
#[test]
fn bash_reads_its_completions() {
    let mut script = printed(&["completions", "bash"]);
    for (words, last, typed) in [
        ("totp-facade heal", 1, "heal"),
        ("totp-facade serve --grpc-a", 2, "--grpc-a"),
        ("totp-facade recovery-codes ro", 2, "ro"),
        ("totp-facade completions z", 2, "z"),
        ("totp-facade serve --log-format ", 3, "''"),
        ("totp-facade check --audit-write b", 3, "b"),
        ("totp-facade sandbox --sandbox-control f", 3, "f"),
        ("totp-facade authenticate --set-default-mfa t", 3, "t"),
    ] {
        let before = words.split(' ').nth(last - 1).unwrap();
        script += &format!(
            "\nCOMP_WORDS=({words}); COMP_CWORD={last}\n\
             _totp__facade totp-facade {typed} {before}\necho \"${{COMPREPLY[*]}}\"\n"
        );
    }
    let mut bash = Command::new("bash");
    let mut bash = bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();

    let output = bash.wait_with_output().unwrap();

    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "healthcheck\n--grpc-addr\nrotate\nzsh\ntext json\nbefore-response background\nfalse\ntrue\n"
    );
}
