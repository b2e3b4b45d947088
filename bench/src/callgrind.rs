//! Reads what callgrind writes: the instructions of each function.

use std::{collections::HashMap, fs, path::Path};

use crate::Fallible;

/// Instructions by the name of the function that they are in.
pub type Instructions = HashMap<String, i64>;

/// Reads the instructions of each function by itself, without what it calls.
pub fn read(path: &Path) -> Fallible<Instructions> {
    let text = fs::read_to_string(path)?;
    let mut names = HashMap::new();
    let mut instructions = Instructions::new();
    let mut function = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = resolve(name, &mut names);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            resolve(name, &mut names);
        } else if line.starts_with("calls=") {
            // The next line is the cost of what is called.
            lines.next();
        } else if line.starts_with(['+', '-', '*'])
            || line.starts_with(|it: char| it.is_ascii_digit())
        {
            let count = line.split(' ').nth(1).ok_or("a line without a count")?;
            *instructions.entry(function.clone()).or_default() += count.parse::<i64>()?;
        }
    }
    match instructions.is_empty() {
        true => Err(format!("{} has no counts", path.display()).into()),
        false => Ok(instructions),
    }
}

/// Returns a name, which is written out only where it first occurs: `(12) name`, then `(12)`.
fn resolve(text: &str, names: &mut HashMap<String, String>) -> String {
    match text.split_once(") ") {
        Some((id, name)) => {
            names.insert(id.to_owned(), name.to_owned());
            name.to_owned()
        }
        None => names.get(text.trim_end_matches(')')).cloned().unwrap_or_else(|| text.to_owned()),
    }
}

/// Parts of the program, by how the names of their functions start. The first that matches counts;
/// the order is from the special to the general.
const PARTS: &[(&str, &[&str])] = &[
    (
        "JSON, translation",
        &[
            "totp_facade::translate",
            "totp_facade::proto",
            "serde",
            "zmij",
            "core::str::converts",
            "core::str::validations",
            "itoa",
            "ryu",
        ],
    ),
    ("protobuf", &["prost"]),
    (
        "the audit event and logs",
        &[
            "totp_facade::audit",
            "totp_facade::telemetry::access_log",
            "totp_facade::telemetry::calls",
            "totp_facade::telemetry::json",
            "totp_facade::telemetry::logs",
            "totp_facade::telemetry::output",
            "totp_facade::telemetry::trail",
            "tracing",
            "sharded_slab",
            "regex",
            "matchers",
        ],
    ),
    ("metrics and traces", &["totp_facade::telemetry"]),
    ("client of Stytch", &["totp_facade::stytch", "totp_facade::http_client"]),
    ("reqwest and its layers, URLs", &["reqwest", "tower_http", "url", "idna", "percent_encoding"]),
    ("hyper-util's client and pool", &["hyper_util::client"]),
    ("HTTP/1", &["hyper::proto::h1", "httparse", "hyper::client"]),
    ("HTTP/2", &["h2::", "hyper::proto::h2", "hyper::server"]),
    ("guard, service, idempotency", &["totp_facade"]),
    ("routing, tonic", &["tonic", "axum", "matchit", "tower"]),
    ("headers, bodies, buffers", &["http::", "http_body", "bytes::", "hyper", "httpdate"]),
    ("tokio, futures", &["tokio", "mio", "parking_lot", "futures"]),
    (
        "malloc and free",
        &[
            "malloc",
            "free",
            "calloc",
            "realloc",
            "_int_",
            "unlink_chunk",
            "arena",
            "tcache",
            "sysmalloc",
            "systrim",
            "mi_",
            "_mi_",
            "__rdl_",
            "__rust_",
            "__rustc::",
            "mimalloc",
        ],
    ),
    ("memcpy, memset, memcmp", &["__mem", "mem", "bcmp", "__str"]),
    ("formatting", &["core::fmt", "alloc::fmt", "core::num::flt2dec", "core::num::dec2flt"]),
    ("hashing, maps", &["core::hash", "hashbrown", "alloc::collections", "std::hash"]),
    ("encryption, SHA-256", &["aws_lc"]),
];

/// Sums instructions by part, in the order of the parts; the last is everything else.
pub fn by_part(instructions: &Instructions) -> Vec<(&'static str, i64)> {
    let mut sums = vec![0; PARTS.len() + 1];
    for (function, count) in instructions {
        sums[part_of(function)] += count;
    }
    let names = PARTS.iter().map(|(name, _)| *name).chain([REST]);
    names.zip(sums).collect()
}

/// Returns the name of the part that a function belongs to.
pub fn part(function: &str) -> &'static str {
    PARTS.get(part_of(function)).map_or(REST, |(name, _)| *name)
}

const REST: &str = "the rest";

/// Finds the part that a function belongs to: that of the type it is for, else that of the types it
/// is generic over, else that of its trait.
fn part_of(function: &str) -> usize {
    // Written for the messages of the contract, which do JSON as well.
    let function = match function.contains("prost::message::Message") {
        true => "prost",
        false => function,
    };
    let position = |name: &str| {
        let starts = |(_, prefixes): &(_, &[&str])| prefixes.iter().any(|it| name.starts_with(it));
        PARTS.iter().position(starts)
    };
    let mut names = function.split(['<', '>', '&', '(', ')', ',', ' ', '*', '[', ']']);
    names.find_map(position).unwrap_or(PARTS.len())
}
