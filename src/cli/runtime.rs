//! The runtime of the subcommands.

use tokio::runtime::Builder;

use super::failure::Failure;

/// Runs a subcommand on this thread. What `serve` has to do there besides accepting connections is
/// little; the server starts threads for the connections where there are CPUs for them.
pub(super) fn wait_for<T>(command: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::run(&error))?;
    let result = runtime.block_on(command);
    // Drops the tasks, and waits neither for a DNS lookup nor for a file on a mount that hangs.
    runtime.shutdown_background();
    Ok(result)
}
