//! What the documents say is what the program does.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use totp_facade::{
    proto,
    sandbox::Seed,
    status,
    telemetry::{
        metrics::{self, Format, Metrics},
        trace::attributes,
    },
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document of the repository, by its path.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md"]
            .map(PathBuf::from)
            .into();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = Path::new("docs").join(entry.unwrap().file_name());
        paths.extend(path.extension().is_some_and(|it| it == "md").then_some(path));
    }
    paths.into_iter().map(|path| (path.clone(), read(path))).collect()
}

#[test]
fn the_published_tables_are_those_in_the_code() {
    for (path, expected) in [
        ("docs/api.md", proto::page()),
        ("docs/errors.md", status::page()),
        ("docs/traces.md", attributes::table()),
        ("docs/retries.md", status::retries_page()),
        ("docs/operations.md", metrics::table()),
    ] {
        let page = read(path);
        let (before, rest) = page.split_once("<!-- table -->\n").expect("the start of the table");
        let (table, after) = rest.split_once("<!-- end of table -->").expect("its end");

        if std::env::var_os("UPDATE_DOCS").is_some() {
            let page = format!("{before}<!-- table -->\n{expected}<!-- end of table -->{after}");
            fs::write(root().join(path), page).unwrap();
        } else {
            assert!(table == expected, "{path}: run `just docs` to print the table again");
        }
    }
}

#[test]
fn the_table_has_every_case_once() {
    let rows: BTreeSet<_> = status::Case::ALL.iter().map(|case| case.row().cause).collect();

    assert_eq!(rows.len(), status::Case::ALL.len());
    for case in status::Case::ALL {
        // `of` and `row` match without `_`; this keeps ALL in step with them.
        assert!(status::page().contains(case.row().cause), "{case:?}");
    }
}

#[test]
fn the_operations_page_lists_every_metric_with_its_type() {
    let metrics = Metrics::default();
    // Both appear on the page only once they are in use.
    metrics.certificate_expires(std::time::SystemTime::now());
    metrics.reloads("tls").succeeded();
    let exposed = metrics.page(Format::Text);
    let page = read("docs/operations.md");

    for metric in exposed.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = metric.split_once(' ').expect("a name and a type");
        assert!(page.contains(&format!("| `{name}` | {kind} |")), "{metric}");
    }
}

#[test]
fn the_operations_page_has_the_exit_codes_of_the_program() {
    let (page, table) = (read("docs/operations.md"), totp_facade::cli::exit_codes());

    assert!(page.contains(&format!("| exit code | meaning |\n|---|---|\n{table}\n")), "{table}");
}

#[test]
fn the_first_screen_of_the_readme_has_the_commands_to_enrol_and_log_in() {
    let readme = read("README.md");
    let screen: Vec<_> = readme.lines().take(50).collect();

    for command in [
        "$ cargo run -- dev",
        "$ cargo run -- create ",
        "$ cargo run -- code ",
        "$ cargo run -- authenticate ",
        "$ cargo test",
    ] {
        assert!(screen.iter().any(|line| line.starts_with(command)), "{command}");
    }
}

#[test]
fn every_member_of_the_sandbox_is_documented() {
    let page = read("docs/sandbox.md");

    for (id, _) in Seed::embedded().members() {
        assert!(page.contains(&format!("| `{id}` |")), "{id}");
    }
}

/// The pages that end with a table of promises, and the tests that hold them.
const PROMISING: [&str; 15] = [
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/audit.md",
    "docs/callers.md",
    "docs/console.md",
    "docs/contract.md",
    "docs/design.md",
    "docs/errors.md",
    "docs/flows.md",
    "docs/logs.md",
    "docs/operations.md",
    "docs/retries.md",
    "docs/sandbox.md",
    "docs/settings.md",
    "docs/traces.md",
];

/// The names of all tests, from the sources.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                names.extend(tests_of(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    names
}

fn tests_of(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        let function = function.and_then(|rest| rest.split('(').next());
        if let Some(name) = function
            && std::mem::take(&mut is_test)
        {
            names.push(name.to_owned());
        }
        // A macro that makes a test of its first argument.
        let made = line.strip_prefix("reflection_works!(").and_then(|rest| rest.split(',').next());
        names.extend(made.map(str::to_owned));
    }
    names
}

/// Splits a page into the rows of its table of promises, and the rest.
fn promises(page: &str) -> (Vec<&str>, String) {
    let Some((before, rest)) = page.split_once("\n| promise | test |\n|---|---|\n") else {
        return (Vec::new(), page.to_owned());
    };
    let rows: Vec<_> = rest.lines().take_while(|line| line.starts_with("| ")).collect();
    let after: Vec<_> = rest.lines().skip(rows.len()).collect();
    (rows, format!("{before}\n{}", after.join("\n")))
}

/// Every identifier in a text.
fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_')
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests = tests();
    let mut named = BTreeSet::new();
    for (path, page) in documents() {
        let path = path.display().to_string();
        let (rows, rest) = promises(&page);
        assert_eq!(!rows.is_empty(), PROMISING.contains(&path.as_str()), "{path}: table of tests");
        for row in rows {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [promise, names] = cells[..] else { panic!("{path}: two cells in {row}") };
            let names: Vec<_> = names.split(", ").map(|name| name.trim_matches('`')).collect();
            assert!(!promise.is_empty(), "{path}: {row}");
            for name in names {
                assert!(tests.contains(name), "{path}: no test is called {name}");
                named.insert(name.to_owned());
            }
        }
        for name in identifiers(&rest).filter(|name| name.contains('_')) {
            assert!(!tests.contains(name), "{path}: {name} belongs in the table of tests");
        }
    }
    assert!(named.len() >= 200, "the documents name {} tests", named.len());
}

#[test]
fn the_tests_of_a_source_are_found_however_they_are_written() {
    let source = "#[test]\nfn plain() {}\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn runs() {}\n\
                  fn helper() {}\n#[test]\n#[cfg(unix)]\nfn guarded() {}\n\
                  reflection_works!(made, v1);\n";

    assert_eq!(tests_of(source), ["plain", "runs", "guarded", "made"]);
}

/// The anchors of a page's headings, as a code host makes them, and those that it sets itself.
fn anchors(page: &str) -> BTreeSet<String> {
    let set =
        page.split("<a id=\"").skip(1).filter_map(|it| Some(it.split_once('"')?.0.to_owned()));
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let headings = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let anchor = |heading: String| {
        let kept = heading.replace(' ', "-");
        kept.chars().filter(|char| char.is_alphanumeric() || matches!(char, '-' | '_')).collect()
    };
    headings.map(anchor).chain(set).collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for (path, page) in documents() {
        for after in page.split("](").skip(1) {
            let link = after.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = match target {
                "" => root().join(&path),
                _ => root().join(&path).parent().unwrap().join(target),
            };
            assert!(file.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let page = fs::read_to_string(file).unwrap();
                assert!(anchors(&page).contains(anchor), "{}: {link}", path.display());
            }
        }
    }
}

/// The folders of the repository whose files documents name by their path from its root.
const FOLDERS: [&str; 11] = [
    ".ci", ".github", "bench", "deploy", "docs", "examples", "fuzz", "models", "proto", "src",
    "tests",
];

/// The words in backticks and in blocks of code that look like a path of the repository.
fn paths(page: &str) -> BTreeSet<&str> {
    // A fence is three backticks, so that what it encloses is at an odd place too.
    let code = page.split('`').skip(1).step_by(2);
    let is_of_path = |char: char| char.is_ascii_alphanumeric() || "_-./".contains(char);
    let words = code.flat_map(|code| code.split(move |char| !is_of_path(char)));
    let words = words.map(|word| word.trim_end_matches('.').trim_start_matches("./"));
    words
        .filter(|word| word.split_once('/').is_some_and(|(folder, _)| FOLDERS.contains(&folder)))
        .collect()
}

#[test]
fn every_path_of_the_repository_that_a_document_names_exists() {
    let mut found = 0;
    for (document, page) in documents() {
        for path in paths(&page) {
            assert!(root().join(path).exists(), "{}: there is no {path}", document.display());
            found += 1;
        }
    }
    assert!(found >= 80, "the documents name {found} paths");
}

#[test]
fn paths_are_found_in_backticks_and_in_blocks_of_code_alone() {
    let page = "See src/no.rs, `src/a.rs`, `/etc/src/no`, `crate/src/no` and `run deploy/b.sh, .ci/c`.\n\
                ```sh\n$ ./bench/d --out=docs/e.md\n```\nNot tests/no.rs.\n";

    let expected = ["src/a.rs", "deploy/b.sh", ".ci/c", "bench/d", "docs/e.md"];
    assert_eq!(paths(page), expected.into());
}
