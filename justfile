# What CI runs; .ci/run installs what it takes.

default: format buf lint doc test

# The formatting is rustfmt's.
format:
    cargo fmt --check

# Warnings are errors.
lint:
    cargo clippy --locked --all-targets -- -D warnings

# The README's own command.
test:
    bash -c "$(python3 .ci/readme.py --test)"

# Documentation builds, and its links lead somewhere.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# The contract.
buf:
    buf lint
    buf format --diff --exit-code

# Licences, sources and doubled versions of the dependencies; needs cargo-deny.
deny:
    cargo deny --locked check bans licenses sources

# Known vulnerabilities of the dependencies; needs cargo-deny and the internet.
advisories:
    cargo deny --locked check advisories

# Prints the tables of docs/errors.md, docs/retries.md and docs/settings.md again.
docs:
    UPDATE_DOCS=1 cargo test --locked --test it the_published_tables

# The README's commands, as a newcomer types them.
readme:
    python3 .ci/readme.py

# The examples that run without more than Python and Node.js.
examples:
    python3 .ci/examples.py

# The retry policies of docs/retries.md, in gRPC and in Envoy.
mesh:
    python3 .ci/mesh.py

# Who is let in by docs/callers.md: grpcurl, gRPC's C core, and through Envoy.
callers:
    python3 .ci/callers.py

# What is decided by the order of events, in every order: the send gate and the circuit breaker.
models:
    CARGO_TARGET_DIR=target cargo test --locked --quiet --manifest-path models/Cargo.toml

# The fuzz targets compile; needs a C++ compiler.
fuzz-check:
    CARGO_TARGET_DIR=target cargo check --locked --manifest-path fuzz/Cargo.toml

# Ten minutes of one of fuzz/fuzz_targets, ten seconds for an input that hangs; needs cargo-fuzz and a nightly toolchain, or RUSTC_BOOTSTRAP=1.
fuzz TARGET:
    mkdir -p fuzz/corpus/{{TARGET}} fuzz/seeds/{{TARGET}}
    cargo fuzz run {{TARGET}} fuzz/corpus/{{TARGET}} fuzz/seeds/{{TARGET}} tests/it/fixtures/stytch -- \
        -max_total_time=600 -timeout=10 -max_len=16384
