//! The floors of `src/`: a room imports from the floors below it alone, so that no room can only be
//! understood together with one above. `docs/design.md` has the picture.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room of `src/`, from the ground up, with the rooms that it may import.
const FLOORS: &[(&str, &[&str])] = &[
    ("address", &[]),
    ("atomic", &[]),
    ("cpu_time", &[]),
    ("error_chain", &[]),
    ("gzip", &[]),
    ("identity", &[]),
    ("jitter", &[]),
    ("per_runtime", &[]),
    ("proto", &[]),
    ("translate", &["cpu_time", "proto"]),
    ("telemetry", &["proto"]),
    ("tls_failure", &["error_chain"]),
    ("files", &["telemetry"]),
    ("http_client", &["error_chain", "files", "per_runtime", "tls_failure"]),
    ("otlp", &["error_chain", "files", "gzip", "http_client", "proto", "telemetry", "tls_failure"]),
    ("sandbox", &["files"]),
    ("connection", &["address", "error_chain", "files", "identity", "jitter", "telemetry"]),
    ("http_server", &["connection"]),
    (
        "stytch",
        &[
            "atomic",
            "cpu_time",
            "error_chain",
            "files",
            "http_client",
            "jitter",
            "proto",
            "telemetry",
            "tls_failure",
            "translate",
        ],
    ),
    ("access", &["connection", "files", "http_client", "identity", "jitter", "proto", "telemetry"]),
    ("status", &["access", "proto", "stytch"]),
    ("call", &["access", "connection", "status", "stytch", "telemetry"]),
    ("audit", &["call", "proto", "status", "stytch", "telemetry", "translate"]),
    (
        "idempotency",
        &[
            "call",
            "files",
            "jitter",
            "per_runtime",
            "proto",
            "status",
            "stytch",
            "telemetry",
            "tls_failure",
            "translate",
        ],
    ),
    (
        "service",
        &["audit", "call", "idempotency", "proto", "status", "stytch", "telemetry", "translate"],
    ),
    (
        "server",
        &[
            "access",
            "call",
            "connection",
            "files",
            "http_server",
            "otlp",
            "proto",
            "service",
            "status",
            "stytch",
            "telemetry",
        ],
    ),
    (
        "facade",
        &[
            "access",
            "connection",
            "idempotency",
            "otlp",
            "server",
            "service",
            "status",
            "stytch",
            "telemetry",
        ],
    ),
    (
        "config",
        &[
            "access",
            "address",
            "connection",
            "facade",
            "files",
            "http_client",
            "idempotency",
            "otlp",
            "sandbox",
            "server",
            "stytch",
            "telemetry",
        ],
    ),
    (
        "client",
        &[
            "config",
            "error_chain",
            "http_client",
            "idempotency",
            "proto",
            "status",
            "stytch",
            "tls_failure",
            "translate",
        ],
    ),
    (
        "console",
        &["client", "gzip", "http_server", "proto", "sandbox", "status", "stytch", "translate"],
    ),
    (
        "verify",
        &[
            "access",
            "client",
            "config",
            "connection",
            "error_chain",
            "facade",
            "http_client",
            "http_server",
            "idempotency",
            "proto",
            "sandbox",
            "server",
            "stytch",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "access",
            "address",
            "client",
            "config",
            "connection",
            "console",
            "error_chain",
            "facade",
            "files",
            "http_client",
            "idempotency",
            "otlp",
            "proto",
            "sandbox",
            "server",
            "status",
            "stytch",
            "telemetry",
            "tls_failure",
            "translate",
            "verify",
        ],
    ),
    ("main", &["cli"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file, relative to `src/`, with its text but for comments and tests.
fn files() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let code = code.map(|line| format!("{line}\n")).collect();
                files.insert(path.strip_prefix(source()).unwrap().to_owned(), code);
            }
        }
    }
    files
}

/// The room of a file: its folder, or itself.
fn room(file: &Path) -> String {
    let first = file.iter().next().unwrap();
    Path::new(first).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The names that follow `prefix` in paths, also in the braces of a `use`.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let is_whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if is_whole {
            first_names(&code[at + prefix.len()..], &mut names);
        }
    }
    names
}

/// The name that a path begins with, or those of the list in braces that it is.
fn first_names(rest: &str, names: &mut BTreeSet<String>) {
    let Some(list) = rest.strip_prefix('{') else {
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        names.insert(name.to_owned());
        return;
    };
    let (mut depth, mut begins) = (0, true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !c.is_whitespace() => {
                begins = false;
                first_names(&list[at..], names);
            }
            _ => {}
        }
    }
}

#[test]
fn a_room_imports_from_the_floors_below_it_alone() {
    for (floor, (room, below)) in FLOORS.iter().enumerate() {
        for lower in *below {
            assert!(
                FLOORS[..floor].iter().any(|(name, _)| name == lower),
                "FLOORS: {room} may import {lower}, which does not stand below it: a circle"
            );
        }
    }
    let (floors, mut imports): (BTreeMap<_, _>, _) = (FLOORS.iter().copied().collect(), 0);
    for (file, code) in files() {
        let room = room(&file);
        let Some(below) = floors.get(room.as_str()) else {
            assert_eq!(room, "lib", "src/{room} is a new room: give it a floor in FLOORS");
            continue;
        };
        let rooms = ["crate::", "totp_facade::"].map(|prefix| names_after(&code, prefix));
        for imported in rooms.iter().flatten().filter(|name| **name != room) {
            imports += 1;
            assert!(
                below.contains(&imported.as_str()),
                "src/{} imports crate::{imported}, which FLOORS does not let src/{room} do. Move what \
                 both need to a room below them, or have {imported} pass it in; if {imported} does \
                 stand below {room}, add it there",
                file.display()
            );
        }
    }
    assert!(imports > 100, "{imports} imports between rooms");
}

#[test]
fn the_layout_of_the_library_names_every_room() {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let (_, layout) = text.split_once("//! # Layout\n").unwrap();
    let (layout, _) = layout.split_once("//! # ").unwrap();
    for (room, _) in FLOORS.iter().filter(|(room, _)| *room != "main") {
        assert!(layout.contains(&format!("`{room}`")), "{room} is not in the layout of src/lib.rs");
    }
}

#[test]
fn no_files_of_a_room_import_each_other_in_a_circle() {
    let files = files();
    let mut imports: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (file, code) in &files {
        let folder = file.parent().unwrap();
        let face = file.file_name().unwrap() == "mod.rs";
        // What is no file is an item of the room's face.
        let resolve = |folder: &Path, name: &str| {
            [
                folder.join(format!("{name}.rs")),
                folder.join(name).join("mod.rs"),
                folder.join("mod.rs"),
            ]
            .iter()
            .find_map(|path| files.get_key_value(path))
            .map(|(path, _)| path.as_path())
        };
        let mut named: Vec<_> = Vec::new();
        if face {
            // A face names its files as `use file::Item`.
            let children = code.lines().filter_map(|line| {
                line.trim_start()
                    .trim_start_matches("pub(crate) ")
                    .trim_start_matches("pub ")
                    .strip_prefix("use ")?
                    .split("::")
                    .next()
                    .map(str::to_owned)
            });
            named.extend(
                children
                    .filter(|name| {
                        folder.join(format!("{name}.rs")).as_path() != file.as_path()
                            && (files.contains_key(&folder.join(format!("{name}.rs")))
                                || files.contains_key(&folder.join(name).join("mod.rs")))
                    })
                    .filter_map(|name| resolve(folder, &name)),
            );
            if let Some(parent) = folder.parent() {
                named.extend(
                    names_after(code, "super::").iter().filter_map(|it| resolve(parent, it)),
                );
            }
        } else {
            named.extend(names_after(code, "super::").iter().filter_map(|it| resolve(folder, it)));
        }
        imports.insert(file, named.into_iter().filter(|it| *it != file).collect());
    }
    // Whatever imports nothing that is left is in no circle.
    while let Some(free) = imports.iter().find(|(_, its)| its.is_empty()).map(|(file, _)| *file) {
        imports.remove(free);
        imports.values_mut().for_each(|its| {
            its.remove(free);
        });
    }
    let circle: Vec<_> = imports.iter().map(|(file, its)| format!("{file:?} -> {its:?}")).collect();
    assert!(
        circle.is_empty(),
        "these files import each other in a circle; move what they share to a file of its own:\n{}",
        circle.join("\n")
    );
}
