//! What the rounds of a comparison have in common: their options, and the figures of a window.

use std::{path::PathBuf, time::Duration};

use crate::{
    load::Measured,
    setup::Programs,
    table::{self, median},
};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub programs: Programs,
    /// Measures for a minute in all.
    #[arg(long)]
    quick: bool,
    /// Another build of the façade, to compare with.
    #[arg(long)]
    pub baseline: Option<PathBuf>,
    /// The cores of the server under test.
    #[arg(long, default_value = "0")]
    pub cores: String,
}

impl Options {
    pub fn rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    pub fn window(&self) -> Duration {
        Duration::from_millis(if self.quick { 1_000 } else { 3_000 })
    }
}

pub const WARM_UP: Duration = Duration::from_millis(300);

/// The figures of one window.
#[derive(Clone, Copy)]
pub struct Figures {
    cpu: f64,
    rate: f64,
    p50: f64,
    p99: f64,
}

impl Figures {
    pub fn of(measured: &Measured) -> Self {
        Self {
            cpu: measured.cpu_per_call(),
            rate: measured.calls_per_second(),
            p50: measured.latency(0.5),
            p99: measured.latency(0.99),
        }
    }

    /// Prints the medians of each subject's rounds, and those of their ratios to the first.
    pub fn print(names: &[&str], series: &[Vec<Self>]) {
        let mut rows = Vec::new();
        for (name, own) in names.iter().zip(series) {
            let figure = |of: fn(&Self) -> f64| median(own.iter().map(of).collect());
            let ratio = |of: fn(&Self) -> f64| {
                let ratios = own.iter().zip(&series[0]).map(|(own, first)| of(own) / of(first));
                format!("{:.2}", median(ratios.collect()))
            };
            rows.push(vec![
                (*name).to_owned(),
                format!("{:.1}", figure(|it| it.cpu)),
                ratio(|it| it.cpu),
                format!("{:.0}", figure(|it| it.p50)),
                format!("{:.0}", figure(|it| it.p99)),
                ratio(|it| it.p99),
                format!("{:.0}", figure(|it| it.rate)),
                ratio(|it| it.rate),
            ]);
        }
        let columns = ["", "CPU/call, µs", "x", "p50, µs", "p99, µs", "x", "calls/s", "x"];
        table::print(&columns, &rows);
    }
}
