//! What is recorded of each call: once, in one place. The metrics with the names that dashboards
//! know are views of it, made when the page is written.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tonic::Code;

use super::{
    buckets::{Snapshot, bucket_of},
    exemplar::{Exemplars, TraceIds},
    histogram::Histogram,
    label::{Label as _, Registered, labels, names},
    page::{Kind, Labels, Metric, Samples},
};
use crate::proto::{CODES, METHODS, Rpc, code_name, is_server_error};

labels! {
    /// What is known of the outcome of a call when it ends for its caller.
    pub enum Outcome = "upstream" {
        /// Stytch did what was asked.
        Done = "done",
        /// Nothing reached Stytch.
        NotSent = "not_sent",
        /// Stytch, or a proxy in front of it, refused and did nothing.
        Rejected = "rejected",
        /// The request was sent and may have taken effect.
        Unknown = "unknown",
    }
}

names! {
    /// The name of a caller in the policy, `anonymous`, or `unknown` for a caller without a name.
    pub struct CallerName = "caller";

    /// A reason of `ErrorInfo`.
    pub struct Reason = "reason";
}

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// What was called.
    pub rpc: Rpc,
    /// What the caller got, or would have got.
    pub code: Code,
    /// What is known of the outcome.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// The calls of the caller, if it has a name.
    pub caller: Option<&'a CallerCalls>,
    /// The trace and span of the call, if they are recorded.
    pub trace: Option<TraceIds>,
}

/// All calls of the process.
#[derive(Debug)]
pub struct Calls {
    rpcs: Box<[RpcCalls]>,
    callers: Registered<CallerName, CallerCalls>,
    /// The calls of callers without a name.
    unknown: Arc<CallerCalls>,
}

#[derive(Debug, Default)]
struct RpcCalls {
    started: AtomicU64,
    by_code: [Histogram; CODES],
    exemplars: Exemplars,
}

/// The calls of one caller to the contract.
#[derive(Debug)]
pub struct CallerCalls(Box<[[[AtomicU64; Outcome::COUNT]; CODES]]>);

impl Default for Calls {
    fn default() -> Self {
        let callers = Registered::default();
        let unknown = callers.register("unknown");
        Self { rpcs: Rpc::all().map(|_| RpcCalls::default()).collect(), callers, unknown }
    }
}

impl Default for CallerCalls {
    fn default() -> Self {
        Self(METHODS.iter().map(|_| array::from_fn(|_| Default::default())).collect())
    }
}

impl Calls {
    /// Returns the calls of the caller with this name, and adds them to the page.
    pub fn of_caller(&self, name: &str) -> Arc<CallerCalls> {
        self.callers.register(name)
    }

    /// Records that a call has started.
    pub fn start(&self, rpc: Rpc) {
        self.rpcs[rpc.index()].started.fetch_add(1, Relaxed);
    }

    /// Records that a call has ended.
    pub fn end(&self, ended: Ended<'_>) {
        let Ended { rpc, code, outcome, duration, caller, trace } = ended;
        let calls = &self.rpcs[rpc.index()];
        let bucket = bucket_of(duration);
        calls.by_code[code as usize].record_in(bucket, duration);
        if let Some(trace) = trace {
            calls.exemplars.record(bucket, trace, duration);
        }
        if rpc.is_of_contract() {
            let by_outcome = &caller.unwrap_or(&self.unknown).0[rpc.index()][code as usize];
            by_outcome[outcome as usize].fetch_add(1, Relaxed);
        }
    }
}

/// Returns the name of a code in grpc-go's spelling, which dashboards expect.
fn go_name(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        code => format!("{code:?}"),
    }
}

/// Returns the code with this number.
fn code(number: usize) -> Code {
    i32::try_from(number).map_or(Code::Unknown, Code::from_i32)
}

const GRPC: [&str; 3] = ["grpc_type", "grpc_service", "grpc_method"];

fn labels_of(rpc: Rpc) -> Labels {
    let (service, method) = rpc.service_and_method();
    let mut labels = Labels::default();
    for (name, value) in GRPC.into_iter().zip([rpc.kind(), service, method]) {
        labels.push(name, value);
    }
    labels
}

/// The calls that have started.
pub(super) struct Started<'a>(pub(super) &'a Calls);

impl Metric for Started<'_> {
    fn kind(&self) -> Kind {
        Kind::Counter
    }

    fn labels(&self) -> Vec<&'static str> {
        GRPC.to_vec()
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for (rpc, calls) in Rpc::all().zip(&self.0.rpcs) {
            let started = calls.started.load(Relaxed);
            if started > 0 || rpc != Rpc::OTHER {
                samples.add(&labels_of(rpc), started);
            }
        }
    }
}

/// The calls that have ended, by their code.
pub(super) struct Handled<'a>(pub(super) &'a Calls);

impl Metric for Handled<'_> {
    fn kind(&self) -> Kind {
        Kind::Counter
    }

    fn labels(&self) -> Vec<&'static str> {
        [&GRPC[..], &["grpc_code"]].concat()
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for (rpc, calls) in Rpc::all().zip(&self.0.rpcs) {
            for (number, histogram) in calls.by_code.iter().enumerate() {
                let (code, count) = (code(number), histogram.count());
                if count > 0 || (code == Code::Ok && rpc != Rpc::OTHER) {
                    let mut labels = labels_of(rpc);
                    labels.push("grpc_code", &go_name(code));
                    samples.add(&labels, count);
                }
            }
        }
    }
}

/// How long calls took, with exemplars.
pub(super) struct Handling<'a>(pub(super) &'a Calls);

impl Metric for Handling<'_> {
    fn kind(&self) -> Kind {
        Kind::Histogram
    }

    fn labels(&self) -> Vec<&'static str> {
        GRPC.to_vec()
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for (rpc, calls) in Rpc::all().zip(&self.0.rpcs) {
            let mut all = Snapshot::default();
            for histogram in &calls.by_code {
                all.merge(&histogram.snapshot());
            }
            if all.count() > 0 {
                samples.add_histogram(&labels_of(rpc), &all, |bucket| calls.exemplars.get(bucket));
            }
        }
    }
}

/// The labels for the code: of the conventions since 1.45, and of the versions before, which
/// dashboards still ask for.
const RPC_CODE: [&str; 2] = ["rpc_status_code", "rpc_response_status_code"];

/// How long calls took, by OpenTelemetry's conventions.
pub(super) struct CallDuration<'a>(pub(super) &'a Calls);

impl Metric for CallDuration<'_> {
    fn kind(&self) -> Kind {
        Kind::Histogram
    }

    fn labels(&self) -> Vec<&'static str> {
        let [code, older] = RPC_CODE;
        vec!["rpc_system_name", "rpc_method", code, older, "error_type"]
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for (rpc, calls) in Rpc::all().zip(&self.0.rpcs) {
            for (number, histogram) in calls.by_code.iter().enumerate() {
                let (code, snapshot) = (code(number), histogram.snapshot());
                if snapshot.count() == 0 {
                    continue;
                }
                let mut labels = Labels::default();
                labels.push("rpc_system_name", "grpc");
                labels.push("rpc_method", rpc.name());
                for label in RPC_CODE {
                    labels.push(label, code_name(code));
                }
                if is_server_error(code) {
                    labels.push("error_type", code_name(code));
                }
                samples.add_histogram(&labels, &snapshot, |_| None);
            }
        }
    }
}

/// The calls to the contract, by caller, code and outcome.
pub(super) struct ByCaller<'a>(pub(super) &'a Calls);

impl Metric for ByCaller<'_> {
    fn kind(&self) -> Kind {
        Kind::Counter
    }

    fn labels(&self) -> Vec<&'static str> {
        vec!["caller", "grpc_method", "grpc_code", "upstream"]
    }

    fn write(&self, samples: &mut Samples<'_>) {
        for (caller, calls) in self.0.callers.all() {
            for (rpc, by_code) in Rpc::all().zip(&calls.0) {
                for (number, by_outcome) in by_code.iter().enumerate() {
                    for (outcome, count) in by_outcome.iter().enumerate() {
                        let count = count.load(Relaxed);
                        if count == 0 {
                            continue;
                        }
                        let mut labels = Labels::default();
                        labels.push("caller", &caller);
                        labels.push("grpc_method", rpc.service_and_method().1);
                        labels.push("grpc_code", &go_name(code(number)));
                        Outcome::at(outcome).write(&mut labels);
                        samples.add(&labels, count);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Format, Metrics},
        *,
    };

    #[test]
    fn codes_are_spelled_as_grpc_go_spells_them() {
        let names: Vec<_> = (0..CODES).map(|number| go_name(code(number))).collect();

        assert_eq!(
            names.join(" "),
            "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists \
             PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange \
             Unimplemented Internal Unavailable DataLoss Unauthenticated"
        );
    }

    #[test]
    fn a_call_with_a_trace_is_the_exemplar_of_its_bucket_in_openmetrics_alone() {
        let metrics = Metrics::default();
        let ended = Ended {
            rpc: Rpc::named("stytch.b2b.totp.v1.TotpService/Create"),
            code: Code::Ok,
            outcome: Outcome::Done,
            duration: Duration::from_millis(20),
            caller: None,
            trace: Some(([0xab; 16], [0x0c; 8])),
        };

        metrics.calls.end(ended);

        let page = metrics.page(Format::OpenMetrics);
        let line = "grpc_server_handling_seconds_bucket{grpc_type=\"unary\",\
                    grpc_service=\"stytch.b2b.totp.v1.TotpService\",grpc_method=\"Create\",\
                    le=\"0.025\"} 1 # {trace_id=\"abababababababababababababababab\",\
                    span_id=\"0c0c0c0c0c0c0c0c\"} 0.02 ";
        assert_eq!(page.lines().filter(|it| it.contains(" # {")).count(), 1, "{page}");
        assert!(page.contains(line), "{page}");
        assert!(!metrics.page(Format::Text).contains(" # {"));
    }
}
