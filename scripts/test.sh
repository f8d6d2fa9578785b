#!/usr/bin/env bash
#
# Everything there is to check, on a Debian 12 machine, as root:
#
#   scripts/test.sh            all of it
#   scripts/test.sh quick      only what needs neither an engine nor the static build
#
# It installs what it needs (engines, a registry, musl-gcc, a Rust target), starts private,
# throw-away engines one after the other, and leaves none behind.

set -euo pipefail
cd "$(dirname "$0")/.."

TARGET=$(uname -m)-unknown-linux-musl
ENGINES=(docker-20.10 docker-28.5)
export RUST_BACKTRACE=0 CARGO_TERM_COLOR=never

step() { printf '\n== %s\n' "$*"; }

static_checks() {
  step 'format'
  cargo fmt --all --check
  step 'clippy'
  cargo clippy --all-targets --locked -- -D warnings
  step 'docs'
  RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items --locked
}

# The scripts a test runs must not outlive it.
finish() {
  scripts/lab.sh down --all || true
}

engine_tests() {
  local engine=$1 socket
  step "engine tests on $engine"
  socket=$(scripts/lab.sh up "$engine")
  LAB_ENGINE=$socket LAB_ENGINE_RESTART="scripts/lab.sh restart $engine >/dev/null" \
    cargo test --locked --test tests engine:: -- --test-threads 4
  scripts/lab.sh down "$engine"
}

static_build() {
  step "static build for $TARGET"
  rustup target add "$TARGET"
  cargo build --locked --release --target "$TARGET"
  LAB_BINARY=$PWD/target/$TARGET/release/imagewatch \
    cargo test --locked --test tests budget:: -- --test-threads 1
}

dockerfile() {
  step 'Dockerfile.alpine'
  scripts/dockerfile-test.sh "target/$TARGET/release/imagewatch"
}

static_checks
if [[ ${1-} == quick ]]; then
  step 'unit and wire tests'
  cargo test --locked
  exit
fi

trap finish EXIT
step 'what the tests need'
scripts/lab.sh install "${ENGINES[@]}"
step 'unit and wire tests'
cargo test --locked
for engine in "${ENGINES[@]}"; do engine_tests "$engine"; done
static_build
dockerfile
step 'all is well'
