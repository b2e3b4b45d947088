//! The queue between the calls, which never wait, and the thread that sends their spans.

use std::sync::Arc;

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::{Notify, mpsc};

use crate::telemetry::metrics::{Dropped, Metrics};

/// How many spans may wait: a few megabytes, and more than a second of a busy replica.
const CAPACITY: usize = 8 * 1024;

/// How many spans may wait before the sender is woken. Waking a thread costs more than a span, so
/// the sender looks by itself from time to time.
const WAKE_AT: usize = CAPACITY / 4;

/// The end of the queue where spans go in.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<Box<SpanData>>,
    is_due: Arc<Notify>,
    metrics: Metrics,
}

/// The end of the queue where spans come out.
#[derive(Debug)]
pub struct Spans {
    spans: mpsc::Receiver<Box<SpanData>>,
    is_due: Arc<Notify>,
}

/// Creates a queue.
pub(super) fn queue(metrics: &Metrics) -> (Queue, Spans) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let is_due = Arc::new(Notify::new());
    let queue = Queue { spans: sender, is_due: Arc::clone(&is_due), metrics: metrics.clone() };
    (queue, Spans { spans: receiver, is_due })
}

impl Queue {
    /// Adds a span, or drops and counts it if the queue is full.
    pub(super) fn push(&self, span: Box<SpanData>) {
        if self.spans.try_send(span).is_err() {
            self.metrics.trace_spans_dropped.get(Dropped::QueueFull).inc();
        } else if self.spans.capacity() == CAPACITY - WAKE_AT {
            self.is_due.notify_one();
        }
    }
}

impl Spans {
    /// Waits until many spans are waiting.
    pub async fn is_due(&self) {
        self.is_due.notified().await;
    }

    /// Takes up to `max` spans, in the order in which they ended.
    pub fn take(&mut self, max: usize) -> Vec<SpanData> {
        std::iter::from_fn(|| self.spans.try_recv().ok()).take(max).map(|span| *span).collect()
    }
}
