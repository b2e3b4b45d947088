//! Flights: all callers in this process whose calls have the same key share one execution.
//!
//! The first caller of a key leads its flight: it executes the call. The others wait for the
//! outcome.

use std::sync::Arc;

use scc::{HashMap, hash_map::Entry};
use tokio::sync::watch;
use tonic::Code;

use super::{
    key::{Fingerprint, RecordId},
    record::Ended,
};
use crate::{
    call::End,
    status::{Case, Failure},
    telemetry::metrics::KeyedOutcome,
};

/// Whether a response comes from this call or from an earlier one with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The call was executed.
    Fresh,
    /// The response is that of another call.
    Replayed,
}

/// The outcome of a flight, as one of its calls gets it.
#[derive(Clone)]
pub(super) struct Settled {
    pub(super) ended: Ended,
    pub(super) how: KeyedOutcome,
}

impl Settled {
    pub(super) fn executed(ended: Ended) -> Self {
        Self { ended, how: KeyedOutcome::Executed }
    }

    pub(super) fn replayed(ended: Ended) -> Self {
        Self { ended, how: KeyedOutcome::Replayed }
    }

    /// The call was refused.
    pub(super) fn refused(failure: Failure, how: KeyedOutcome) -> Self {
        Self { ended: Ended { result: Err(failure), span: None }, how }
    }

    /// The call may have been executed, and its outcome is lost.
    pub(super) fn unknown() -> Self {
        Self::refused(Case::OutcomeUnknown.into(), KeyedOutcome::Lost)
    }

    /// Returns where the response comes from.
    pub(super) fn origin(&self) -> Origin {
        match self.how {
            KeyedOutcome::Replayed | KeyedOutcome::Waited | KeyedOutcome::Lost => Origin::Replayed,
            KeyedOutcome::Executed | KeyedOutcome::KeyReused | KeyedOutcome::StoreFailed => {
                Origin::Fresh
            }
        }
    }
}

impl End for Settled {
    fn code(&self) -> Code {
        self.ended.result.code()
    }
}

/// The flights of the process, by their keys: not more than there are calls. Clones share them.
#[derive(Clone)]
pub(super) struct Flights(Arc<HashMap<RecordId, Flight>>);

/// The part of a call in its flight.
pub(super) enum Joined {
    /// It executes the flight.
    Leads(Leader),
    /// It waits for the outcome.
    Waits(Flight),
}

/// One execution, as those see it who share it.
#[derive(Clone)]
pub(super) struct Flight {
    pub(super) fingerprint: Fingerprint,
    state: watch::Receiver<State>,
}

enum State {
    /// The leader claims the key.
    Claiming,
    /// The leader holds the key and executes the call.
    Calling,
    Settled(Settled),
}

/// The duty to execute a flight. Dropping it ends the flight.
pub(super) struct Leader {
    pub(super) id: RecordId,
    pub(super) fingerprint: Fingerprint,
    flights: Flights,
    state: watch::Sender<State>,
    settled: Option<Settled>,
}

impl Flights {
    pub(super) fn new() -> Self {
        // Without a capacity, the table would be dropped whenever no call has a key.
        Self(Arc::new(HashMap::with_capacity(64)))
    }

    /// Joins the flight of a key, or starts one if there is none.
    pub(super) fn join(&self, id: RecordId, fingerprint: Fingerprint) -> Joined {
        match self.0.entry_sync(id) {
            Entry::Occupied(flight) => Joined::Waits(flight.get().clone()),
            Entry::Vacant(place) => {
                let (sender, state) = watch::channel(State::Claiming);
                place.insert_entry(Flight { fingerprint, state });
                let flights = self.clone();
                Joined::Leads(Leader { id, fingerprint, flights, state: sender, settled: None })
            }
        }
    }
}

impl Flight {
    /// Waits for the leader's claim. Returns whether the call is being executed.
    pub(super) async fn is_executed(&mut self) -> bool {
        let claimed = self.state.wait_for(|state| !matches!(state, State::Claiming)).await;
        matches!(claimed.as_deref(), Ok(State::Calling))
    }

    /// Waits for the outcome.
    pub(super) async fn settled(mut self) -> Settled {
        match self.state.wait_for(|state| matches!(state, State::Settled(_))).await.as_deref() {
            Ok(State::Settled(settled)) => settled.clone(),
            // The leader is gone without an outcome, as when the process ends.
            Ok(State::Claiming | State::Calling) | Err(_) => Settled::unknown(),
        }
    }
}

impl Leader {
    /// Announces that the call is being executed.
    pub(super) fn start(&self) {
        self.state.send_if_modified(|state| {
            *state = State::Calling;
            // One is that of the flight, with which nobody waits. Who takes it from now on sees the
            // new state.
            self.state.receiver_count() > 1
        });
    }

    /// Ends the flight and hands the outcome to all who share it.
    pub(super) fn finish(mut self, settled: Settled) {
        self.settled = Some(settled);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // First, so that a caller who retries as soon as it has its response does not join this
        // flight.
        self.flights.0.remove_sync(&self.id);
        if let Some(settled) = self.settled.take() {
            // An error means that nobody else shares the flight.
            let _ = self.state.send(State::Settled(settled));
        }
    }
}
