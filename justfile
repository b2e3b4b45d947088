# What CI runs; see .ci/run for the tools it installs.

default: format lint test doc buf deny

# The formatting is rustfmt's.
format:
    cargo fmt --check

# Warnings are errors.
lint:
    cargo clippy --locked --all-targets -- -D warnings

test:
    cargo test --locked

# Documentation builds, and its links lead somewhere.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# The contract.
buf:
    buf lint
    buf format --diff --exit-code

# Licences, sources and known vulnerabilities of the dependencies.
deny:
    cargo deny check

# Prints the status table of docs/errors.md anew.
docs:
    UPDATE_DOCS=1 cargo test --locked --test it the_published_table

# The README's commands, as a newcomer types them.
readme:
    python3 .ci/readme.py
