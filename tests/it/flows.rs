//! `docs/flows.md` does what it says, in a shell, with the program itself.

use std::{fs, path::Path, process::Command};

use crate::support::{folder::Folder, process::dev};

/// A command and what it is to print.
struct Step {
    command: String,
    output: String,
}

/// The flows of the document: heading and steps.
fn flows() -> Vec<(String, Vec<Step>)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/flows.md")).unwrap();
    let sections = page.split("\n## ").skip(1);
    sections
        .filter(|section| !section.starts_with("Tests\n"))
        .map(|section| {
            let heading = section.lines().next().unwrap().to_owned();
            let blocks = section.split("```console\n").skip(1);
            let steps = blocks
                .flat_map(|block| block.split("```").next().unwrap().split("$ ").skip(1))
                .map(step)
                .collect();
            (heading, steps)
        })
        .collect()
}

fn step(text: &str) -> Step {
    let mut lines = text.lines();
    let mut command = lines.next().unwrap().to_owned();
    while let Some(line) = command.strip_suffix('\\') {
        command = line.to_owned() + lines.next().unwrap().trim_start_matches('>');
    }
    Step { command, output: lines.map(|line| format!("{line}\n")).collect() }
}

/// Whether `printed` is `expected`, in which "…" stands for anything.
fn matches(expected: &str, printed: &str) -> bool {
    let mut parts: Vec<_> = expected.trim().split('…').map(str::trim).collect();
    let (last, first) = (parts.pop().unwrap(), parts.drain(..1.min(parts.len())).next());
    let Some(first) = first else { return printed.trim() == last };
    let Some(mut rest) = printed.trim().strip_prefix(first) else { return false };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn every_flow_runs_as_it_is_written() {
    let flows = flows();
    let headings: Vec<_> = flows.iter().map(|(heading, _)| heading.as_str()).collect();
    assert_eq!(
        headings,
        ["Enrol", "Log in", "Lost phone", "Migrate from another provider", "Rotate"]
    );
    for (heading, steps) in flows {
        assert!(steps.len() >= 2, "{heading} has steps");
        let (_server, addr) = dev(&[]);
        run(&heading, &steps, &addr, Folder::new().as_ref());
    }
}

/// Runs the steps in one shell, so that they share variables, and checks what each prints.
fn run(heading: &str, steps: &[Step], addr: &str, folder: &Path) {
    const END: &str = "=== exit code of the step: ";
    let script: String = steps
        .iter()
        .map(|step| format!("{{ {}\n}} 2>&1\necho \"{END}$?\"\n", step.command))
        .collect();
    let program = Path::new(env!("CARGO_BIN_EXE_totp-facade")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());

    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder)
        .env("PATH", path)
        .env("TOTP_FACADE_ADDR", addr)
        .output()
        .unwrap();

    let printed = String::from_utf8(output.stdout).unwrap();
    let mut printed = printed.as_str();
    for Step { command, output } in steps {
        let (text, rest) =
            printed.split_once(END).unwrap_or_else(|| panic!("{heading}: {command}"));
        let (code, rest) = rest.split_once('\n').unwrap();
        let expected = if output.starts_with("error: ") { "1" } else { "0" };
        assert_eq!(code, expected, "{heading}: {command}\n{text}");
        assert!(
            matches(output, text),
            "{heading}: {command}\nprinted:\n{text}\nexpected:\n{output}"
        );
        printed = rest;
    }
}

#[test]
fn what_a_flow_is_to_print_is_compared_and_not_only_shown() {
    assert!(matches("{\n  …\n  \"a\": 1\n}", "{\n  \"b\": 2,\n  \"a\": 1\n}\n"));
    assert!(matches("error: …", "error: anything"));
    assert!(!matches("{\n  …\n  \"a\": 1\n}", "{\n  \"a\": 2\n}"));
    assert!(!matches("{}", "{}\n{}"));
    assert!(!matches("", "something"));
}
