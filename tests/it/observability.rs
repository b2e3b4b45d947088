//! Dashboard, rules and alerts in `deploy/` fit the metrics and the documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::{Value, json};

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/totp-facade.json")).unwrap()
}

/// The panels of the dashboard, without the headings of rows.
fn panels() -> Vec<Value> {
    let panels = dashboard()["panels"].as_array().unwrap().clone();
    panels.into_iter().filter(|panel| panel["type"] != "row").collect()
}

/// The values of a key in YAML as ours is written: on the line of the key, or indented below it.
fn values(yaml: &str, key: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut lines = yaml.lines().peekable();
    let indent = |line: &str| line.len() - line.trim_start().len();
    while let Some(line) = lines.next() {
        let Some(value) = line.trim_start_matches([' ', '-']).strip_prefix(key) else { continue };
        let mut value = value.trim_start_matches(':').trim().to_owned();
        if matches!(value.as_str(), "|" | ">-") {
            value.clear();
            while let Some(more) = lines.next_if(|it| indent(it) > indent(line)) {
                value += more.trim();
                value.push(' ');
            }
        }
        values.push(value);
    }
    values
}

fn alerts() -> Vec<String> {
    values(&read("deploy/prometheus/alerts.yml"), "alert:")
}

#[test]
fn every_alert_has_a_section_and_a_case_where_it_fires_and_one_where_it_does_not() {
    let (page, alerts) = (read("docs/operations.md"), alerts());
    let (tests, rules) =
        (read("deploy/prometheus/tests.yml"), read("deploy/prometheus/alerts.yml"));
    assert!(alerts.len() >= 18, "{alerts:?}");
    let runbooks = values(&rules, "runbook:");
    assert_eq!(runbooks.len(), alerts.len());

    for (alert, runbook) in alerts.iter().zip(runbooks) {
        let section = page.split(&format!("\n### {alert}\n")).nth(1).expect(alert);
        let section = section.split("\n#").next().unwrap();
        assert!(!section.trim_start().starts_with('-'), "{alert} says what it means");
        assert!(section.contains("\n- Check: ") && section.contains("\n- Do: "), "{alert}");
        assert_eq!(runbook, format!("docs/operations.md#{}", alert.to_lowercase()));
        let name = format!("alertname: {alert}\n");
        let cases = tests.split(&name).skip(1);
        let (fires, quiet): (Vec<_>, Vec<_>) =
            cases.partition(|case| case.trim_start().starts_with("exp_alerts:\n"));
        assert!(!fires.is_empty() && !quiet.is_empty(), "{alert}");
    }
    let sections = page.lines().filter_map(|line| line.strip_prefix("### TotpFacade"));
    assert_eq!(sections.count(), alerts.len(), "a section without its alert");
}

/// The definition of a part of a panel in one of Grafana's schemas.
fn schema(name: &str, definition: &str) -> jsonschema::Validator {
    let text = read(&format!("tests/it/fixtures/grafana/{name}.jsonschema.json"));
    let whole: Value = serde_json::from_str(&text).unwrap();
    let part = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": format!("#/definitions/{definition}"),
        "definitions": whole["definitions"],
    });
    jsonschema::validator_for(&part).unwrap()
}

fn assert_valid(schema: &jsonschema::Validator, value: &Value, what: &str) {
    let errors: Vec<_> = schema.iter_errors(value).map(|it| it.to_string()).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

#[test]
fn the_dashboard_is_valid_for_grafana_and_every_panel_says_what_to_look_at_next() {
    let (query, panels) = (schema("prometheus", "Dataquery"), panels());
    assert_valid(&schema("dashboard", "Dashboard"), &dashboard(), "the dashboard");
    let mut titles = BTreeSet::new();

    for panel in &panels {
        let (kind, title) = (panel["type"].as_str().unwrap(), panel["title"].as_str().unwrap());
        assert_valid(&schema(kind, "Options"), &panel["options"], title);
        for target in panel["targets"].as_array().unwrap() {
            assert_valid(&query, target, title);
        }
        assert!(titles.insert(title), "two panels are called {title}");
        let description = panel["description"].as_str().unwrap();
        assert!(description.len() > 60, "{title} says what it shows");
        assert!(names_what_is_next(description, &panels, title), "{title}: what is next?");
    }
}

/// Whether a description ends with `Next: ` and what names another panel, or what people look at
/// that is not one.
fn names_what_is_next(description: &str, panels: &[Value], own: &str) -> bool {
    let Some((_, next)) = description.split_once(". Next: ") else { return false };
    let others = panels.iter().map(|panel| panel["title"].as_str().unwrap());
    let elsewhere = ["the audit trail", "the log", "the log collector"];
    others.filter(|title| *title != own).chain(elsewhere).any(|it| names(next, it))
}

/// Whether a text has these words, and not only as part of longer ones.
fn names(text: &str, words: &str) -> bool {
    let is_letter = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
    text.match_indices(words).any(|(at, found)| {
        let (before, after) = (&text[..at], &text[at + found.len()..]);
        !is_letter(before.chars().next_back()) && !is_letter(after.chars().next())
    })
}

#[test]
fn a_panel_that_is_named_in_passing_is_not_what_to_look_at_next() {
    let panels = ["CPU", "Rate", "Rate by replica"].map(|title| json!({"title": title}));

    for (description, expected) in [
        ("The replica has too little CPU.", false),
        ("They follow the CPU. Raise the limit.", false),
        ("Near 1: too little. Next: CPU.", true),
        ("Near 1: too little. Next: the CPUs.", false),
        ("Calls a second. Next: Rate.", false),
        ("Calls a second. Next: Rate by replica.", true),
        ("Newest content is not used. Next: the log, which says why.", true),
    ] {
        assert_eq!(names_what_is_next(description, &panels, "Rate"), expected, "{description}");
    }
}

#[test]
fn the_operations_page_walks_through_each_fault_by_panels_and_alerts_that_exist() {
    let (page, alerts) = (read("docs/operations.md"), alerts());
    let part = |from: &str, to: &str| {
        let from = page.find(&format!("\n{from}\n")).expect(from);
        &page[from..from + page[from..].find(&format!("\n{to}\n")).expect(to)]
    };
    let titles = dashboard()["panels"].as_array().unwrap().clone();
    let titles: Vec<_> = titles.iter().map(|it| it["title"].as_str().unwrap()).collect();
    let named = |text: &str| -> Vec<String> {
        let names = text.split("**").skip(1).step_by(2);
        names.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };

    for name in named(part("## Dashboard", "## Logs")) {
        assert!(titles.contains(&name.as_str()), "no panel is called {name}");
    }
    let walk = part("## Dashboard", "## Alerts");
    for fault in [
        "Stytch is slow",
        "Stytch refuses",
        "Stytch fails",
        "Redis is away",
        "One caller is at its limit",
        "One replica is overloaded",
    ] {
        let anchor = fault.to_lowercase().replace(' ', "-");
        assert!(walk.contains(&format!("[{fault}](#{anchor})")), "nothing leads to {fault}");
        let section = walk.split(&format!("\n### {fault}\n")).nth(1).expect(fault);
        let section = section.split("\n### ").next().unwrap();
        assert!(section.contains("\nDo: "), "{fault}");
        assert!(named(section).len() >= 3, "{fault}");
        let linked = alerts.iter().filter(|it| section.contains(&format!("[{it}](#")));
        assert!(linked.count() > 0, "{fault} has no alert");
    }
    for name in walk.split("[TotpFacade").skip(1) {
        let name = format!("TotpFacade{}", name.split(']').next().unwrap());
        assert!(alerts.contains(&name), "no alert is called {name}");
    }
}

/// Every query of the dashboard and of the rules.
fn queries() -> Vec<String> {
    let mut queries: Vec<String> = Vec::new();
    for panel in panels() {
        let targets = panel["targets"].as_array().unwrap();
        queries.extend(targets.iter().map(|it| it["expr"].as_str().unwrap().to_owned()));
    }
    for file in ["rules", "alerts"] {
        queries.extend(values(&read(&format!("deploy/prometheus/{file}.yml")), "expr:"));
    }
    queries
}

/// The metrics of a query, each with the labels that its selector names.
fn selectors(query: &str) -> Vec<(String, Vec<String>)> {
    const PREFIXES: [&str; 6] = ["totp_facade", "grpc_", "rpc_", "http_", "process_", "job:"];
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let (mut found, mut rest) = (Vec::new(), query);
    while let Some(at) = rest.find(is_name) {
        let word = &rest[at..];
        let word = &word[..word.find(|c| !is_name(c)).unwrap_or(word.len())];
        rest = &rest[at + word.len()..];
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            let parts: Vec<_> = inner.split('"').collect();
            // Outside quotes: `name=` or `name=~`, with a comma before it, up to the brace.
            let mut consumed = 1;
            for (index, part) in parts.iter().enumerate() {
                if index % 2 == 0 {
                    if let Some(end) = part.find('}') {
                        consumed += end + 1;
                        break;
                    }
                    labels.push(part.trim_matches([',', '=', '~', '!', ' ']).to_owned());
                }
                consumed += part.len() + 1;
            }
            rest = &rest[consumed..];
        }
        // A label in `by (…)` is not followed by what follows a metric.
        let is_metric = PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        let in_list = ["grpc_method", "grpc_code", "rpc_method", "rpc_status_code"];
        if is_metric && !in_list.contains(&word) {
            found.push((word.to_owned(), labels));
        }
    }
    found
}

#[test]
fn selectors_are_found_with_their_labels() {
    let query =
        r#"sum by (le, grpc_code) (rate(grpc_a_bucket{x=~"a}[.]b",y!="c"}[5m])) / up or job:b:c"#;

    let expected = [
        ("grpc_a_bucket".to_owned(), vec!["x".to_owned(), "y".to_owned()]),
        ("job:b:c".to_owned(), vec![]),
    ];
    assert_eq!(selectors(query), expected);
}

/// The metrics of the table in the operations page, each with its row.
fn documented() -> BTreeMap<String, String> {
    let page = read("docs/operations.md");
    let rows = page.lines().filter_map(|line| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        let kind = line.split(" | ").nth(1)?;
        matches!(kind, "counter" | "gauge" | "histogram")
            .then(|| (name.to_owned(), line.to_owned()))
    });
    rows.collect()
}

#[test]
fn dashboard_and_rules_use_metrics_and_labels_that_exist() {
    let (documented, queries) = (documented(), queries());
    let recorded = values(&read("deploy/prometheus/rules.yml"), "record:");
    let mut missing = BTreeSet::new();
    assert!(queries.len() > 80, "{}", queries.len());

    for (metric, labels) in queries.iter().flat_map(|query| selectors(query)) {
        if metric.starts_with("job:") {
            assert!(recorded.contains(&metric), "{metric} is not recorded");
            continue;
        }
        let parts = ["_bucket", "_count", "_sum"].map(|it| metric.strip_suffix(it));
        let family = parts.into_iter().flatten().next().unwrap_or(&metric);
        let Some(row) = documented.get(family) else {
            missing.insert(metric);
            continue;
        };
        for label in labels {
            let is_known = matches!(label.as_str(), "job" | "instance" | "le");
            assert!(is_known || row.contains(&label), "{metric} has no label {label}: {row}");
        }
    }
    assert!(missing.is_empty(), "no such metric: {missing:#?}");
}
