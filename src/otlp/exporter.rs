//! The thread that sends spans, in batches.

use std::{thread, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use opentelemetry::KeyValue;
use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{Resource, trace::SpanData};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout_at},
};

use super::{
    settings::Settings,
    transport::{Taken, Transport, Undelivered},
};
use crate::telemetry::{
    metrics::{Dropped, Metrics},
    trace::{Spans, Tracer},
};

/// How long a span may wait for others, to be sent together with them.
const INTERVAL: Duration = Duration::from_secs(1);

/// The most spans of a request: well below the 4 MiB that a receiver of gRPC takes by default.
const MAX_BATCH: usize = 512;

/// How often a request is repeated.
const RETRIES: usize = 3;
/// The wait before the first repetition. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait that a receiver may ask for.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long the end of the process may wait for a receiver, whatever the drain still has.
const MAX_FLUSH: Duration = Duration::from_secs(5);

/// The names of the schemas of our attributes.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.45.0";

/// Sends what a [`Tracer`] records until it is dropped.
#[derive(Debug)]
pub struct Exporter {
    flush: mpsc::Sender<oneshot::Sender<()>>,
}

impl Exporter {
    /// Starts the thread that sends spans, and returns the tracer that records them. A receiver
    /// that cannot be reached is no error.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings, or why the system refuses a thread.
    pub fn start(settings: &Settings, metrics: &Metrics) -> Result<(Tracer, Self), String> {
        let (tracer, spans) = Tracer::new(settings.options, metrics);
        let (flush, flushes) = mpsc::channel(1);
        let settings = settings.clone();
        let sender = Sender {
            resource: resource(&settings),
            spans,
            metrics: metrics.clone(),
            is_failing: false,
        };
        let (started, has_started) = std::sync::mpsc::channel();
        let run = move || {
            let result = runtime().and_then(|runtime| {
                let _within = runtime.enter();
                let transport = Transport::new(&settings)?;
                Ok((runtime, transport))
            });
            match result {
                Err(what) => drop(started.send(Err(what))),
                Ok((runtime, transport)) => {
                    let _ = started.send(Ok(()));
                    runtime.block_on(sender.run(&transport, flushes));
                    // Does not wait for a DNS lookup that is still running.
                    runtime.shutdown_background();
                }
            }
        };
        let thread = thread::Builder::new().name("trace-exporter".to_owned()).spawn(run);
        thread.map_err(|error| format!("no thread for traces can be started: {error}"))?;
        has_started.recv().map_err(|error| error.to_string())??;
        Ok((tracer, Self { flush }))
    }

    /// Sends every span that has ended, once, and gives up at `until`.
    pub async fn flush(self, until: Instant) {
        let (done, is_done) = oneshot::channel();
        if self.flush.try_send(done).is_ok() {
            let until = until.min(Instant::now() + MAX_FLUSH);
            if timeout_at(until, is_done).await.is_err() {
                tracing::warn!("the last traces could not be sent in time");
            }
        }
    }
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

/// Returns what every request says about this process.
fn resource(settings: &Settings) -> ResourceAttributesWithSchema {
    let attributes = settings.resource.iter().cloned();
    let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
    (&Resource::builder_empty().with_schema_url(attributes, SCHEMA).build()).into()
}

/// Sends spans until nobody records any more.
struct Sender {
    resource: ResourceAttributesWithSchema,
    spans: Spans,
    metrics: Metrics,
    is_failing: bool,
}

impl Sender {
    async fn run(
        mut self,
        transport: &Transport,
        mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        loop {
            tokio::select! {
                () = sleep(INTERVAL) => self.send_all(transport, RETRIES).await,
                () = self.spans.is_due() => self.send_all(transport, RETRIES).await,
                flush = flushes.recv() => {
                    self.send_all(transport, 0).await;
                    let Some(done) = flush else { return };
                    let _ = done.send(());
                }
            }
        }
    }

    async fn send_all(&mut self, transport: &Transport, retries: usize) {
        loop {
            let batch = self.spans.take(MAX_BATCH);
            if batch.is_empty() {
                return;
            }
            self.send(transport, batch, retries).await;
        }
    }

    /// Sends a batch, or drops and counts it.
    async fn send(&mut self, transport: &Transport, batch: Vec<SpanData>, retries: usize) {
        let count = batch.len() as u64;
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let request = ExportTraceServiceRequest { resource_spans };
        let backoff = ExponentialBuilder::new()
            .with_min_delay(FIRST_WAIT)
            .with_max_times(retries)
            .with_jitter();
        let result = (|| transport.send(&request))
            .retry(backoff)
            .when(|error| matches!(error, Undelivered::ForNow { .. }))
            .adjust(|error, wait| match error {
                Undelivered::ForNow { wait: Some(asked), .. } => {
                    wait.map(|wait| wait.max((*asked).min(MAX_WAIT)))
                }
                _ => wait,
            })
            .await;
        self.report(count, result);
    }

    /// Counts what became of spans, and logs when that changes.
    fn report(&mut self, count: u64, result: Result<Taken, Undelivered>) {
        let dropped = &self.metrics.trace_spans_dropped;
        match result {
            Ok(Taken { refused }) => {
                let refused = refused.min(count);
                self.metrics.trace_spans_exported.add(count - refused);
                dropped.get(Dropped::Refused).add(refused);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("traces can be sent again");
                }
            }
            Err(error) => {
                let reason = match error {
                    Undelivered::ForNow { .. } => Dropped::NotSent,
                    Undelivered::Refused(_) => Dropped::Refused,
                };
                dropped.get(reason).add(count);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(%error, "traces cannot be sent and are dropped until they can");
                }
            }
        }
    }
}
