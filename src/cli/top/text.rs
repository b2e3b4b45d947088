//! Prints a summary as plain text.

use std::fmt::Write as _;

use super::{
    number::{count, latency, rate, share},
    summary::{Row, Summary, Table},
};

/// Returns everything as text: the title, facts, warnings, and every row of each table.
pub(super) fn snapshot(address: &str, summary: &Summary) -> String {
    let mut text = format!("{}\n{address}\n", summary.title);
    for facts in &summary.facts {
        let facts: Vec<_> = facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
        text += &format!("{}\n", facts.join("  "));
    }
    for warning in &summary.warnings {
        text += &format!("! {warning}\n");
    }
    let Summary { methods, stytch, codes, callers, refusals, .. } = summary;
    for table in [methods, stytch, codes, callers, refusals] {
        text += &format!("\n{}", lines(table));
    }
    text
}

fn lines(table: &Table) -> String {
    let cells: Vec<_> = table.rows.iter().map(|row| cells(table, row)).collect();
    let width = table.rows.iter().map(|row| row.name.chars().count());
    let width = width.chain([table.title.len()]).max().unwrap_or_default();
    let mut text = String::new();
    let names = table.rows.iter().map(|row| row.name.as_str());
    for (name, cells) in
        [table.title].into_iter().chain(names).zip([headings(table)].into_iter().chain(cells))
    {
        // Writing to a string does not fail.
        let _ = write!(text, "{name:width$}");
        for cell in cells {
            let _ = write!(text, " {cell:>8}");
        }
        text.push('\n');
    }
    text
}

/// Returns the headings of a table's numbers.
pub(super) fn headings(table: &Table) -> Vec<String> {
    let failed = if table.has_failed { &["not OK"][..] } else { &[] };
    let latency = if table.has_latency { &["p50", "p90", "p99"][..] } else { &[] };
    [&["total", "per s"][..], failed, latency].concat().iter().map(ToString::to_string).collect()
}

/// Returns the numbers of a row.
pub(super) fn cells(table: &Table, row: &Row) -> Vec<String> {
    let mut cells = vec![count(row.total), rate(row.rate)];
    if table.has_failed {
        cells.push(row.failed.map_or("-".to_owned(), share));
    }
    if table.has_latency {
        let none = || ["-"; 3].map(str::to_owned);
        cells.extend(row.latency.map_or_else(none, |it| it.map(latency)));
    }
    cells
}
