//! What docs/kubernetes.md shows is what the chart has, and takes.

use std::{collections::BTreeSet, env, fs};

use serde_json::Value;
use tempfile::NamedTempFile;
use totp_facade_deploy_check::{api, helm, invariants, manifests::Manifests, restricted, values};

use crate::fixtures::{Container, output};

fn read(path: &str) -> String {
    fs::read_to_string(helm::root().join(path)).unwrap()
}

#[test]
fn the_table_of_values_is_printed_from_them() {
    const PAGE: &str = "docs/kubernetes.md";
    let page = read(PAGE);
    let (before, rest) = page.split_once("<!-- table -->\n").expect("the start of the table");
    let (table, after) = rest.split_once("<!-- end of table -->").expect("its end");
    let expected = values::table().unwrap();

    if env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{before}<!-- table -->\n{expected}<!-- end of table -->{after}");
        fs::write(helm::root().join(PAGE), page).unwrap();
    } else {
        assert!(
            table == expected,
            "run `UPDATE_DOCS=1 just helm` to print the table of {PAGE} again"
        );
    }
}

/// Helm holds values.yaml to the schema, so this is the other direction.
#[test]
fn every_value_of_the_schema_is_documented() {
    let schema: Value =
        serde_json::from_str(&read("deploy/helm/totp-facade/values.schema.json")).unwrap();
    let documented: BTreeSet<_> =
        values::documented().unwrap().into_iter().map(|it| it.path).collect();

    let mut expected = BTreeSet::new();
    leaves("", &schema, &mut expected);
    expected.remove("global");
    assert_eq!(documented, expected);
}

/// Adds the paths of a schema that have no properties of their own.
fn leaves(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(properties) => {
            let separator = if path.is_empty() { "" } else { "." };
            for (key, schema) in properties {
                leaves(&format!("{path}{separator}{key}"), schema, found);
            }
        }
        None => assert!(found.insert(path.to_owned())),
    }
}

/// The blocks of YAML on the page.
fn blocks(page: &str) -> Vec<&str> {
    page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_values_on_the_page_are_taken_by_the_chart_and_by_the_facade() {
    let page = read("docs/kubernetes.md");
    let files: Vec<_> =
        blocks(&page).into_iter().filter(|block| block.starts_with("# values")).collect();
    assert!(files.len() >= 2, "{files:?}");
    for values in files {
        let file = NamedTempFile::new().unwrap();
        fs::write(&file, values).unwrap();
        let release = Manifests::read(&helm::template(file.path(), &[]).unwrap()).unwrap();

        assert_eq!(
            release.0.iter().flat_map(api::problems).collect::<Vec<_>>(),
            [""; 0],
            "{values}"
        );
        assert_eq!(invariants::problems(&release), [""; 0], "{values}");
        let (output, stdout, stderr) = output(Container::of(&release).facade().arg("check"));
        assert!(output.status.success(), "{values}: {stdout}{stderr}");
    }
}

#[test]
fn the_manifests_on_the_page_are_taken_by_the_api_and_by_a_restricted_namespace() {
    let page = read("docs/kubernetes.md");
    let manifests = blocks(&page).into_iter().filter(|block| block.starts_with("apiVersion:"));
    let manifests: Vec<_> = manifests.flat_map(|block| Manifests::read(block).unwrap().0).collect();
    assert!(!manifests.is_empty());
    for manifest in manifests {
        assert_eq!(api::problems(&manifest), [""; 0], "{manifest}");
        if manifest["kind"] == "Pod" {
            assert_eq!(restricted::problems(&manifest), [""; 0], "{manifest}");
        }
    }
}

#[test]
fn every_block_of_yaml_on_the_page_is_read_by_a_test() {
    let page = read("docs/kubernetes.md");
    for block in blocks(&page) {
        let read = ["# values", "apiVersion:"].iter().any(|start| block.starts_with(start));

        assert!(read, "{block}");
    }
}

#[test]
fn the_chart_is_of_the_version_of_the_facade() {
    let chart: Value = serde_saphyr::from_str(&read("deploy/helm/totp-facade/Chart.yaml")).unwrap();
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();

    let version = version.trim_matches('"');
    assert_eq!(chart["appVersion"], version);
    assert!(
        read("docs/kubernetes.md")
            .contains(&format!("image.sh --tag registry.example.org/totp-facade:{version}\n"))
    );
}
