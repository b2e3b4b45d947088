//! The values of the chart, as `values.yaml` documents them.

use std::fs;

use serde_json::Value;

use crate::helm;

pub struct Documented {
    /// Where it is, with dots.
    pub path: String,
    pub default: Value,
    /// The comment above it.
    pub meaning: String,
}

/// Every value with a comment, in order. A value without one has to be a section, whose values have.
pub fn documented() -> Result<Vec<Documented>, String> {
    let text = fs::read_to_string(helm::chart().join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    // The sections that a line is in, with their indentation, and whether one of them is documented as a whole.
    let mut sections: Vec<(usize, String, bool)> = Vec::new();
    let mut comment = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if let Some(words) = line.strip_prefix('#') {
            comment.push(words.trim().to_owned());
            continue;
        }
        sections.retain(|(outer, ..)| *outer < indent);
        if let Some((key, inline)) =
            key(line).filter(|_| !sections.iter().any(|(.., whole)| *whole))
        {
            let path =
                sections.iter().map(|(_, key, _)| key.as_str()).chain([key]).collect::<Vec<_>>();
            if comment.is_empty() && !inline.is_empty() {
                return Err(format!("{} has no comment", path.join(".")));
            }
            if !comment.is_empty() {
                let default = path.iter().fold(&values, |value, key| &value[key]).clone();
                found.push(Documented {
                    path: path.join("."),
                    default,
                    meaning: comment.join(" "),
                });
            }
            sections.push((indent, key.to_owned(), !comment.is_empty()));
        }
        comment.clear();
    }
    Ok(found)
}

/// The key of a line and what follows it, if the line has a key.
fn key(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line.split_once(':')?;
    let plain = !key.is_empty() && key.bytes().all(|it| it.is_ascii_alphanumeric());
    plain.then_some((key, rest.trim()))
}

/// The table of docs/kubernetes.md.
pub fn table() -> Result<String, String> {
    let mut table = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    for Documented { path, default, meaning } in documented()? {
        let default = match &default {
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        table += &format!("| `{path}` | {default} | {meaning} |\n");
    }
    Ok(table)
}
