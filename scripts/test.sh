#!/usr/bin/env bash
#
# Everything there is to check, on a Debian 12 machine, as root:
#
#   scripts/test.sh            all of it, but a part of the disturbances (another part each day)
#   scripts/test.sh full       all of it
#   scripts/test.sh quick      only what needs neither an engine nor the static build
#   scripts/test.sh engine ENGINE [ARGUMENT...]
#                              the engine tests on one engine (scripts/lab.sh names them), or
#                              those that match: engine docker-28.5 engine::crash --nocapture
#
# It installs what it needs (engines, a registry, musl-gcc, a Rust target), starts private,
# throw-away engines, each in a network of its own, and leaves none behind.

set -euo pipefail
cd "$(dirname "$0")/.."

TARGET=$(uname -m)-unknown-linux-musl
ENGINES=(docker-20.10 docker-28.5 podman-5.8)
# Tests that disturb a swap at each of its moments: the longest, and kept from the others.
DISTURBANCES=(engine::crash engine::fault)
export RUST_BACKTRACE=0 CARGO_TERM_COLOR=never

usage() {
  sed -n '3,/^$/{s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

step() { printf '\n== %s\n' "$*"; }

static_checks() {
  step 'format'
  cargo fmt --all --check
  step 'clippy'
  cargo clippy --all-targets --locked -- -D warnings
  step 'docs'
  RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items --locked
}

# share N: which of N parts is today's.
share() { echo "$((10#$(date +%j) % $1 + 1))/$1"; }

share_of() {
  case $1 in
    docker-20.10) share 3 ;;
    docker-28.5) share 4 ;;
    *) share 6 ;;
  esac
}

# Each engine has a network and a folder of its own, so that several run side by side, and beside
# a Docker of yours.
folder_of() { echo "/tmp/imagewatch-lab-$1"; }

# Inside its network: the engine tests that cargo test's arguments choose.
tests_with() {
  cargo test --locked --offline --test tests -- --test-threads 8 "$@"
}

inside() {
  local engine=$1 socket
  shift
  ip link set lo up
  # shellcheck disable=SC2064 # $engine is gone when the trap runs
  trap "scripts/lab.sh down '$engine'" EXIT
  socket=$(scripts/lab.sh up "$engine")
  export LAB_ENGINE=$socket LAB_ENGINE_RESTART="scripts/lab.sh restart $engine >/dev/null"
  if (($#)); then
    tests_with "$@"
  else
    # shellcheck disable=SC2046 # two words per test
    tests_with engine:: $(printf -- '--skip %s ' "${DISTURBANCES[@]}")
    # The others wait for containers most of the time; these need the whole machine.
    exec 8<"$TURNS"
    flock 8
    tests_with "${DISTURBANCES[@]}"
  fi
}

engine_tests() {
  local engine=$1
  export TURNS=${LOGS:-/run}
  IMAGEWATCH_LAB=$(folder_of "$engine") unshare --net "$BASH" "$0" _inside "$@"
}

# Side by side; what they print comes at the end of each. A process group each, so that an
# interrupted run can end them with all their children.
LOGS='' RUNS=() FULL=''

start_engine() {
  if [[ -z $FULL ]]; then
    LAB_SHARE=$(share_of "$1")
    export LAB_SHARE
  fi
  set -m
  engine_tests "$1" >"$LOGS/$1" 2>&1 </dev/null &
  set +m
  RUNS+=("$! $1")
}

await_oldest() {
  local pid engine status=0
  read -r pid engine <<<"${RUNS[0]}"
  wait "$pid" || status=$?
  RUNS=("${RUNS[@]:1}")
  step "engine tests on $engine"
  cat "$LOGS/$engine"
  return $status
}

all_engine_tests() {
  local engine
  LOGS=$(mktemp -d)
  for engine in "${ENGINES[@]}"; do start_engine "$engine"; done
  while ((${#RUNS[@]})); do await_oldest; done
}

# Nothing outlives a run, whatever ended it.
finish() {
  local run
  for run in "${RUNS[@]}"; do
    kill -TERM -- "-${run% *}" 2>/dev/null || true
    wait "${run% *}" 2>/dev/null || true
    IMAGEWATCH_LAB=$(folder_of "${run#* }") scripts/lab.sh down --all || true
  done
  [[ -z $LOGS ]] || rm -rf "$LOGS"
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

case ${1-} in
  '') ;;
  full) FULL=1 ;;
  quick)
    static_checks
    step 'unit and wire tests'
    cargo test --locked
    exit
    ;;
  engine)
    [[ -n ${2-} ]] || usage
    scripts/lab.sh install "$2"
    cargo test --locked --test tests --no-run
    shift
    engine_tests "$@"
    exit
    ;;
  _inside)
    shift
    inside "$@"
    exit
    ;;
  *) usage ;;
esac

trap finish EXIT
static_checks
step 'what the tests need'
scripts/lab.sh install "${ENGINES[@]}"
step 'unit and wire tests'
cargo test --locked
all_engine_tests
static_build
dockerfile
step 'all is well'
