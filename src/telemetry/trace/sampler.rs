//! Which calls are recorded.

use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{Sampler as RatioSampler, SamplingDecision, ShouldSample as _};

use super::ids::{Ids, TraceId};

/// Decides whether a call is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether the decision of a caller that passes its trace on is followed.
    pub follows_caller: bool,
    /// The decision where there is no other.
    pub root: Root,
}

/// The decision about a trace that begins here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Root {
    /// Every trace is recorded.
    All,
    /// No trace is recorded.
    None,
    /// This share of all traces is recorded. The id of a trace that begins here decides, so that
    /// services with the same share decide alike.
    Ratio(f64),
}

impl Sampler {
    /// Returns whether a call of this trace is recorded.
    pub(super) fn is_sampled(&self, caller: Option<Ids>, trace: TraceId) -> bool {
        match caller {
            Some(caller) if self.follows_caller => caller.is_sampled(),
            // Its id is the caller's choice, who could choose one that is always recorded.
            Some(_) => self.root.is_sampled(Ids::random().trace_id()),
            None => self.root.is_sampled(trace),
        }
    }
}

impl Root {
    fn is_sampled(self, trace: TraceId) -> bool {
        let ratio = match self {
            Self::All => return true,
            Self::None => return false,
            Self::Ratio(ratio) => RatioSampler::TraceIdRatioBased(ratio),
        };
        let trace = opentelemetry::trace::TraceId::from_bytes(trace.to_bytes());
        let result = ratio.should_sample(None, trace, "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_choice_of_an_id_has_all_calls_recorded_or_none_unless_the_caller_decides() {
        const CALLS: u32 = 20_000;
        let sampler = Sampler { follows_caller: false, root: Root::Ratio(0.25) };
        for trace in [1, u128::MAX] {
            let ids = Ids::new(trace, 1, true).expect("ids");

            let is_sampled = |_: &u32| sampler.is_sampled(Some(ids), ids.trace_id());
            let sampled = u32::try_from((0..CALLS).filter(is_sampled).count()).unwrap();

            let share = f64::from(sampled) / f64::from(CALLS);
            assert!((share - 0.25).abs() < 0.03, "{share} of {trace:x}");
        }
    }

    fn share(sampler: Sampler, caller: Option<bool>) -> f64 {
        const TRACES: u32 = 20_000;
        let sampled = (0..TRACES).filter(|_| {
            let ids = Ids::random();
            sampler.is_sampled(caller.map(|is_sampled| ids.sampled(is_sampled)), ids.trace_id())
        });
        f64::from(u32::try_from(sampled.count()).unwrap()) / f64::from(TRACES)
    }

    #[test]
    fn the_caller_decides_if_its_decision_is_followed_and_the_share_of_the_rest_is_as_set() {
        for (root, expected) in [
            (Root::All, 1.0),
            (Root::None, 0.0),
            (Root::Ratio(0.0), 0.0),
            (Root::Ratio(0.25), 0.25),
            (Root::Ratio(1.0), 1.0),
        ] {
            for follows_caller in [true, false] {
                let sampler = Sampler { follows_caller, root };

                let alone = share(sampler, None);
                assert!((alone - expected).abs() < 0.03, "{sampler:?}: {alone}");
                for is_sampled in [true, false] {
                    let share = share(sampler, Some(is_sampled));
                    let expected = match follows_caller {
                        true => f64::from(u8::from(is_sampled)),
                        false => expected,
                    };
                    assert!((share - expected).abs() < 0.03, "{sampler:?}: {share}");
                }
            }
        }
    }
}
