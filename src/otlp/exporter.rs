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
use opentelemetry_sdk::Resource;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
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

/// The most spans of a request. Their texts are cut, so even the largest spans make a request of
/// less than the 4 MiB that a receiver of gRPC takes by default.
const MAX_BATCH: usize = 256;

/// How often a request is retried.
const RETRIES: usize = 3;
/// The wait before the first retry. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait that a receiver may ask for.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long a request that is under way may still take at the end of the process, before it is
/// given up and sent once more.
const GRACE: Duration = Duration::from_millis(250);

/// How long the end of the process may wait for a receiver, whatever the drain still has.
const MAX_FLUSH: Duration = Duration::from_secs(5);

/// The names of the schemas of our attributes.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.45.0";

/// Sends what a [`Tracer`] records until it is dropped.
#[derive(Debug)]
pub struct Exporter {
    flush: oneshot::Sender<oneshot::Sender<()>>,
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
        let (flush, asked) = oneshot::channel();
        let settings = settings.clone();
        let sender = Sender {
            resource: resource(&settings),
            spans,
            metrics: metrics.clone(),
            endpoint: settings.endpoint.to_string(),
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
                    runtime.block_on(sender.run(&transport, Flush::new(asked)));
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

    /// Sends every span that has ended, once, and gives up at `until`. A retry that waits for
    /// its time is sent now.
    pub async fn flush(self, until: Instant) {
        let (done, is_done) = oneshot::channel();
        if self.flush.send(done).is_ok() {
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

/// The last flush, once it is asked for.
struct Flush {
    asked: oneshot::Receiver<oneshot::Sender<()>>,
    is_asked: bool,
    done: Option<oneshot::Sender<()>>,
}

impl Flush {
    fn new(asked: oneshot::Receiver<oneshot::Sender<()>>) -> Self {
        Self { asked, is_asked: false, done: None }
    }

    /// Waits until it is asked for, or nobody can ask any more.
    async fn asked(&mut self) {
        if !self.is_asked {
            self.done = (&mut self.asked).await.ok();
            self.is_asked = true;
        }
    }
}

/// Sends spans until the last flush.
struct Sender {
    resource: ResourceAttributesWithSchema,
    spans: Spans,
    metrics: Metrics,
    /// Where spans go, for the log.
    endpoint: String,
    is_failing: bool,
}

impl Sender {
    async fn run(mut self, transport: &Transport, mut flush: Flush) {
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = self.spans.is_due() => {}
                () = flush.asked() => {}
            }
            // If the flush is asked for while this sends, spans may have ended meanwhile.
            is_last = flush.is_asked;
            self.send_all(transport, &mut flush).await;
        }
        if let Some(done) = flush.done {
            let _ = done.send(());
        }
    }

    /// Sends what waits. What ends meanwhile waits for others; if it is made by sending, as where
    /// the receiver is this façade, it would otherwise be sent without end.
    async fn send_all(&mut self, transport: &Transport, flush: &mut Flush) {
        let mut is_full = true;
        while is_full {
            let batch = self.spans.take(MAX_BATCH);
            if batch.is_empty() {
                return;
            }
            is_full = batch.len() == MAX_BATCH;
            let count = batch.len() as u64;
            let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
            let request = ExportTraceServiceRequest { resource_spans };
            let result = send(transport, &request, flush).await;
            self.report(count, result);
        }
    }

    /// Counts what became of spans, and logs when that changes.
    fn report(&mut self, count: u64, result: Result<Taken, Undelivered>) {
        let (dropped, endpoint) = (&self.metrics.trace_spans_dropped, &self.endpoint);
        match result {
            Ok(Taken { refused }) => {
                let refused = refused.min(count);
                self.metrics.trace_spans_exported.add(count - refused);
                dropped.get(Dropped::Refused).add(refused);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(endpoint, "traces can be sent again");
                }
            }
            Err(error) => {
                let reason = match error {
                    Undelivered::ForNow { .. } => Dropped::NotSent,
                    Undelivered::Refused(_) => Dropped::Refused,
                };
                dropped.get(reason).add(count);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(
                        endpoint,
                        %error,
                        "traces cannot be sent and are dropped until they can"
                    );
                }
            }
        }
    }
}

/// Sends a request, and retries it if that may help, until the flush is asked for. Then it is sent
/// for the last time.
async fn send(
    transport: &Transport,
    request: &ExportTraceServiceRequest,
    flush: &mut Flush,
) -> Result<Taken, Undelivered> {
    if flush.is_asked {
        return transport.send(request).await;
    }
    let backoff =
        ExponentialBuilder::new().with_min_delay(FIRST_WAIT).with_max_times(RETRIES).with_jitter();
    let sent = (|| transport.send(request))
        .retry(backoff)
        .when(|error| matches!(error, Undelivered::ForNow { .. }))
        .adjust(|error, wait| match error {
            Undelivered::ForNow { wait: Some(asked), .. } => {
                wait.map(|wait| wait.max((*asked).min(MAX_WAIT)))
            }
            _ => wait,
        });
    let is_last = async {
        flush.asked().await;
        sleep(GRACE).await;
    };
    tokio::select! {
        result = sent => result,
        () = is_last => transport.send(request).await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use axum::Router;
    use http::HeaderMap;
    use prost::Message as _;
    use tokio::{net::TcpListener, time::timeout};

    use super::*;
    use crate::{
        otlp::Protocol,
        telemetry::trace::{Options, Root, Sampler},
    };

    /// A sender with one span, and a receiver that counts requests. A call ends during each, and
    /// `during` runs.
    struct Scene {
        sender: Sender,
        transport: Transport,
        requests: Arc<AtomicUsize>,
    }

    impl Scene {
        async fn new(during: impl Fn() + Clone + Send + Sync + 'static) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let settings = Settings::for_test(&endpoint, Protocol::Http);
            let metrics = Metrics::default();
            let (tracer, spans) = Tracer::new(settings.options, &metrics);
            let headers = HeaderMap::new();
            let call = move || drop(tracer.call("Create", &headers));
            call();
            let requests = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&requests);
            let receiver = Router::new().fallback(async move || {
                counted.fetch_add(1, Relaxed);
                call();
                during();
                // Lets the sender notice.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            });
            tokio::spawn(axum::serve(listener, receiver).into_future());
            let (resource, endpoint) = (resource(&settings), String::new());
            let sender = Sender { resource, spans, metrics, endpoint, is_failing: false };
            Self { sender, transport: Transport::new(&settings).unwrap(), requests }
        }
    }

    #[tokio::test]
    async fn a_receiver_that_is_traced_itself_is_not_sent_spans_without_end() {
        let Scene { mut sender, transport, requests } = Scene::new(|| {}).await;
        let (_flush, asked) = oneshot::channel();
        let mut flush = Flush::new(asked);

        let sent = timeout(Duration::from_secs(10), sender.send_all(&transport, &mut flush));

        sent.await.expect("an end");
        assert_eq!(requests.load(Relaxed), 1);
        assert_eq!(sender.spans.take(usize::MAX).len(), 1, "it waits for the next time");
    }

    #[tokio::test]
    async fn what_ends_while_the_flush_is_asked_for_is_sent_too() {
        let (flush, asked) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let ask = Arc::new(Mutex::new(Some((flush, done))));
        let during = move || {
            if let Some((flush, done)) = ask.lock().unwrap().take() {
                flush.send(done).unwrap();
            }
        };
        let Scene { sender, transport, requests } = Scene::new(during).await;

        let run = timeout(Duration::from_secs(10), sender.run(&transport, Flush::new(asked)));

        run.await.expect("an end");
        is_done.await.expect("it says so");
        assert_eq!(requests.load(Relaxed), 2);
    }

    #[test]
    fn the_largest_spans_make_no_request_that_is_too_large() {
        let sampler = Sampler { follows_caller: false, root: Root::All };
        let options = Options { sampler, is_passed_on: false, shows_ids: true };
        let (tracer, mut spans) = Tracer::new(options, &Metrics::default());
        let mut headers = HeaderMap::new();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", parent.parse().unwrap());
        headers.insert(
            "tracestate",
            format!("a={},b={}", "x".repeat(250), "y".repeat(250)).parse().unwrap(),
        );
        // More than any span has.
        let names: Vec<&str> =
            (0..30).map(|index| &*format!("totp_facade.attribute.{index:02}").leak()).collect();
        let text = "\u{10348}".repeat(4096);

        for _ in 0..MAX_BATCH {
            let trace = tracer.call("stytch.b2b.totp.v1.TotpService/Create", &headers);
            trace.link(trace.ids());
            trace.record(|span| {
                for name in &names {
                    span.set(name, text.clone());
                }
                for _ in 0..100 {
                    let attributes = ["backoff_ms", "error.type"];
                    let attributes =
                        attributes.map(|name| KeyValue::new(name, "unexpected_status"));
                    span.event("deadline_passed", attributes.into());
                }
            });
        }

        let batch = spans.take(usize::MAX);
        assert_eq!(batch.len(), MAX_BATCH);
        let resource = ResourceAttributesWithSchema::default();
        let resource_spans = group_spans_by_resource_and_scope(batch, &resource);
        let size = ExportTraceServiceRequest { resource_spans }.encoded_len();
        assert!((2 << 20..4 << 20).contains(&size), "{size}");
    }
}
