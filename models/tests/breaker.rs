//! Checks the state of the breaker breaker, `src/stytch/circuit_breaker/state.rs`, under every
//! interleaving.

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}
#[path = "../../src/stytch/circuit_breaker/state.rs"]
#[allow(dead_code)]
mod state;

use std::sync::Arc;

use loom::{sync::atomic::AtomicUsize, thread};

use atomic::Ordering;
use state::{BreakerState, CONSECUTIVE_FAILURES, Failed, OPEN_FOR_MS, Ticket};

const START: u64 = 1;
/// When the first probe of [`opened`] is due.
const DUE: u64 = START + OPEN_FOR_MS;

fn shared(breaker: BreakerState) -> Arc<BreakerState> {
    Arc::new(breaker)
}

/// Returns a breaker after this many failures, too few to open it.
fn failing(failures: u32) -> BreakerState {
    let breaker = BreakerState::default();
    for _ in 0..failures {
        let ticket = breaker.admit(START).unwrap();
        breaker.record_failure(ticket, START);
    }
    breaker
}

/// Returns an open breaker, and a ticket that was granted before it opened.
fn opened() -> (BreakerState, Ticket) {
    let breaker = failing(CONSECUTIVE_FAILURES - 1);
    let early = breaker.admit(START).unwrap();
    let last = breaker.admit(START).unwrap();
    assert!(matches!(breaker.record_failure(last, START), Failed::Opened(_)));
    (breaker, early)
}

#[test]
fn one_probe_at_a_time() {
    loom::model(|| {
        let breaker = shared(opened().0);
        let probes = Arc::new(AtomicUsize::new(0));
        let threads = [(); 2].map(|()| {
            let (breaker, probes) = (Arc::clone(&breaker), Arc::clone(&probes));
            thread::spawn(move || {
                let Ok(ticket) = breaker.admit(DUE) else { return false };
                assert!(ticket.is_probe());
                assert_eq!(probes.fetch_add(1, Ordering::SeqCst), 0, "two probes");
                probes.fetch_sub(1, Ordering::SeqCst);
                breaker.discard(ticket);
                true
            })
        });

        let went = threads.map(|it| it.join().unwrap());

        assert!(went.contains(&true), "the first is permitted");
        assert!(breaker.admit(DUE).is_ok(), "a discarded probe makes room for the next");
    });
}

#[test]
fn a_probe_that_is_answered_closes_it_for_all_and_nobody_probes_a_closed_one() {
    loom::model(|| {
        let breaker = shared(opened().0);
        let other = Arc::clone(&breaker);
        let other = thread::spawn(move || match other.admit(DUE) {
            Err(_) => {}
            Ok(ticket) if ticket.is_probe() => assert!(other.record_response(ticket)),
            // The breaker was closed, and one failure does not open it.
            Ok(ticket) => assert_eq!(other.record_failure(ticket, DUE), Failed::Counted),
        });

        if let Ok(ticket) = breaker.admit(DUE) {
            if ticket.is_probe() {
                assert!(breaker.record_response(ticket));
            } else {
                assert_eq!(breaker.record_failure(ticket, DUE), Failed::Counted);
            }
        }

        other.join().unwrap();
        let ticket = breaker.admit(DUE).expect("closed");
        assert!(!ticket.is_probe());
    });
}

#[test]
fn a_probe_that_fails_keeps_it_open_whatever_others_do() {
    loom::model(|| {
        let (breaker, early) = opened();
        let breaker = shared(breaker);
        let other = Arc::clone(&breaker);
        let other = thread::spawn(move || {
            // An attempt that began before the breaker opened has no effect.
            assert!(!other.record_response(early));
            other.admit(DUE).ok()
        });
        let probe = breaker.admit(DUE).ok();
        if let Some(probe) = probe {
            assert_eq!(breaker.record_failure(probe, DUE), Failed::StaysOpen);
        }

        let other = other.join().unwrap();

        assert!(probe.is_some() != other.is_some(), "one of them");
        if let Some(other) = other {
            assert_eq!(breaker.record_failure(other, DUE), Failed::StaysOpen);
        }
        assert_eq!(breaker.admit(DUE).err(), Some(OPEN_FOR_MS));
        assert!(breaker.admit(DUE + OPEN_FOR_MS).unwrap().is_probe());
    });
}

#[test]
fn it_opens_once_and_what_began_before_does_not_open_it_again_after_it_has_closed() {
    loom::model(|| {
        let breaker = failing(CONSECUTIVE_FAILURES - 1);
        let early = [(); 2].map(|()| breaker.admit(START).unwrap());
        let breaker = shared(breaker);
        let threads = early.map(|ticket| {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || breaker.record_failure(ticket, START))
        });
        // Meanwhile the first permitted probe gets a response.
        let closed = match breaker.admit(DUE) {
            Ok(ticket) if ticket.is_probe() => breaker.record_response(ticket),
            _ => false,
        };

        let opened = threads.map(|it| matches!(it.join().unwrap(), Failed::Opened(_)));

        assert_eq!(opened.iter().filter(|opened| **opened).count(), 1);
        assert_eq!(breaker.admit(START).is_ok(), closed);
        if closed {
            assert_eq!(breaker.failures(), 0, "the count starts at zero");
        }
    });
}

#[test]
fn each_period_counts_from_nothing_and_no_outcome_of_another_counts() {
    loom::model(|| {
        let breaker = BreakerState::default();
        let mut early = Vec::new();
        for now in (0..3).map(|period| START + period * OPEN_FOR_MS) {
            for ticket in early.iter().copied() {
                assert_eq!(breaker.record_failure(ticket, now), Failed::Counted);
                assert!(!breaker.record_response(ticket));
            }
            assert_eq!(breaker.failures(), 0);
            let ticket = breaker.admit(now).unwrap();
            early.push(ticket);
            for _ in 1..CONSECUTIVE_FAILURES {
                assert_eq!(breaker.record_failure(ticket, now), Failed::Counted);
            }
            assert!(matches!(breaker.record_failure(ticket, now), Failed::Opened(_)));
            let probe = breaker.admit(now + OPEN_FOR_MS).unwrap();
            assert!(breaker.record_response(probe));
        }
    });
}

#[test]
fn an_answer_between_failures_is_never_lost() {
    loom::model(|| {
        let breaker = shared(failing(CONSECUTIVE_FAILURES - 2));
        let [first, second] = [(); 2].map(|()| breaker.admit(START).unwrap());
        let other = Arc::clone(&breaker);
        let other = thread::spawn(move || {
            other.record_response(first);
            other.record_failure(second, START)
        });
        let ticket = breaker.admit(START).ok();
        let ours = ticket.map(|ticket| breaker.record_failure(ticket, START));

        let theirs = other.join().unwrap();

        // There were nine failures in a row at most, in any order.
        assert_eq!((ours, theirs), (Some(Failed::Counted), Failed::Counted));
    });
}
