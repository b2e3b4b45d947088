//! The signals that stop a subcommand.

use std::{io, sync::mpsc, thread, time::Duration};

use tokio::sync::watch;

use super::{exit, failure::Failure, runtime};
use crate::telemetry;

/// Returns a future that ends at the first signal to stop. A second signal ends the process.
/// Signals are caught from the call on, before the future is polled, on a thread of their own:
/// every other thread may wait for the disk that standard error is on.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let (stop, mut stopped) = watch::channel(false);
    let (started, has_started) = mpsc::channel();
    let catch = move || {
        let caught = runtime::wait_for(async {
            let signals = Signals::new().map_err(|error| Failure::run(&error));
            let mut signals = match signals {
                Ok(signals) => signals,
                Err(failure) => return drop(started.send(Err(failure))),
            };
            let _ = started.send(Ok(()));
            signals.next().await;
            stop.send_replace(true);
            signals.next().await;
            exit_at_once();
        });
        if let Err(failure) = caught {
            drop(started.send(Err(failure)));
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(catch);
    thread.map_err(|error| Failure::run(&error))?;
    has_started.recv().map_err(|error| Failure::run(&error))??;
    Ok(async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    })
}

/// How long a process that ends at once may take to say so.
const LAST_WORDS: Duration = Duration::from_millis(200);

fn exit_at_once() -> ! {
    let (said, is_said) = mpsc::channel();
    thread::spawn(move || {
        tracing::error!("stopped by a second signal; open calls are cut");
        let _ = said.send(telemetry::flush());
    });
    let _ = is_said.recv_timeout(LAST_WORDS);
    std::process::exit(exit::FAILURE.into())
}

/// The signals that ask a process to stop.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use rustix::process::Signal;
        use tokio::signal::unix::{SignalKind, signal};

        // Once it is caught, a write beyond the limit on a file's size fails. Otherwise it would
        // end the process, for standard error may be such a file.
        drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The signals that ask a process to stop.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
