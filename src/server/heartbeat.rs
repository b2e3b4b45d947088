//! The heartbeat of a server, for a service manager that restarts one that hangs.

use std::time::Duration;

use tokio::{runtime::Handle, time::interval};

/// A function to call at intervals while every thread still serves.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// The time between two calls.
    pub every: Duration,
    /// The function.
    pub beat: fn(),
}

impl Heartbeat {
    /// Beats while each of these runtimes runs its tasks. The first that hangs ends it.
    pub(super) async fn run(self, threads: Vec<Handle>) {
        let mut ticks = interval(self.every);
        loop {
            ticks.tick().await;
            for thread in &threads {
                let _ = thread.spawn(async {}).await;
            }
            (self.beat)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            atomic::{AtomicU32, Ordering},
            mpsc,
        },
        thread,
    };

    use tokio::{runtime::Builder, time::sleep};

    use super::*;

    #[tokio::test]
    async fn the_heartbeat_stops_while_one_thread_hangs() {
        static BEATS: AtomicU32 = AtomicU32::new(0);
        let other = Builder::new_current_thread().build().unwrap();
        let threads = vec![Handle::current(), other.handle().clone()];
        let (go_on, hangs) = mpsc::channel::<()>();
        thread::spawn(move || {
            other.block_on(async {
                let _ = hangs.recv();
                pending::<()>().await;
            });
        });
        let every = Duration::from_millis(5);
        let beat = || {
            BEATS.fetch_add(1, Ordering::Relaxed);
        };
        let beats = tokio::spawn(Heartbeat { every, beat }.run(threads));

        sleep(10 * every).await;
        assert_eq!(BEATS.load(Ordering::Relaxed), 0, "one hangs");
        drop(go_on);
        while BEATS.load(Ordering::Relaxed) < 3 {
            sleep(every).await;
        }

        beats.abort();
    }
}
