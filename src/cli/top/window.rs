//! What happened between two pages of the same process, or since it started.

use std::time::{SystemTime, UNIX_EPOCH};

use super::exposition::{Page, Sample};

/// When the process started, which also says whether two pages are of the same process.
const START: &str = "process_start_time_seconds";

/// A page, and how much its counters have grown since an earlier one.
#[derive(Debug)]
pub(super) struct Window<'a> {
    pub(super) page: &'a Page,
    before: Option<&'a Page>,
    /// How long it took, in seconds; longer than 0.
    pub(super) seconds: f64,
    /// The age of the process, in seconds, if it says when it started.
    pub(super) age: Option<f64>,
    /// When the page was fetched, in seconds since 1970.
    pub(super) now: f64,
}

impl<'a> Window<'a> {
    /// Everything since the process started.
    pub(super) fn since_start(page: &'a Page, now: SystemTime) -> Self {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let age = page.single(START).map(|start| (now - start).max(0.001));
        Self { page, before: None, seconds: age.unwrap_or(f64::INFINITY), age, now }
    }

    /// What happened within the `seconds` since an earlier page. That of a process that has been
    /// restarted since is as good as none.
    pub(super) fn between(before: &'a Page, page: &'a Page, seconds: f64, now: SystemTime) -> Self {
        let since_start = Self::since_start(page, now);
        match before.single(START) == page.single(START) {
            true => Self { before: Some(before), seconds: seconds.max(0.001), ..since_start },
            false => since_start,
        }
    }

    /// Whether it begins at the start of the process.
    pub(super) fn is_since_start(&self) -> bool {
        self.before.is_none()
    }

    /// Returns by how much a counter has grown. A sample that is new has grown from 0.
    pub(super) fn increase(&self, name: &str, sample: Sample<'_>) -> f64 {
        let before = self.before.and_then(|page| page.value(name, sample.labels));
        (sample.value - before.unwrap_or(0.0)).max(0.0)
    }

    /// Returns by how much the counters of this name have grown together.
    pub(super) fn total(&self, name: &str) -> f64 {
        self.page.named(name).map(|sample| self.increase(name, sample)).sum()
    }

    /// Returns quantiles of a histogram, over the series that `is_of` picks. `None` without
    /// observations.
    pub(super) fn quantiles<const N: usize>(
        &self,
        histogram: &str,
        is_of: impl Fn(Sample<'_>) -> bool,
        quantiles: [f64; N],
    ) -> Option<[Quantile; N]> {
        let name = format!("{histogram}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.page.named(&name).filter(|sample| is_of(*sample)) {
            let Ok(bound) = sample.label("le").parse() else { continue };
            let count = self.increase(&name, sample);
            match buckets.iter_mut().find(|(other, _)| *other == bound) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let (_, all) = *buckets.last()?;
        (all > 0.0).then(|| quantiles.map(|share| quantile(&buckets, share * all)))
    }
}

/// A quantile of a histogram, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Quantile {
    /// About this long.
    About(f64),
    /// Longer than the largest bucket.
    Above(f64),
}

/// Returns where `rank` lies in cumulative buckets, as PromQL's `histogram_quantile` does: linear
/// within a bucket.
fn quantile(buckets: &[(f64, f64)], rank: f64) -> Quantile {
    let (mut lower, mut below) = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= rank && bound.is_finite() {
            let share = if count > below { (rank - below) / (count - below) } else { 1.0 };
            return Quantile::About(lower + (bound - lower) * share);
        }
        if bound.is_finite() {
            (lower, below) = (bound, count);
        }
    }
    Quantile::Above(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(started: u32, calls: u32, buckets: [u32; 4]) -> Page {
        let [a, b, c, all] = buckets;
        let text = format!(
            "{START} {started}\ncalls_total{{to=\"x\"}} {calls}\nother_total 5\n\
             t_bucket{{m=\"x\",le=\"0.1\"}} {a}\nt_bucket{{m=\"x\",le=\"1\"}} {b}\n\
             t_bucket{{m=\"x\",le=\"10.0\"}} {c}\nt_bucket{{m=\"x\",le=\"+Inf\"}} {all}\n\
             t_bucket{{m=\"y\",le=\"0.1\"}} 9\nt_bucket{{m=\"y\",le=\"+Inf\"}} 9\n"
        );
        Page::parse(&text).expect("a page")
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + std::time::Duration::from_secs(seconds)
    }

    #[test]
    fn counters_count_from_the_earlier_page_and_from_0_after_a_restart() {
        let (before, after) = (page(100, 7, [0; 4]), page(100, 10, [0; 4]));

        let since_start = Window::since_start(&after, at(160));
        assert_eq!((since_start.total("calls_total"), since_start.seconds), (10.0, 60.0));
        let between = Window::between(&before, &after, 2.0, at(160));
        assert_eq!((between.total("calls_total"), between.seconds), (3.0, 2.0));
        assert_eq!(between.total("other_total"), 0.0);
        assert_eq!(between.age, Some(60.0));

        let restarted = page(150, 4, [0; 4]);
        let between = Window::between(&after, &restarted, 2.0, at(160));
        assert!(between.is_since_start());
        assert_eq!((between.total("calls_total"), between.seconds), (4.0, 10.0));
    }

    #[test]
    fn quantiles_are_those_of_the_calls_between_the_pages() {
        let (before, after) = (page(100, 0, [50, 50, 50, 50]), page(100, 0, [60, 68, 69, 70]));
        let window = Window::between(&before, &after, 1.0, at(160));

        let of_x = |sample: Sample<'_>| sample.label("m") == "x";
        let [p25, p50, p90, p99] =
            window.quantiles("t", of_x, [0.25, 0.5, 0.9, 0.99]).expect("observations");

        assert_eq!(p25, Quantile::About(0.05), "in the middle of the first bucket");
        assert_eq!(p50, Quantile::About(0.1));
        assert_eq!(p90, Quantile::About(1.0));
        assert_eq!(p99, Quantile::Above(10.0));
        assert!(window.quantiles("t", |it| it.label("m") == "y", [0.5]).is_none(), "nothing new");
        assert!(window.quantiles("none", of_x, [0.5]).is_none());
    }
}
