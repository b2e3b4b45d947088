//! Nothing is here but the models, which are in `tests/`. Those of atomics compile the service's
//! own source files, with the atomics of a model checker in place of the standard library's; that
//! of claims names its steps as `src/idempotency/redis/scripts.rs` does.
