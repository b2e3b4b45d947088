//! Checks the send gate, `src/stytch/send_gate/gate.rs`, under every interleaving: whether a
//! request is sent, and what its caller is told.

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};
}
#[path = "../../src/stytch/send_gate/gate.rs"]
#[allow(dead_code, unreachable_pub)]
mod gate;

use loom::thread;

use gate::{Attempt, SendGate};

/// Lets a connection take a request with a body at some moment. Returns whether the request was
/// sent.
fn connection(attempt: Attempt) -> thread::JoinHandle<bool> {
    thread::spawn(move || attempt.try_pass())
}

/// The same for a request without a body, which the connection sends, or drops because nobody
/// waits.
fn connection_without_body(attempt: Attempt, sends: bool) -> thread::JoinHandle<bool> {
    thread::spawn(move || {
        let was_sent = sends && attempt.try_pass_without_body();
        attempt.release();
        was_sent
    })
}

#[test]
fn a_closed_gate_never_sends_and_a_sent_request_is_never_reported_unsent() {
    loom::model(|| {
        let gate = SendGate::default();
        let connection = connection(gate.begin_attempt(true).unwrap());
        // The caller's deadline, and the drop of its future.
        let other = gate.clone();
        let other = thread::spawn(move || other.close());

        let may_be_sent = gate.close();

        let left = connection.join().unwrap();
        assert_eq!(may_be_sent, left);
        assert_eq!(other.join().unwrap(), left, "both get the same answer");
        assert_eq!(gate.begin_attempt(true).is_err(), !left, "no attempt follows");
    });
}

#[test]
fn without_a_body_it_is_called_unsent_only_once_no_connection_has_it() {
    for sends in [true, false] {
        loom::model(move || {
            let gate = SendGate::default();
            let connection = connection_without_body(gate.begin_attempt(false).unwrap(), sends);

            let may_be_sent = gate.close();

            let left = connection.join().unwrap();
            assert_eq!(left, sends, "nothing can stop the connection");
            assert!(may_be_sent || !left);
            assert_eq!(
                gate.close(),
                left,
                "once the connection has dropped it, the outcome is known"
            );
        });
    }
}

#[test]
fn of_several_attempts_only_the_last_may_leave() {
    loom::model(|| {
        let gate = SendGate::default();
        let first = connection(gate.begin_attempt(true).unwrap());
        // The first attempt fails; only an unsent request is retried.
        let (mut told_sent, mut second) = (gate.cancel_attempt(), None);
        if !told_sent {
            second = Some(connection(gate.begin_attempt(true).unwrap()));
            told_sent = gate.close();
        }

        let left = [Some(first), second].map(|it| it.is_some_and(|it| it.join().unwrap()));

        assert!(left != [true, true], "twice");
        assert_eq!(told_sent, left.contains(&true));
    });
}

#[test]
fn without_a_body_only_the_last_attempt_may_leave_too() {
    loom::model(|| {
        let gate = SendGate::default();
        let first = connection_without_body(gate.begin_attempt(false).unwrap(), true);
        let (mut told_sent, mut second) = (gate.cancel_attempt(), None);
        if !told_sent {
            second = Some(connection_without_body(gate.begin_attempt(false).unwrap(), true));
            told_sent = gate.close();
        }

        let left = [Some(first), second].map(|it| it.is_some_and(|it| it.join().unwrap()));

        assert!(left != [true, true], "twice");
        assert!(told_sent || left == [false, false]);
    });
}

#[test]
fn beginning_an_attempt_alone_withdraws_the_one_before() {
    loom::model(|| {
        let gate = SendGate::default();
        let first = connection(gate.begin_attempt(true).unwrap());

        let second = gate.begin_attempt(true).unwrap();

        // An attempt that begins after the call was sent is a retry of a read, and always passes.
        let began_unsent = second.try_pass() && !first.join().unwrap();
        assert!(began_unsent || gate.is_sent());
        assert!(gate.close());
    });
}

#[test]
fn an_unprocessed_request_is_unsent_and_sent_once_more_at_most() {
    loom::model(|| {
        let gate = SendGate::default();
        // The caller's deadline may pass at any moment.
        let caller = gate.clone();
        let caller = thread::spawn(move || caller.close());
        let first = gate.begin_attempt(true);
        let mut processed = false;
        if let Ok(first) = first {
            first.try_pass();
            // Stytch refuses the stream.
            first.mark_unprocessed();
            if !first.cancel()
                && let Ok(second) = gate.begin_attempt(true)
            {
                let late = connection(first);
                processed = second.try_pass();
                assert!(!late.join().unwrap(), "the refused attempt is not sent again");
            }
        }

        let told_sent = caller.join().unwrap();

        assert!(told_sent || !processed, "reported as not sent, but processed");
    });
}

#[test]
fn a_sent_request_stays_sent_when_a_later_attempt_was_not_processed() {
    loom::model(|| {
        let gate = SendGate::default();
        let read = gate.begin_attempt(true).unwrap();
        assert!(read.try_pass());
        assert!(read.cancel());
        let again = gate.begin_attempt(true).unwrap();
        let caller = gate.clone();
        let caller = thread::spawn(move || caller.close());

        assert!(again.try_pass());
        again.mark_unprocessed();

        assert!(caller.join().unwrap() && gate.cancel_attempt());
    });
}

#[test]
fn a_call_that_goes_on_without_its_caller_is_never_called_unsent() {
    loom::model(|| {
        let gate = SendGate::default();
        // A call with an idempotency key: the caller's gate counts as sent, and the execution has
        // its own.
        gate.mark_sent();
        let execution = connection(SendGate::default().begin_attempt(true).unwrap());

        assert!(gate.close());
        assert!(execution.join().unwrap());
    });
}
