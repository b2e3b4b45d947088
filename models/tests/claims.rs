//! The claims of `src/idempotency/redis/scripts.rs`, in every order of events: one key, two
//! replicas of the service, and a Redis that may fail over to a replica of its own, which lacks the
//! latest writes. Anything may be late, replies may be lost, and processes may die between any two
//! steps. A caller retries its call, even while it is in flight.
//!
//! The model omits that records expire, and that a lease cannot end before its call, whose timeout
//! is shorter. These depend on times, not on the order of events.

use std::collections::BTreeSet;

use stateright::{Checker, Model, Property};

/// The bounds of the model.
#[derive(Clone, Copy)]
struct Claims {
    /// Whether a claim has to be acknowledged by the replica of Redis (`replicas.rs`).
    waits: bool,
    /// Whether a message to Redis may be in flight for longer than a lease.
    is_slow: bool,
    failovers: u8,
    crashes: u8,
    calls: u8,
}

/// Identifies a claim.
type Token = u8;

/// The value of the key in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Value {
    /// The call is in flight, or its process died and the lease is over.
    Pending { token: Token, lease: bool },
    /// The call has ended.
    Ended { token: Token },
    /// Nothing was sent; only the token is left.
    Released { token: Token },
}

impl Value {
    fn token(self) -> Token {
        match self {
            Self::Pending { token, .. } | Self::Ended { token } | Self::Released { token } => token,
        }
    }
}

/// The script that a message runs in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Script {
    Claim,
    Record,
    Release,
}

/// A message on its way to Redis, which is resent until it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Message {
    script: Script,
    token: Token,
    from: usize,
}

/// How far a replica of the service is with a call. Others with the key wait for it there, and are
/// not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flight {
    None,
    Claiming(Token),
    /// The claim is put again, and the replica of Redis is to acknowledge it.
    Confirming(Token),
    /// `WAIT`, over a connection that ends with the primary of this many failovers.
    Waiting(Token, u8),
    /// The claim is granted, nothing is sent yet.
    Granted(Token),
    Sent(Token),
    /// Stytch has answered, or its silence counts as an answer.
    Recording(Token),
}

impl Flight {
    fn token(self) -> Option<Token> {
        match self {
            Self::None => None,
            Self::Claiming(token)
            | Self::Confirming(token)
            | Self::Waiting(token, _)
            | Self::Granted(token)
            | Self::Sent(token)
            | Self::Recording(token) => Some(token),
        }
    }
}

/// What a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Outcome {
    Answer,
    Replay,
    NotSent,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    primary: Option<Value>,
    replica: Option<Value>,
    /// Whether the replica has once had everything that its primary had; none is promoted before.
    has_caught_up: bool,
    failovers: u8,
    crashes: u8,
    calls: u8,
    /// The number of claims so far.
    tokens: Token,
    flights: [Flight; 2],
    messages: BTreeSet<Message>,
    /// How often Stytch has executed the call.
    executions: u8,
    /// Whether Redis has the result, and a failover would not lose it.
    recorded: bool,
    /// Whether a caller got another outcome afterwards, or may get one.
    contradicted: bool,
    /// Whether the result has reached this primary, and no other claim was there.
    arrived: bool,
    /// Whether a claim was granted afterwards.
    claimed_again: bool,
    outcomes: BTreeSet<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Call(usize),
    /// Redis runs the script of a message, and the sender gets the reply or not.
    Deliver(Message, Reply),
    /// A write reaches the replica of Redis, and with it all before it.
    Replicate,
    /// The replica becomes the primary with what it has. The old primary is gone, and its
    /// replacement starts empty.
    FailOver,
    /// The replica has acknowledged the claim.
    Acknowledge(usize),
    /// Redis has not answered, or its replica has not acknowledged in time.
    LoseStore(usize),
    Send(usize),
    /// Stytch could not be reached.
    FailToSend(usize),
    Answer(usize),
    /// A process dies. Its unsent messages to Redis still go out, or do not.
    Crash(usize, Rest),
    EndLease,
    /// The token of a released claim expires.
    ForgetReleased,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Arrives,
    Lost,
    /// It arrives over a new connection, while a copy of the message is in flight on the old one.
    Overtakes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rest {
    GoesOut,
    DoesNot,
}

/// What the script of a claim returns.
enum Claimed {
    Granted,
    Kept(Value),
}

impl State {
    fn respond(&mut self, replica: usize, outcome: Outcome) {
        self.flights[replica] = Flight::None;
        self.outcomes.insert(outcome);
        // It has asked Redis, or has ended before it could.
        self.contradicted |= self.recorded && outcome == Outcome::Unknown;
    }

    fn post(&mut self, script: Script, token: Token, from: usize) {
        self.messages.insert(Message { script, token, from });
    }

    /// Claims the key with a new token.
    fn send_claim(&mut self, replica: usize) {
        self.tokens += 1;
        self.flights[replica] = Flight::Claiming(self.tokens);
        self.post(Script::Claim, self.tokens, replica);
    }

    /// Releases a claim, and reports that nothing was sent.
    fn send_release(&mut self, replica: usize, token: Token) {
        self.post(Script::Release, token, replica);
        self.respond(replica, Outcome::NotSent);
    }

    /// The script `CLAIM`.
    fn claim(&mut self, token: Token) -> Claimed {
        match self.primary {
            Some(kept @ (Value::Ended { .. } | Value::Pending { .. })) if kept.token() != token => {
                Claimed::Kept(kept)
            }
            Some(kept @ (Value::Ended { .. } | Value::Released { .. }))
                if kept.token() == token =>
            {
                Claimed::Kept(kept)
            }
            _ => {
                self.primary = Some(Value::Pending { token, lease: true });
                self.claimed_again |= self.arrived;
                Claimed::Granted
            }
        }
    }

    /// The script `RECORD`.
    fn record(&mut self, token: Token) {
        let is_free = matches!(self.primary, None | Some(Value::Released { .. }));
        self.arrived |= is_free;
        if is_free || self.primary.is_some_and(|kept| kept.token() == token) {
            self.primary = Some(Value::Ended { token });
        }
    }

    /// The script `RELEASE`.
    fn release(&mut self, token: Token) {
        if self.primary.is_none_or(|kept| kept.token() == token) {
            self.primary = Some(Value::Released { token });
        }
    }

    /// What a replica of the service makes of the reply to its claim.
    fn claimed(&mut self, replica: usize, token: Token, claimed: Claimed, waits: bool) {
        match (claimed, self.flights[replica]) {
            (Claimed::Granted, Flight::Claiming(_)) if waits => {
                self.post(Script::Claim, token, replica);
                self.flights[replica] = Flight::Confirming(token);
            }
            (Claimed::Granted, Flight::Confirming(_)) => {
                self.flights[replica] = Flight::Waiting(token, self.failovers);
            }
            (Claimed::Granted, _) => self.flights[replica] = Flight::Granted(token),
            (Claimed::Kept(kept), flight) => {
                let was_granted = matches!(flight, Flight::Confirming(_));
                if was_granted {
                    self.post(Script::Release, token, replica);
                }
                match kept {
                    Value::Ended { .. } => self.respond(replica, Outcome::Replay),
                    Value::Pending { lease: false, .. } => self.respond(replica, Outcome::Unknown),
                    // It asks again, until there is more to say.
                    Value::Pending { .. } if was_granted => self.send_claim(replica),
                    Value::Pending { .. } => self.post(Script::Claim, token, replica),
                    Value::Released { .. } => unreachable!("it was given back, and is waited for"),
                }
            }
        }
    }

    fn deliver(&mut self, message: Message, reply: Reply, waits: bool) {
        if reply != Reply::Overtakes {
            self.messages.remove(&message);
        }
        let Message { script, token, from } = message;
        let flight = self.flights[from];
        match script {
            Script::Claim => {
                let claimed = self.claim(token);
                let is_heard = matches!(flight, Flight::Claiming(_) | Flight::Confirming(_))
                    && flight.token() == Some(token);
                match reply {
                    Reply::Arrives | Reply::Overtakes if is_heard => {
                        self.claimed(from, token, claimed, waits)
                    }
                    // The connection broke, and it is sent once more.
                    Reply::Lost if is_heard => self.post(Script::Claim, token, from),
                    _ => {}
                }
            }
            Script::Record => {
                self.record(token);
                let is_safe = !waits || self.replica == Some(Value::Ended { token });
                // Sent again until the replica has it, too, or another holder's record shows that
                // all is lost.
                if !is_safe && self.primary == Some(Value::Ended { token }) {
                    self.messages.insert(message);
                }
                if flight == Flight::Recording(token) && reply == Reply::Arrives {
                    self.respond(from, Outcome::Answer);
                }
            }
            Script::Release => self.release(token),
        }
    }

    fn crash(&mut self, replica: usize, rest: Rest) {
        self.crashes -= 1;
        self.flights[replica] = Flight::None;
        if rest == Rest::DoesNot {
            self.messages.retain(|message| message.from != replica);
        }
    }

    /// Whether the holder of a pending record will say more.
    fn is_held(&self, token: Token) -> bool {
        self.flights.iter().any(|flight| flight.token() == Some(token))
    }

    /// Whether a message of a claim is still in flight.
    fn is_late(&self, token: Token) -> bool {
        self.messages.iter().any(|message| message.token == token)
    }

    fn end_lease(&mut self) {
        let held = self.primary.map(Value::token);
        for value in [&mut self.primary, &mut self.replica] {
            if let Some(Value::Pending { token, lease }) = value
                && Some(*token) == held
            {
                *lease = false;
            }
        }
    }

    fn look(&mut self, waits: bool) {
        self.has_caught_up |= self.primary == self.replica;
        let has_ended = |value: Option<Value>| matches!(value, Some(Value::Ended { .. }));
        if has_ended(self.primary) && (!waits || has_ended(self.replica)) {
            self.recorded = true;
        }
    }
}

impl Model for Claims {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            primary: None,
            replica: None,
            has_caught_up: true,
            failovers: self.failovers,
            crashes: self.crashes,
            calls: self.calls,
            tokens: 0,
            flights: [Flight::None; 2],
            messages: BTreeSet::new(),
            executions: 0,
            recorded: false,
            contradicted: false,
            arrived: false,
            claimed_again: false,
            outcomes: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for message in &state.messages {
            steps.push(Step::Deliver(*message, Reply::Arrives));
            if message.script != Script::Release {
                steps.push(Step::Deliver(*message, Reply::Lost));
            }
            if message.script == Script::Claim {
                steps.push(Step::Deliver(*message, Reply::Overtakes));
            }
        }
        if state.primary != state.replica {
            steps.push(Step::Replicate);
        }
        if state.failovers > 0 && state.has_caught_up {
            steps.push(Step::FailOver);
        }
        for replica in 0..2 {
            if state.crashes > 0 && state.flights[replica] != Flight::None {
                steps.push(Step::Crash(replica, Rest::GoesOut));
                steps.push(Step::Crash(replica, Rest::DoesNot));
            }
            match state.flights[replica] {
                Flight::None if state.calls > 0 => steps.push(Step::Call(replica)),
                Flight::None => {}
                Flight::Claiming(_) | Flight::Confirming(_) => steps.push(Step::LoseStore(replica)),
                Flight::Waiting(token, connection) => {
                    steps.push(Step::LoseStore(replica));
                    let has_it = state.replica == Some(Value::Pending { token, lease: true });
                    if has_it && connection == state.failovers {
                        steps.push(Step::Acknowledge(replica));
                    }
                }
                Flight::Granted(_) => {
                    steps.extend([Step::Send(replica), Step::FailToSend(replica)]);
                }
                Flight::Sent(_) => steps.push(Step::Answer(replica)),
                Flight::Recording(_) => steps.push(Step::LoseStore(replica)),
            }
        }
        match state.primary {
            Some(Value::Pending { token, lease: true })
                if !state.is_held(token) && (self.is_slow || !state.is_late(token)) =>
            {
                steps.push(Step::EndLease);
            }
            Some(Value::Released { token }) if self.is_slow || !state.is_late(token) => {
                steps.push(Step::ForgetReleased);
            }
            _ => {}
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Call(replica) => {
                state.calls -= 1;
                state.send_claim(replica);
            }
            Step::Deliver(message, reply) => state.deliver(message, reply, self.waits),
            Step::Replicate => state.replica = state.primary,
            Step::FailOver => {
                state.failovers -= 1;
                state.primary = state.replica.take();
                state.has_caught_up = false;
                state.arrived = false;
            }
            Step::Acknowledge(replica) => {
                let token = state.flights[replica].token()?;
                state.flights[replica] = Flight::Granted(token);
            }
            Step::LoseStore(replica) => match state.flights[replica] {
                Flight::Recording(_) => state.respond(replica, Outcome::Answer),
                flight => state.send_release(replica, flight.token()?),
            },
            Step::Send(replica) => {
                let token = state.flights[replica].token()?;
                state.executions += 1;
                state.flights[replica] = Flight::Sent(token);
            }
            Step::FailToSend(replica) => {
                let token = state.flights[replica].token()?;
                state.send_release(replica, token);
            }
            Step::Answer(replica) => {
                let token = state.flights[replica].token()?;
                state.post(Script::Record, token, replica);
                state.flights[replica] = Flight::Recording(token);
            }
            Step::Crash(replica, rest) => state.crash(replica, rest),
            Step::EndLease => state.end_lease(),
            Step::ForgetReleased => {
                if state.replica == state.primary {
                    state.replica = None;
                }
                state.primary = None;
            }
        }
        state.look(self.waits);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(EXECUTED_ONCE, |_, state: &State| state.executions <= 1),
            Property::always(RESULT_STAYS, |_, state: &State| !state.contradicted),
            Property::always(NOT_CLAIMED_ANEW, |_, state: &State| !state.claimed_again),
            Property::always(NOTHING_STUCK, |model: &Self, state: &State| {
                let mut steps = Vec::new();
                model.actions(state, &mut steps);
                let goes_on = steps.into_iter().any(|step| model.next_state(state, step).is_some());
                goes_on || (state.flights == [Flight::None; 2] && !is_pending(state.primary))
            }),
            Property::sometimes("an answer", |_, state: &State| {
                state.outcomes.contains(&Outcome::Answer)
            }),
            Property::sometimes("a replay", |_, state: &State| {
                state.outcomes.contains(&Outcome::Replay)
            }),
            Property::sometimes(UNKNOWN, |_, state: &State| {
                state.outcomes.contains(&Outcome::Unknown)
            }),
            Property::sometimes("not sent, then sent", |_, state: &State| {
                state.outcomes.contains(&Outcome::NotSent) && state.executions == 1
            }),
        ]
    }
}

const EXECUTED_ONCE: &str = "a call is executed once at most";
const RESULT_STAYS: &str = "a result that is recorded is what everybody gets";
const NOT_CLAIMED_ANEW: &str =
    "while a primary lasts, no claim is granted once it was given the result";
const UNKNOWN: &str = "unknown";
const NOTHING_STUCK: &str = "no key is stuck for ever";

fn is_pending(value: Option<Value>) -> bool {
    matches!(value, Some(Value::Pending { lease: true, .. }))
}

#[test]
fn while_redis_keeps_what_it_has_a_call_is_executed_once() {
    let model = Claims { waits: false, is_slow: true, failovers: 0, crashes: 2, calls: 3 };

    model.checker().threads(2).spawn_bfs().join().assert_properties();
}

#[test]
fn a_claim_that_comes_after_its_release_leaves_nothing_behind() {
    let model = Claims { waits: false, is_slow: false, failovers: 0, crashes: 0, calls: 2 };

    let checked = model.checker().threads(2).spawn_bfs().join();

    // Of one. Of two at once, the second may hide that the first was given back.
    checked.assert_no_discovery(UNKNOWN);
    checked.assert_no_discovery(EXECUTED_ONCE);
}

#[test]
fn with_an_acknowledgement_by_the_replica_that_holds_across_failovers() {
    let model = Claims { waits: true, is_slow: true, failovers: 1, crashes: 1, calls: 3 };

    model.checker().threads(2).spawn_bfs().join().assert_properties();
}

#[test]
fn without_it_a_failover_doubles_a_call() {
    let model = Claims { waits: false, is_slow: false, failovers: 1, crashes: 0, calls: 2 };

    let checked = model.checker().threads(2).spawn_bfs().join();

    let doubled = checked.discovery(EXECUTED_ONCE).expect("the loss that WAIT is for");
    let steps = doubled.into_actions();
    assert!(steps.contains(&Step::FailOver), "{steps:?}");
}

#[test]
fn a_result_whose_claim_was_lost_replaces_a_released_claim() {
    let model = Claims { waits: false, is_slow: true, failovers: 1, crashes: 0, calls: 3 };

    let checked = model.checker().threads(2).spawn_bfs().join();

    checked.assert_no_discovery(NOT_CLAIMED_ANEW);
    checked.assert_no_discovery(NOTHING_STUCK);
}
