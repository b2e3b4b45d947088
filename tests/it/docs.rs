//! What the documents say is what the program does.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use totp_facade::{sandbox::Seed, status};

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
        paths.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    paths.into_iter().map(|path| (path.clone(), read(path))).collect()
}

#[test]
fn the_published_tables_are_those_in_the_code() {
    for (path, expected) in
        [("docs/errors.md", status::page()), ("docs/retries.md", status::retries_page())]
    {
        let page = read(path);
        let (before, rest) = page.split_once("<!-- table -->\n").expect("the start of the table");
        let (table, after) = rest.split_once("<!-- end of table -->").expect("its end");

        if std::env::var_os("UPDATE_DOCS").is_some() {
            let page = format!("{before}<!-- table -->\n{expected}<!-- end of table -->{after}");
            fs::write(root().join(path), page).unwrap();
        } else {
            assert!(table == expected, "{path}: run `just docs` to publish the table anew");
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
fn the_first_screen_of_the_readme_has_the_commands_to_enrol_and_log_in() {
    let readme = read("README.md");
    let screen: Vec<_> = readme.lines().take(24).collect();

    for command in [
        "$ cargo run --release -- dev",
        "$ cargo test",
        "$ cargo run --release -- create ",
        "$ cargo run --release -- authenticate ",
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

#[test]
fn every_test_that_a_document_names_exists() {
    let mut sources = String::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let mut named = 0;
    for (path, page) in documents() {
        // A name may begin a line.
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        for after in page.split("test `").skip(1) {
            let name = after.split('`').next().unwrap();
            let exists = sources.contains(&format!("fn {name}("))
                || sources.contains(&format!("reflection_works!({name},"));
            assert!(exists, "{}: {name}", path.display());
            named += 1;
        }
    }
    assert!(named >= 20, "the documents name {named} tests");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for (path, page) in documents() {
        for after in page.split("](").skip(1) {
            let target = after.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let file = root().join(&path).parent().unwrap().join(target);
            assert!(file.exists(), "{}: {target}", path.display());
        }
    }
}
