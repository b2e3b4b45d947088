//! Turns: how many calls of one connection are served at a time.
//!
//! HTTP/2 lets a connection have more streams than that. A call that waits for its audit event
//! holds a stream but no turn, so that calls which owe none are served meanwhile. Others wait for
//! their turn here, as they would at the client for a stream.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// The turns of a connection.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: AtomicUsize,
    queued: AtomicUsize,
    freed: Notify,
}

/// A turn, given back on drop.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Turns>);

/// One who waits for a turn, counted until drop.
struct Queued<'a>(&'a AtomicUsize);

impl Turn {
    /// Takes a turn. Waits while `limit` of them are taken on the connection.
    pub(crate) async fn take(turns: &Arc<Turns>, limit: usize) -> Self {
        if !turns.try_take(limit) {
            turns.wait(limit).await;
        }
        Self(Arc::clone(turns))
    }
}

impl Turns {
    fn try_take(&self, limit: usize) -> bool {
        let below_limit = |taken| (taken < limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, below_limit).is_ok()
    }

    async fn wait(&self, limit: usize) {
        // With `give_back`, in one order for all: either that sees who waits, or who waits sees
        // what is given back.
        self.queued.fetch_add(1, Ordering::SeqCst);
        let _queued = Queued(&self.queued);
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.try_take(limit) {
                return;
            }
            freed.await;
        }
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::SeqCst);
        if self.queued.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn each_turn_that_is_given_back_is_taken_by_one_who_waits() {
        let turns = Arc::new(Turns::default());
        let take = || Box::pin(Turn::take(&turns, 2));
        let (first, second) = (take().await, take().await);
        let (mut third, mut fourth, mut gone) = (take(), take(), take());
        assert!(poll!(&mut gone).is_pending());
        assert!(poll!(&mut third).is_pending() && poll!(&mut fourth).is_pending());

        drop(first);
        drop(gone);
        let third = third.await;
        assert!(poll!(&mut fourth).is_pending());
        drop(second);
        let fourth = fourth.await;
        drop((third, fourth));

        drop((take().await, take().await));
        assert_eq!(turns.taken.load(Ordering::SeqCst), 0);
    }
}
