//! Whether a request leaves, and what its caller is told, in every order of events: `src/stytch/sent.rs` itself.

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};
}
#[path = "../../src/stytch/sent.rs"]
#[allow(dead_code, unreachable_pub)]
mod sent;

use loom::thread;

use sent::{Attempt, Sent};

/// What the connection does with a request with a body, whenever it gets to it. Says whether the body left.
fn connection(attempt: Attempt) -> thread::JoinHandle<bool> {
    thread::spawn(move || attempt.take())
}

/// The same for a request without a body: the connection sends it, or finds that nobody waits and drops it.
fn connection_without_body(attempt: Attempt, sends: bool) -> thread::JoinHandle<bool> {
    thread::spawn(move || {
        let left = sends && attempt.take_lent();
        attempt.give_back();
        left
    })
}

#[test]
fn what_was_given_up_never_leaves_and_what_left_is_never_called_unsent() {
    loom::model(|| {
        let sent = Sent::default();
        let connection = connection(sent.begin(true).unwrap());
        // The deadline of the caller, and the drop of its future.
        let other = sent.clone();
        let other = thread::spawn(move || other.give_up());

        let may_have_left = sent.give_up();

        let left = connection.join().unwrap();
        assert_eq!(may_have_left, left);
        assert_eq!(other.join().unwrap(), left, "all are told the same");
        assert_eq!(sent.begin(true).is_err(), !left, "no attempt follows");
    });
}

#[test]
fn without_a_body_it_is_called_unsent_only_once_no_connection_has_it() {
    for sends in [true, false] {
        loom::model(move || {
            let sent = Sent::default();
            let connection = connection_without_body(sent.begin(false).unwrap(), sends);

            let may_have_left = sent.give_up();

            let left = connection.join().unwrap();
            assert_eq!(left, sends, "nothing stops a connection");
            assert!(may_have_left || !left);
            assert_eq!(sent.give_up(), left, "once it is back, it is known");
        });
    }
}

#[test]
fn of_several_attempts_only_the_last_may_leave() {
    loom::model(|| {
        let sent = Sent::default();
        let first = connection(sent.begin(true).unwrap());
        // The first attempt fails; only what was not sent is repeated.
        let (mut told_sent, mut second) = (sent.abandon(), None);
        if !told_sent {
            second = Some(connection(sent.begin(true).unwrap()));
            told_sent = sent.give_up();
        }

        let left = [Some(first), second].map(|it| it.is_some_and(|it| it.join().unwrap()));

        assert!(left != [true, true], "twice");
        assert_eq!(told_sent, left.contains(&true));
    });
}

#[test]
fn without_a_body_only_the_last_attempt_may_leave_too() {
    loom::model(|| {
        let sent = Sent::default();
        let first = connection_without_body(sent.begin(false).unwrap(), true);
        let (mut told_sent, mut second) = (sent.abandon(), None);
        if !told_sent {
            second = Some(connection_without_body(sent.begin(false).unwrap(), true));
            told_sent = sent.give_up();
        }

        let left = [Some(first), second].map(|it| it.is_some_and(|it| it.join().unwrap()));

        assert!(left != [true, true], "twice");
        assert!(told_sent || left == [false, false]);
    });
}

#[test]
fn beginning_an_attempt_alone_withdraws_the_one_before() {
    loom::model(|| {
        let sent = Sent::default();
        let first = connection(sent.begin(true).unwrap());

        let second = sent.begin(true).unwrap();

        // One that begins when the call has been sent is a read that is repeated, and leaves in any case.
        let began_unsent = second.take() && !first.join().unwrap();
        assert!(began_unsent || sent.has_left());
        assert!(sent.give_up());
    });
}

#[test]
fn what_stytch_has_not_processed_is_unsent_again_and_sent_once_more_at_most() {
    loom::model(|| {
        let sent = Sent::default();
        // A caller whose time runs out at any moment.
        let caller = sent.clone();
        let caller = thread::spawn(move || caller.give_up());
        let first = sent.begin(true);
        let mut processed = false;
        if let Ok(first) = first {
            first.take();
            // The stream was refused.
            first.was_not_processed();
            if !first.abandon()
                && let Ok(second) = sent.begin(true)
            {
                let late = connection(first);
                processed = second.take();
                assert!(!late.join().unwrap(), "the refused one does not leave again");
            }
        }

        let told_sent = caller.join().unwrap();

        assert!(told_sent || !processed, "told that nothing was sent, and it was processed");
    });
}

#[test]
fn what_was_sent_before_stays_sent_when_a_later_attempt_was_not_processed() {
    loom::model(|| {
        let sent = Sent::default();
        let read = sent.begin(true).unwrap();
        assert!(read.take());
        assert!(read.abandon());
        let again = sent.begin(true).unwrap();
        let caller = sent.clone();
        let caller = thread::spawn(move || caller.give_up());

        assert!(again.take());
        again.was_not_processed();

        assert!(caller.join().unwrap() && sent.abandon());
    });
}

#[test]
fn a_call_that_goes_on_without_its_caller_is_never_called_unsent() {
    loom::model(|| {
        let sent = Sent::default();
        // A keyed call: its caller's word is raised, and its flight has one of its own.
        sent.raise();
        let flight = connection(Sent::default().begin(true).unwrap());

        assert!(sent.give_up());
        assert!(flight.join().unwrap());
    });
}
