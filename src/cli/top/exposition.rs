//! Parses a page of metrics in Prometheus' text format or in OpenMetrics.
//!
//! Comments, timestamps and exemplars are skipped: only names, labels and values are of interest.

use std::collections::BTreeMap;

/// The labels of a sample, in the order of the page.
pub(super) type Labels = Vec<(String, String)>;

/// The samples of a page, by name and labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Page(BTreeMap<(String, Labels), f64>);

/// One sample of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'a> {
    pub(super) labels: &'a Labels,
    pub(super) value: f64,
}

impl<'a> Sample<'a> {
    /// Returns the value of a label, which is empty if there is none.
    pub(super) fn label(self, name: &str) -> &'a str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

impl Page {
    /// Parses a page.
    ///
    /// # Errors
    ///
    /// Returns the number of the first line that is no sample.
    pub(super) fn parse(text: &str) -> Result<Self, usize> {
        let mut samples = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = sample(line).ok_or(index + 1)?;
            samples.insert(key, value);
        }
        Ok(Self(samples))
    }

    /// Returns the samples of this name.
    pub(super) fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = Sample<'a>> {
        let from = (name.to_owned(), Labels::new());
        let same = name.to_owned();
        let rest = self.0.range(from..).take_while(move |((name, _), _)| *name == same);
        rest.map(|((_, labels), value)| Sample { labels, value: *value })
    }

    /// Returns the value of the sample with this name and these labels.
    pub(super) fn value(&self, name: &str, labels: &Labels) -> Option<f64> {
        self.0.get(&(name.to_owned(), labels.clone())).copied()
    }

    /// Returns the value of a metric that has one sample.
    pub(super) fn single(&self, name: &str) -> Option<f64> {
        self.named(name).map(|sample| sample.value).next()
    }

    /// Whether any name begins with this prefix.
    pub(super) fn has(&self, prefix: &str) -> bool {
        self.0.keys().any(|(name, _)| name.starts_with(prefix))
    }
}

/// Parses `name{label="value",…} value`, with anything after it.
fn sample(line: &str) -> Option<((String, Labels), f64)> {
    let end = line.find(|char: char| char == '{' || char.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let is_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | ':');
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(((name.to_owned(), labels), value))
}

/// Parses labels up to their closing brace. Returns them and what follows.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((name.trim().to_owned(), value));
        rest = after;
    }
}

/// Parses the rest of a quoted value. Returns it and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            _ => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_formats_are_read_with_labels_escapes_timestamps_and_exemplars() {
        let page = Page::parse(
            "# HELP a Something.\n# TYPE a counter\na_total 3\n\
             b{x=\"1\",y=\"two words\"} 0.5 1700000000\n\
             b{x=\"a\\\"b\\\\c\\nd}\"} 4e-3\r\n\
             c_bucket{le=\"+Inf\"} 7 # {trace_id=\"4bf9\"} 0.1 1700000000.0\n\
             d{} NaN\n\n# EOF\n",
        );
        let page = page.expect("a page");

        assert_eq!(page.single("a_total"), Some(3.0));
        let values: Vec<_> = page.named("b").map(|it| (it.label("x"), it.value)).collect();
        assert_eq!(values, [("1", 0.5), ("a\"b\\c\nd}", 0.004)]);
        assert_eq!(page.named("b").next().expect("a sample").label("y"), "two words");
        assert_eq!(page.named("b").next().expect("a sample").label("z"), "");
        assert_eq!(page.single("c_bucket"), Some(7.0));
        assert!(page.single("d").expect("a value").is_nan());
        assert_eq!(page.named("a").count(), 0, "a name is not a prefix");
        assert!(page.has("c_") && !page.has("e"));
    }

    #[test]
    fn a_line_that_is_no_sample_is_named_by_its_number() {
        for line in ["<html>", "a", "a b", "a{x=\"1} 2", "a{x} 2", "{} 2", "a{x=\"1\"}", "é 1"] {
            assert_eq!(Page::parse(&format!("ok 1\n{line}\n")), Err(2), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-c{}=\",\\\\ \\n#0-9é]{0,60}") {
            let _ = Page::parse(&text);
        }

        #[test]
        fn any_label_is_read_as_it_was_written(value in "\\PC{0,20}") {
            let written = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let page = Page::parse(&format!("a{{x=\"{written}\"}} 1")).expect("a page");

            prop_assert_eq!(page.named("a").next().expect("a sample").label("x"), value);
        }
    }
}
