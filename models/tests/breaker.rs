//! Whom the circuit breaker lets through, in every order of events: `src/stytch/circuit.rs` itself.

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}
#[path = "../../src/stytch/circuit.rs"]
#[allow(dead_code)]
mod circuit;

use std::sync::Arc;

use loom::{sync::atomic::AtomicUsize, thread};

use atomic::Ordering;
use circuit::{CONSECUTIVE, Circuit, Failed, Leave, OPEN_FOR_MS};

const START: u64 = 1;
/// When the first probe of [`opened`] is due.
const DUE: u64 = START + OPEN_FOR_MS;

fn shared(circuit: Circuit) -> Arc<Circuit> {
    Arc::new(circuit)
}

/// One that so many failures have brought to the brink.
fn failing(failures: u32) -> Circuit {
    let circuit = Circuit::default();
    for _ in 0..failures {
        let leave = circuit.admit(START).unwrap();
        circuit.failed(leave, START);
    }
    circuit
}

/// An open one, and leave that was given before it opened.
fn opened() -> (Circuit, Leave) {
    let circuit = failing(CONSECUTIVE - 1);
    let early = circuit.admit(START).unwrap();
    let last = circuit.admit(START).unwrap();
    assert!(matches!(circuit.failed(last, START), Failed::Opened(_)));
    (circuit, early)
}

#[test]
fn one_probe_at_a_time() {
    loom::model(|| {
        let circuit = shared(opened().0);
        let probes = Arc::new(AtomicUsize::new(0));
        let threads = [(); 2].map(|()| {
            let (circuit, probes) = (Arc::clone(&circuit), Arc::clone(&probes));
            thread::spawn(move || {
                let Ok(leave) = circuit.admit(DUE) else { return false };
                assert!(leave.is_probe());
                assert_eq!(probes.fetch_add(1, Ordering::SeqCst), 0, "two probes");
                probes.fetch_sub(1, Ordering::SeqCst);
                circuit.withdrawn(leave);
                true
            })
        });

        let went = threads.map(|it| it.join().unwrap());

        assert!(went.contains(&true), "the first is let through");
        assert!(circuit.admit(DUE).is_ok(), "a probe that is withdrawn makes room for the next");
    });
}

#[test]
fn a_probe_that_is_answered_closes_it_for_all_and_nobody_probes_a_closed_one() {
    loom::model(|| {
        let circuit = shared(opened().0);
        let other = Arc::clone(&circuit);
        let other = thread::spawn(move || match other.admit(DUE) {
            Err(_) => {}
            Ok(leave) if leave.is_probe() => assert!(other.answered(leave)),
            // It was closed, and one failure does not open it.
            Ok(leave) => assert_eq!(other.failed(leave, DUE), Failed::Counted),
        });

        if let Ok(leave) = circuit.admit(DUE) {
            if leave.is_probe() {
                assert!(circuit.answered(leave));
            } else {
                assert_eq!(circuit.failed(leave, DUE), Failed::Counted);
            }
        }

        other.join().unwrap();
        let leave = circuit.admit(DUE).expect("it is closed");
        assert!(!leave.is_probe());
    });
}

#[test]
fn a_probe_that_fails_keeps_it_open_whatever_others_do() {
    loom::model(|| {
        let (circuit, early) = opened();
        let circuit = shared(circuit);
        let other = Arc::clone(&circuit);
        let other = thread::spawn(move || {
            // What began before it opened has no say.
            assert!(!other.answered(early));
            other.admit(DUE).ok()
        });
        let probe = circuit.admit(DUE).ok();
        if let Some(probe) = probe {
            assert_eq!(circuit.failed(probe, DUE), Failed::StaysOpen);
        }

        let other = other.join().unwrap();

        assert!(probe.is_some() != other.is_some(), "one of them");
        if let Some(other) = other {
            assert_eq!(circuit.failed(other, DUE), Failed::StaysOpen);
        }
        assert_eq!(circuit.admit(DUE).err(), Some(OPEN_FOR_MS));
        assert!(circuit.admit(DUE + OPEN_FOR_MS).unwrap().is_probe());
    });
}

#[test]
fn it_opens_once_and_what_began_before_does_not_open_it_again_after_it_has_closed() {
    loom::model(|| {
        let circuit = failing(CONSECUTIVE - 1);
        let early = [(); 2].map(|()| circuit.admit(START).unwrap());
        let circuit = shared(circuit);
        let threads = early.map(|leave| {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || circuit.failed(leave, START))
        });
        // Meanwhile the first probe that can be had is answered.
        let closed = match circuit.admit(DUE) {
            Ok(leave) if leave.is_probe() => circuit.answered(leave),
            _ => false,
        };

        let opened = threads.map(|it| matches!(it.join().unwrap(), Failed::Opened(_)));

        assert_eq!(opened.iter().filter(|opened| **opened).count(), 1);
        assert_eq!(circuit.admit(START).is_ok(), closed);
        if closed {
            assert_eq!(circuit.failures(), 0, "it counts from nothing");
        }
    });
}

#[test]
fn each_period_counts_from_nothing_and_no_outcome_of_another_counts() {
    loom::model(|| {
        let circuit = Circuit::default();
        let mut early = Vec::new();
        for now in (0..3).map(|period| START + period * OPEN_FOR_MS) {
            for leave in early.iter().copied() {
                assert_eq!(circuit.failed(leave, now), Failed::Counted);
                assert!(!circuit.answered(leave));
            }
            assert_eq!(circuit.failures(), 0);
            let leave = circuit.admit(now).unwrap();
            early.push(leave);
            for _ in 1..CONSECUTIVE {
                assert_eq!(circuit.failed(leave, now), Failed::Counted);
            }
            assert!(matches!(circuit.failed(leave, now), Failed::Opened(_)));
            let probe = circuit.admit(now + OPEN_FOR_MS).unwrap();
            assert!(circuit.answered(probe));
        }
    });
}

#[test]
fn an_answer_between_failures_is_never_lost() {
    loom::model(|| {
        let circuit = shared(failing(CONSECUTIVE - 2));
        let [first, second] = [(); 2].map(|()| circuit.admit(START).unwrap());
        let other = Arc::clone(&circuit);
        let other = thread::spawn(move || {
            other.answered(first);
            other.failed(second, START)
        });
        let leave = circuit.admit(START).ok();
        let ours = leave.map(|leave| circuit.failed(leave, START));

        let theirs = other.join().unwrap();

        // In a row there were nine at most, however they fell.
        assert_eq!((ours, theirs), (Some(Failed::Counted), Failed::Counted));
    });
}
