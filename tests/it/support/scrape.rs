//! A page of metrics as a scraper reads it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Facade, PATIENCE};

/// A page in Prometheus' text format.
#[derive(Debug)]
pub struct Page(String);

/// Reads the page of metrics of the façade with this admin port.
pub async fn page(admin: SocketAddr) -> Page {
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap();
    Page(page.text().await.unwrap())
}

impl Facade {
    /// Reads the page of metrics over HTTP.
    pub async fn scrape(&self) -> Page {
        page(self.admin).await
    }

    /// Reads the page until a sample has this value: what a call causes may come after its
    /// response.
    pub async fn becomes(&self, sample: &str, value: f64) {
        becomes(self.admin, sample, value).await;
    }
}

/// The same, of the façade with this admin port.
pub async fn becomes(admin: SocketAddr, sample: &str, value: f64) {
    let start = Instant::now();
    loop {
        let page = page(admin).await;
        if page.value(sample) == Some(value) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{sample} is not {value} in {}", page.0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Page {
    /// Returns the value of a sample: its name, and its labels in braces if it has some.
    pub fn value(&self, sample: &str) -> Option<f64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.0.lines().filter(|line| !line.starts_with('#')).count()
    }

    /// Returns the samples of this name, with their labels.
    pub fn samples(&self, name: &str) -> Vec<&str> {
        let samples = self.0.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0));
        samples.filter(|it| it.split('{').next() == Some(name)).collect()
    }
}
