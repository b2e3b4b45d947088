//! The gate between a call and the connection that sends its request: either the request is sent,
//! or the call is given up and the request is never sent.
//!
//! Sending and giving up exclude each other: both are transitions of one atomic word, and whichever
//! comes second finds the word changed. A connection may hold a request for a long time before it
//! writes it, as HTTP/2 does while the peer permits no further stream. Once the caller has
//! got *not sent*, that must bind the connection too.
//!
//! `models/tests/send_gate.rs` checks this file under every interleaving.

use std::sync::Arc;

use crate::atomic::{AtomicU32, Ordering};

/// The gate of one call. Clones share it.
///
/// The word holds the state and, while nothing has been sent, the number of the attempt that may
/// pass:
///
/// - *open* (n): nothing has been sent, and attempt n may pass.
/// - *held* (n): a connection may hold attempt n, which has no body, and such a request cannot be
///   stopped. So the gate cannot be closed. If the connection drops the request unsent, the gate is
///   *open* again.
/// - *sent*: the request may have reached Stytch.
/// - *closed*: nothing has been sent, and nothing will be.
#[derive(Clone, Debug, Default)]
pub struct SendGate(Arc<AtomicU32>);

const STATE_BITS: u32 = 2;
const STATE: u32 = (1 << STATE_BITS) - 1;
const OPEN: u32 = 0;
const HELD: u32 = 1;
const SENT: u32 = 2;
const CLOSED: u32 = 3;

/// The gate is closed: the caller got *not sent*, so nothing may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl SendGate {
    /// Returns whether the request has been sent, as far as this process can tell.
    pub fn is_sent(&self) -> bool {
        self.0.load(Ordering::Acquire) == SENT
    }

    /// Closes the gate, unless it is too late. Returns whether the request may have been sent or
    /// may still be sent; if not, it never will be.
    pub fn close(&self) -> bool {
        self.leave_open(|_| CLOSED)
    }

    /// Cancels the current attempt and all before it, unless it is too late; another attempt may
    /// follow. Returns whether the request may have been sent or may still be sent.
    pub(crate) fn cancel_attempt(&self) -> bool {
        self.leave_open(|number| word(OPEN, number + 1))
    }

    /// Marks the request as sent, for a call whose request another gate controls.
    pub(crate) fn mark_sent(&self) {
        self.0.store(SENT, Ordering::Release);
    }

    /// Begins an attempt. Earlier attempts can no longer pass.
    pub(crate) fn begin_attempt(&self, has_body: bool) -> Result<Attempt, Closed> {
        let state = if has_body { OPEN } else { HELD };
        let next = |current: u32| match current & STATE {
            OPEN => Some(word(state, number(current) + 1)),
            // A held request may be sent at any moment. Only a call that is safe to retry gets
            // here.
            HELD | SENT => Some(SENT),
            _ => None,
        };
        let begun = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        let before = begun.map_err(|_| Closed)?;
        Ok(Attempt {
            gate: self.clone(),
            state,
            number: number(before) + 1,
            is_resend: before & STATE != OPEN,
        })
    }

    /// Replaces *open* with the word that `next` returns for the number of the attempt.
    fn leave_open(&self, next: impl Fn(u32) -> u32) -> bool {
        let next = |current| (current & STATE == OPEN).then(|| next(number(current)));
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(_) => false,
            Err(current) => current != CLOSED,
        }
    }
}

fn word(state: u32, number: u32) -> u32 {
    number << STATE_BITS | state
}

fn number(word: u32) -> u32 {
    word >> STATE_BITS
}

/// One attempt to send the request of a call. Clones are the same attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    gate: SendGate,
    /// The state of the gate in which this attempt may pass.
    state: u32,
    number: u32,
    /// Whether the call may have been sent before this attempt began, which then always passes.
    is_resend: bool,
}

impl Attempt {
    /// Returns whether the request may be sent, and if so marks it as sent. It may not once the
    /// attempt has been cancelled or the gate closed.
    pub(crate) fn try_pass(&self) -> bool {
        let may_pass = word(self.state, self.number);
        self.is_resend
            || self
                .gate
                .0
                .compare_exchange(may_pass, SENT, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    /// Like [`Attempt::try_pass`], for a request without a body: may be called any number of times.
    pub(crate) fn try_pass_without_body(&self) -> bool {
        self.try_pass() || self.gate.is_sent()
    }

    /// See [`SendGate::cancel_attempt`].
    pub(crate) fn cancel(&self) -> bool {
        self.gate.cancel_attempt()
    }

    /// Records that the connection has dropped a request without a body. Unless it has passed, it
    /// never will.
    pub(crate) fn release(&self) {
        if self.state == HELD && !self.is_resend {
            let open = word(OPEN, self.number);
            let held = word(HELD, self.number);
            // The exchange fails if the request has passed.
            let _ = self.gate.0.compare_exchange(held, open, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Records that Stytch did not process this attempt, so it counts as not sent, unless an
    /// earlier attempt was sent.
    pub(crate) fn mark_unprocessed(&self) {
        if !self.is_resend {
            let next = word(OPEN, self.number + 1);
            let _ = self.gate.0.compare_exchange(SENT, next, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}
