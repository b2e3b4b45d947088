//! The runtimes of the subcommands.

use tokio::runtime::{Builder, Runtime};

use super::failure::Failure;

/// Returns the runtime of the main thread. What `serve` has to do there besides accepting
/// connections is little; the server starts threads for the connections where there are CPUs for
/// them.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| Failure::run(&error))
}

/// Waits for a call to end.
pub(super) fn wait_for<T>(call: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(call);
    // Does not wait for a DNS lookup that is still running.
    runtime.shutdown_background();
    Ok(result)
}
