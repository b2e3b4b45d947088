//! The clients of one runtime: as many as its requests in flight need.
//!
//! Over HTTP/2 a client has one connection to a host, and a request beyond the streams that the
//! host allows on it waits, unseen. So a client gets as many requests at once as any host should
//! allow (RFC 9113, section 6.5.2: at least 100 streams), and the next request goes to another
//! client, with a connection of its own. The first ones are preferred, so that the connections of
//! the others are idle, and close, once they are no longer needed.

use std::{
    ops::Deref,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use reqwest::Client;

/// The requests in flight that a client has before another one is used.
const MAX_REQUESTS: usize = 100;

/// The clients of one runtime. With more requests in flight than they all should have, the last one
/// gets the rest.
const MAX_CLIENTS: usize = 64;

/// The clients of one runtime, each built when it is first needed.
#[derive(Debug)]
pub(super) struct Clients([Slot; MAX_CLIENTS]);

impl Default for Clients {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Slot::default()))
    }
}

#[derive(Debug, Default)]
struct Slot {
    client: OnceLock<Client>,
    requests: AtomicUsize,
}

impl Clients {
    /// Returns a client for one more request. `build` builds it, if it is new.
    pub(super) fn lease(&self, build: impl FnOnce() -> Client) -> Lease<'_> {
        let Self(slots) = self;
        let lease = Lease(slots.iter().find(|slot| slot.admits()).unwrap_or_else(|| {
            let last = &slots[MAX_CLIENTS - 1];
            last.requests.fetch_add(1, Relaxed);
            last
        }));
        lease.0.client.get_or_init(build);
        lease
    }
}

impl Slot {
    /// Counts one more request, unless there are enough.
    fn admits(&self) -> bool {
        let more = |requests| (requests < MAX_REQUESTS).then_some(requests + 1);
        self.requests.fetch_update(Relaxed, Relaxed, more).is_ok()
    }
}

/// A client for one request, which counts as in flight until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease<'a>(&'a Slot);

impl Deref for Lease<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.0.client.get().expect("`lease` has built it")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leases a client, and counts it in `built` if it is new.
    fn lease<'a>(clients: &'a Clients, built: &mut usize) -> Lease<'a> {
        clients.lease(|| {
            *built += 1;
            Client::new()
        })
    }

    #[test]
    fn requests_share_as_few_clients_as_they_need_and_return_to_the_first() {
        let (clients, mut built) = (Clients::default(), 0);
        let mut leases: Vec<_> = (0..100).map(|_| lease(&clients, &mut built)).collect();
        assert_eq!(built, 1);

        let other = lease(&clients, &mut built);
        assert_eq!(built, 2, "another client");

        leases.pop();
        leases.push(lease(&clients, &mut built));
        assert_eq!(built, 2);
        assert_eq!(clients.0[0].requests.load(Relaxed), 100, "the first has room again");
        drop((leases, other));
        assert_eq!(clients.0[0].requests.load(Relaxed), 0);
    }

    #[test]
    fn more_requests_than_all_clients_should_have_are_still_sent() {
        let (clients, mut built) = (Clients::default(), 0);

        let leases: Vec<_> =
            (0..MAX_CLIENTS * MAX_REQUESTS + 5).map(|_| lease(&clients, &mut built)).collect();

        assert_eq!(built, MAX_CLIENTS);
        drop(leases);
        assert_eq!(clients.0[0].requests.load(Relaxed), 0);
    }
}
