//! Values that each runtime has for itself.

use std::sync::{Mutex, PoisonError};

use thread_local::ThreadLocal;
use tokio::runtime::{Handle, Id};

/// A value of its own for each runtime, such as connections: what is awaited on one runtime and
/// driven by another wakes a thread each time.
///
/// Each thread keeps a clone, so threads share no lock. For values that live as long as the threads
/// that use them: a thread that ends leaves its clone to the next one that starts.
#[derive(Debug)]
pub(crate) struct PerRuntime<T: Send> {
    /// For each thread, the value of its runtime.
    of_threads: ThreadLocal<T>,
    of_runtimes: Mutex<Vec<(Id, T)>>,
}

impl<T: Clone + Send> PerRuntime<T> {
    /// Returns the value of this runtime. `make` makes it, if it is new.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub(crate) fn get_or(&self, make: impl FnOnce() -> T) -> &T {
        self.of_threads.get_or(|| self.of_runtime(Handle::current().id(), make))
    }

    fn of_runtime(&self, runtime: Id, make: impl FnOnce() -> T) -> T {
        let mut runtimes = self.of_runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, value)) = runtimes.iter().find(|(of, _)| *of == runtime) {
            return value.clone();
        }
        let value = make();
        runtimes.push((runtime, value.clone()));
        value
    }
}

impl<T: Send> Default for PerRuntime<T> {
    fn default() -> Self {
        Self { of_threads: ThreadLocal::new(), of_runtimes: Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn the_threads_of_a_runtime_share_a_value_and_other_runtimes_have_their_own() {
        let (values, made) = (Arc::<PerRuntime<usize>>::default(), Arc::<AtomicUsize>::default());
        let value = move || *values.get_or(|| made.fetch_add(1, Relaxed));
        let runtimes = [3, 2].map(|threads| {
            let runtime = Builder::new_multi_thread().worker_threads(threads).build().unwrap();
            (runtime, threads)
        });

        let of_all = runtimes.each_ref().map(|(runtime, threads)| {
            // Each task needs a thread of its own.
            let all = Arc::new(Barrier::new(*threads));
            let tasks = (0..*threads).map(|_| {
                let (all, value) = (Arc::clone(&all), value.clone());
                runtime.spawn(async move {
                    all.wait();
                    value()
                })
            });
            let tasks: Vec<_> = tasks.collect();
            tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).collect::<Vec<_>>()
        });

        assert_eq!(of_all, [vec![0; 3], vec![1; 2]]);
    }
}
