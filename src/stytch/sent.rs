//! Whether a request has left the process, and that one that was given up never will.
//!
//! Sending and giving up exclude each other: both are steps of one atomic word, and whoever comes second finds
//! the word changed. A connection may hold a request for long before it writes it, as HTTP/2 does when the peer
//! allows no further stream, so what its caller was told in the meantime must bind the connection too.
//!
//! `models/tests/send_gate.rs` runs this file through every order of events.

use std::sync::Arc;

use crate::atomic::{AtomicU32, Ordering};

/// What the caller and the connection agree on about one call. Clones share it.
///
/// The word holds the state and, while nothing has left, the number of the attempt that may leave:
///
/// - *waiting* (n): the body of attempt n may leave, by `Attempt::take`; nothing has left.
/// - *lent* (n): attempt n has no body, and a connection that has such a request cannot be stopped from sending
///   it. So it cannot be given up; when the connection returns it unused, it waits again.
/// - *sent*: the request may have reached Stytch.
/// - *given up*: nothing has left, and nothing will.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<AtomicU32>);

const STATE_BITS: u32 = 2;
const STATE: u32 = (1 << STATE_BITS) - 1;
const WAITING: u32 = 0;
const LENT: u32 = 1;
const SENT: u32 = 2;
const GIVEN_UP: u32 = 3;

/// The caller was told that nothing was sent, so nothing may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp;

impl Sent {
    /// Whether the request has left, as far as the process can tell.
    pub fn has_left(&self) -> bool {
        self.0.load(Ordering::Acquire) == SENT
    }

    /// Gives the call up, unless it is too late. Returns whether the request may have reached Stytch, or may do
    /// so yet; if not, it never will.
    pub fn give_up(&self) -> bool {
        self.leave_waiting(|_| GIVEN_UP)
    }

    /// Gives up the present attempt, and with it each before, unless it is too late; another may follow.
    /// Returns whether the request may have reached Stytch, or may do so yet.
    pub(crate) fn abandon(&self) -> bool {
        self.leave_waiting(|number| word(WAITING, number + 1))
    }

    /// Says that the request may have left: somebody else decides when.
    pub(crate) fn raise(&self) {
        self.0.store(SENT, Ordering::Release);
    }

    /// Begins an attempt, whose predecessors can no longer leave.
    pub(crate) fn begin(&self, has_body: bool) -> Result<Attempt, GivenUp> {
        let state = if has_body { WAITING } else { LENT };
        let next = |current: u32| match current & STATE {
            WAITING => Some(word(state, number(current) + 1)),
            // What is lent is not seen to leave, and sent again only when that does no harm.
            LENT | SENT => Some(SENT),
            _ => None,
        };
        let begun = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        let before = begun.map_err(|_| GivenUp)?;
        Ok(Attempt {
            sent: self.clone(),
            state,
            number: number(before) + 1,
            is_resend: before & STATE != WAITING,
        })
    }

    /// From *waiting* to what `next` makes of the attempt's number.
    fn leave_waiting(&self, next: impl Fn(u32) -> u32) -> bool {
        let next = |current| (current & STATE == WAITING).then(|| next(number(current)));
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(_) => false,
            Err(current) => current != GIVEN_UP,
        }
    }
}

fn word(state: u32, number: u32) -> u32 {
    number << STATE_BITS | state
}

fn number(word: u32) -> u32 {
    word >> STATE_BITS
}

/// One attempt of a call. Clones are the same attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    sent: Sent,
    /// The state from which it may leave.
    state: u32,
    number: u32,
    /// Whether the call had been sent when it began; then it may leave in any case.
    is_resend: bool,
}

impl Attempt {
    /// Leave to send the request. There is none once the attempt or the call has been given up.
    pub(crate) fn take(&self) -> bool {
        let may_leave = word(self.state, self.number);
        self.is_resend
            || self
                .sent
                .0
                .compare_exchange(may_leave, SENT, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    /// The same for a request without a body, as often as the connection asks.
    pub(crate) fn take_lent(&self) -> bool {
        self.take() || self.sent.has_left()
    }

    /// See [`Sent::abandon`].
    pub(crate) fn abandon(&self) -> bool {
        self.sent.abandon()
    }

    /// The connection has dropped a request without a body. If it had not been taken, it never will be.
    pub(crate) fn give_back(&self) {
        if self.state == LENT && !self.is_resend {
            let waiting = word(WAITING, self.number);
            let lent = word(LENT, self.number);
            // Otherwise it has been taken.
            let _ =
                self.sent.0.compare_exchange(lent, waiting, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Stytch says that it has not processed this attempt, so that nothing was sent as far as anybody is
    /// concerned, unless an attempt before it was.
    pub(crate) fn was_not_processed(&self) {
        if !self.is_resend {
            let next = word(WAITING, self.number + 1);
            let _ = self.sent.0.compare_exchange(SENT, next, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}
