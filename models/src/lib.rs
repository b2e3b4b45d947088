//! Nothing is here but the models, which are in `tests/`. They compile the service's own source files, with the
//! atomics of a model checker in place of the standard library's.
