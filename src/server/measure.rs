//! Counts each call once, when it ends: when its response is ready, when its stream ends, or when
//! its caller goes away before that.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};

use super::{answer::Answer, refusals::NOT_GRPC};
use crate::{
    access::Caller,
    proto::Rpc,
    status::{Case, Failure, Reason},
    stytch::{SendGate, Upstream},
    telemetry::metrics::{CallerCalls, Counter, Ended, Metrics, Outcome, TraceIds},
};

/// Where the calls of all connections are counted.
#[derive(Debug)]
pub(super) struct Counts {
    metrics: Metrics,
    /// For each [`Case`] in which a call ends here, with nothing sent to Stytch.
    refusals: Vec<Option<Arc<Counter>>>,
    /// For requests that are not gRPC.
    foreign: Arc<Counter>,
}

impl Counts {
    /// Adds the reasons for which calls end here to the page.
    pub(super) fn new(metrics: Metrics) -> Self {
        let counter = |case: &Case| match (case, case.row().reason, case.row().upstream) {
            // It ends a stream that was served.
            (Case::ServerClosing, _, _) => None,
            (_, Reason::Ours(reason), Upstream::NotSent) => Some(metrics.refusals.register(reason)),
            _ => None,
        };
        let refusals = Case::ALL.iter().map(counter).collect();
        let foreign = metrics.refusals.register(NOT_GRPC);
        Self { metrics, refusals, foreign }
    }

    /// Counts a request that is not gRPC, and so no call.
    pub(super) fn refuse_foreign(&self) {
        self.foreign.inc();
    }

    fn refuse(&self, case: Case) {
        if let Some(counter) = &self.refusals[case as usize] {
            counter.inc();
        }
    }

    fn end(&self, call: &UncountedCall) {
        let (code, outcome) = call.end.unwrap_or_else(|| (Code::Cancelled, call.outcome_so_far()));
        self.metrics.calls.end(Ended {
            rpc: call.rpc,
            code,
            outcome,
            duration: call.start.elapsed(),
            caller: call.caller.as_deref(),
            trace: call.trace,
        });
    }
}

/// A call that has not been counted.
#[derive(Debug)]
struct UncountedCall {
    rpc: Rpc,
    start: Instant,
    /// How the call has ended; `None` once its caller has gone away before that.
    end: Option<(Code, Outcome)>,
    gate: Option<SendGate>,
    caller: Option<Arc<CallerCalls>>,
    trace: Option<TraceIds>,
}

impl UncountedCall {
    /// Returns what is known of a call whose caller goes away.
    fn outcome_so_far(&self) -> Outcome {
        match &self.gate {
            Some(gate) if gate.close() => Outcome::Unknown,
            _ => Outcome::NotSent,
        }
    }
}

/// Counts a call when dropped.
#[derive(Debug)]
pub(super) struct Measure<'a> {
    counts: &'a Arc<Counts>,
    call: Option<UncountedCall>,
}

impl<'a> Measure<'a> {
    /// Counts the start of a call. A call with a trace becomes an exemplar.
    pub(super) fn start(
        counts: &'a Arc<Counts>,
        rpc: Rpc,
        start: Instant,
        trace: Option<TraceIds>,
    ) -> Self {
        counts.metrics.calls.start(rpc);
        let call = UncountedCall { rpc, start, end: None, gate: None, caller: None, trace };
        Self { counts, call: Some(call) }
    }

    /// Counts the call for this caller.
    pub(super) fn set_caller(&mut self, caller: &Caller) {
        if let Some(call) = &mut self.call {
            call.caller = caller.calls().cloned();
        }
    }

    /// Takes from `gate` whether the call was sent, should its caller go away.
    pub(super) fn set_gate(&mut self, gate: &SendGate) {
        if let Some(call) = &mut self.call {
            call.gate = Some(gate.clone());
        }
    }

    /// Counts the call, unless `response` is a stream: that is counted when it ends.
    pub(super) fn finish(
        mut self,
        response: Response<Body>,
        answer: &Answer<'_>,
    ) -> Response<Body> {
        let Some(call) = &mut self.call else { return response };
        if call.rpc.is_stream() && answer.code == Code::Ok {
            let (counts, call) = (Arc::clone(self.counts), self.call.take());
            return response.map(|body| Body::new(MeasuredBody { body, counts, call }));
        }
        if let Some(case) = answer.failure.and_then(Failure::case) {
            self.counts.refuse(case);
        }
        call.end = Some((answer.code, answer.outcome));
        response
    }
}

impl Drop for Measure<'_> {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            self.counts.end(call);
        }
    }
}

/// The body of a stream, which is counted when it ends or is dropped.
struct MeasuredBody {
    body: Body,
    counts: Arc<Counts>,
    call: Option<UncountedCall>,
}

impl MeasuredBody {
    fn end(&mut self, code: Code) {
        if let Some(mut call) = self.call.take() {
            call.end = Some((code, Answer::new(code, None).outcome));
            self.counts.end(&call);
        }
    }
}

impl HttpBody for MeasuredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(status) =
                    frame.trailers_ref().and_then(|it| it.get(Status::GRPC_STATUS))
                {
                    self.end(Code::from_bytes(status.as_bytes()));
                }
            }
            Poll::Ready(Some(Err(status))) => self.end(status.code()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for MeasuredBody {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            self.counts.end(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;

    use super::*;

    #[test]
    fn a_call_is_recorded_without_an_allocation() {
        let metrics = Metrics::default();
        let counts = Arc::new(Counts::new(metrics.clone()));
        let of_caller = metrics.calls.of_caller("login");
        let (gate, start) = (SendGate::default(), Instant::now());
        let refused = Failure::from(Case::Overloaded);
        let record = |ended: Option<(Code, Option<&Failure>)>, trace, response| {
            let rpc = Rpc::named("stytch.b2b.totp.v1.TotpService/Create");
            let mut measure = Measure::start(&counts, rpc, start, trace);
            measure.call.as_mut().expect("a call").caller = Some(Arc::clone(&of_caller));
            measure.set_gate(&gate);
            if let Some((code, failure)) = ended {
                drop(measure.finish(response, &Answer::new(code, failure)));
            }
        };
        let traced = Some(([1; 16], [2; 8]));
        for (ended, trace, what) in [
            (Some((Code::Ok, None)), None, "a success"),
            (Some((Code::Ok, None)), traced, "a success that becomes an exemplar"),
            (Some((Code::ResourceExhausted, Some(&refused))), None, "a call that is refused"),
            (None, None, "a call whose caller goes away"),
        ] {
            record(ended, trace, Response::default());
            let response = Response::default();

            let allocated = measure(|| record(ended, trace, response));

            assert_eq!(allocated.count_total, 0, "{what}");
        }
        let page = metrics.page(crate::telemetry::metrics::Format::OpenMetrics);
        for part in ["Canceled\",upstream=\"not_sent\"} 2", "ResourceExhausted\"} 2", " # {"] {
            assert!(page.contains(part), "no {part} in {page}");
        }
    }
}
