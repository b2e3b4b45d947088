//! The sources fit into an editor.

use std::{fs, path::PathBuf};

/// The widest comment, in columns. rustfmt formats code alone.
const WIDTH: usize = 100;

#[test]
fn comments_wrap_at_100_columns() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<_> =
        ["src", "tests/it", "models", "fuzz", "proto", "dev-features", "build.rs"]
            .map(|name| root.join(name))
            .into();
    let mut files = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            }
            continue;
        }
        if !path.extension().is_some_and(|it| it == "rs" || it == "proto") {
            continue;
        }
        files += 1;
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            // A link or a table cannot be wrapped.
            let is_breakable = line.trim().split(' ').count() > 2 && !line.contains("://");
            let width = line.chars().count();
            assert!(
                !(is_comment && is_breakable && width > WIDTH),
                "{}:{} has {width} columns",
                path.display(),
                number + 1
            );
        }
    }
    assert!(files > 150, "{files} files");
}
