#!/usr/bin/env bash
#
# Everything there is to check, on a Debian 12 machine, as root:
#
#   scripts/test.sh            all of it, but on one of the engines, and a third on another one; of
#                              the longest tests a part: another choice each day, in half an hour
#   scripts/test.sh full       all of it on every engine, in an hour
#   scripts/test.sh quick      only what needs neither an engine nor the static build
#   scripts/test.sh engine ENGINE [ARGUMENT...]
#                              the engine tests on one engine (scripts/lab/lab.sh names them), or
#                              those that match: engine docker-28.5 engine::swap::kill --nocapture
#   scripts/test.sh swarm [ARGUMENT...]
#                              the tests with a swarm of three managers, or those that match, in ten minutes
#   scripts/test.sh soak ENGINE [DAYS]
#                              the week of docs/dev/reliability.md, or some days, with the static
#                              binary: an hour for a week; LAB_SOAK_SEED=N draws week N again
#   scripts/test.sh storm ENGINE FROM COUNT
#                              storms FROM and on of docs/dev/reliability.md; those of several runs at a
#                              time are in each other's way only as far as they share the machine
#
# It installs what it needs (engines, a registry, musl-gcc, a Rust target), starts private,
# throw-away engines, each in a network of its own, and leaves none behind.

set -euo pipefail
cd "$(dirname "$0")/.."

TARGET=$(uname -m)-unknown-linux-musl
ENGINES=(docker-20.10 docker-28.5 podman-5.8 podman-4.3)
# Those that take turns in the daily run. Podman 4.3 takes twice as long: `full` and the workflow run it.
TURNS=(docker-20.10 docker-28.5 podman-5.8)
# Tests that disturb a swap at each of its moments: the longest, and kept from the others.
DISTURBANCES=(engine::swap::kill:: engine::swap::kill_among_others engine::swap::fault)
# The same of the program's own container. On an Engine of its own, because its images and its load are large.
OWN_DISTURBANCES=(engine::swap::kill_itself engine::swap::power_cut_itself engine::swap::prune_itself)
# A filter matches anywhere in a name: `wire::engine` has to be left out by name.
CALM=(engine:: --skip wire:: --skip engine::swap::kill --skip engine::swap::fault --skip engine::swap::power_cut --skip engine::swap::prune_itself)
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

# Each run has a folder and each engine a network of its own, so that it gets in nobody's way: not in
# that of a Docker of yours, nor of another run.
LABS=
BUILD=
INSTALLATION=
begin() {
  sweep
  LABS=$(mktemp -d /tmp/imagewatch-lab.XXXXXX)
  exec 8>"$LABS/lock"
  flock -n 8
  trap finish EXIT
}

# Ends the engines of runs that were killed: those hold their lock no more. Somebody else's folder is not
# looked at, because it might name any process as an engine's.
sweep() {
  local folder
  for folder in /tmp/imagewatch-lab.*; do
    [[ -O $folder && -f $folder/lock ]] || continue
    if flock -n "$folder/lock" true; then end_engines "$folder"; fi
  done
}

end_engines() {
  local engine
  for engine in "${ENGINES[@]}"; do
    IMAGEWATCH_LAB=$1/$engine scripts/lab/lab.sh down "$engine" || true
  done
  [[ ! -d $1/swarm ]] || IMAGEWATCH_LAB=$1/swarm scripts/lab/swarm.sh down || true
  rm -rf "$1"
}

finish() {
  [[ -z $BUILD ]] || kill "$BUILD" 2>/dev/null || true
  # Packages are not left half installed.
  [[ -z $INSTALLATION ]] || wait "$INSTALLATION" || true
  end_engines "$LABS"
}

# A certificate authority that only the Engine and the tests know, and a server of its at an address
# that is not a loopback one: to those Engines are lenient.
PRIVATE_ADDRESS=10.99.0.1
make_certificates() {
  local to=$1
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
    -subj /CN=imagewatch-lab -keyout "$to/ca.key" -out "$to/ca.pem"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -subj "/CN=$PRIVATE_ADDRESS" -keyout "$to/key.pem" -out "$to/server.csr"
  openssl x509 -req -in "$to/server.csr" -CA "$to/ca.pem" -CAkey "$to/ca.key" -days 2 \
    -extfile <(printf 'subjectAltName=IP:%s\nbasicConstraints=CA:FALSE\n' "$PRIVATE_ADDRESS") \
    -out "$to/cert.pem"
  # A client's, with the kind of key that Docker's own pages make.
  mkdir "$to/client"
  openssl req -newkey rsa:2048 -nodes -subj /CN=client \
    -keyout "$to/client/key.pem" -out "$to/client.csr"
  openssl x509 -req -in "$to/client.csr" -CA "$to/ca.pem" -CAkey "$to/ca.key" -days 2 \
    -extfile <(printf 'extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n') \
    -out "$to/client/cert.pem"
  cp "$to/ca.pem" "$to/client"
}

# Copies of the tests and of the program, for a run that lasts while somebody builds again.
keep_build() {
  local tests
  tests=$(cargo test --locked --test tests --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
  KEPT=$LABS/tests
  cp "$tests" "$KEPT"
  cp "${CARGO_TARGET_DIR:-target}/debug/imagewatch" "$LABS/imagewatch"
  export KEPT LAB_BINARY=$LABS/imagewatch
}

# A build of the first version that updates itself, if its commit is here: what one version has begun the other one ends.
EARLIER=780959c4525a73925096220a9e3f993c21b39f34
build_earlier() {
  step "an earlier version"
  if ! git cat-file -e "$EARLIER" 2>/dev/null; then
    echo 'left out: its commit is not in this clone'
    return
  fi
  mkdir "$LABS/earlier"
  git archive "$EARLIER" | tar -x -C "$LABS/earlier"
  cargo build --quiet --locked --manifest-path "$LABS/earlier/Cargo.toml" --target-dir "$LABS/earlier/target"
  export LAB_EARLIER_BINARY=$LABS/earlier/target/debug/imagewatch
}

# Inside its network: the tests that cargo test's arguments choose.
inside() {
  local engine=$1 socket tls
  shift
  ip link set lo up
  ip address add "$PRIVATE_ADDRESS/32" dev lo
  tls=$(mktemp -d)
  # shellcheck disable=SC2064 # $engine is gone when the trap runs
  trap "scripts/lab/lab.sh down '$engine'; rm -rf '$tls'" EXIT
  make_certificates "$tls" 2>/dev/null
  socket=$(LAB_DAEMON_ENV="SSL_CERT_FILE=$tls/ca.pem" LAB_DAEMON_TLS="$PRIVATE_ADDRESS:2376 $tls" \
    scripts/lab/lab.sh up "$engine")
  local tests=(cargo test --locked --offline --test tests --)
  [[ -z ${KEPT-} ]] || tests=("$KEPT")
  LAB_ENGINE=$socket LAB_TLS=$tls LAB_TLS_ADDRESS=$PRIVATE_ADDRESS LAB_ENGINE_NAME=$engine \
    LAB_COMPOSE=$(scripts/lab/lab.sh compose) "${tests[@]}" --test-threads 64 "$@"
}

engine_tests() {
  step "on $1: ${*:2}"
  # An engine that outlives this run does not hold its lock.
  IMAGEWATCH_LAB=$LABS/$1 unshare --net "$BASH" "$0" _inside "$@" 8>&-
}

# Inside a network of its own, with three engines in three others.
inside_swarm() {
  local sockets tests=(cargo test --locked --offline --test tests --)
  trap 'scripts/lab/swarm.sh down' EXIT
  mapfile -t sockets < <(scripts/lab/swarm.sh up)
  [[ ${#sockets[@]} == 3 ]] || { echo 'the nodes did not come up' >&2; exit 1; }
  [[ -z ${KEPT-} ]] || tests=("$KEPT")
  LAB_ENGINE=${sockets[0]} LAB_SWARM="${sockets[*]}" "${tests[@]}" --test-threads 64 "$@"
}

swarm_tests() {
  step "on three managers: $*"
  IMAGEWATCH_LAB=$LABS/swarm unshare --net "$BASH" "$0" _inside_swarm "$@" 8>&-
}

all_tests_on() {
  engine_tests "$1" "${CALM[@]}"
  engine_tests "$1" "${DISTURBANCES[@]}"
  engine_tests "$1" "${OWN_DISTURBANCES[@]}"
}

# What there is time for in one run, with room for a slow machine: on one of the engines half of what takes long
# (most tests that have the Engine to themselves: the soak, storms, outages, prunes), and an eighteenth of the
# disturbances, of which there are some 560; on another one a third of the other tests. Another day, another choice.
DAY=$((10#$(date +%j)))
OWN_TURNS=(engine::swap::kill_itself engine::swap::power_cut_itself engine::swap::prune_itself)
LEFT_OUT=(
  '--skip engine::soak --skip engine::watch::outage --skip engine::service::a_process'
  '--skip engine::storm --skip engine::swap::prune --skip engine::service::an_update'
)
THIRDS=(
  'engine::swap:: --skip engine::swap::kill --skip engine::swap::fault --skip engine::swap::power_cut --skip engine::swap::successor --skip engine::swap::prune'
  'engine::update:: engine::watch:: --skip engine::watch::outage --skip engine::update::side_by_side'
  'engine:: --skip engine::swap:: --skip engine::update:: --skip engine::watch:: --skip engine::soak --skip engine::storm --skip engine::service'
)
today() {
  local count=${#TURNS[@]}
  echo "${TURNS[DAY % count]} ${TURNS[(DAY + 1) % count]}"
}

tests_of_the_day() {
  local one other turn=$((DAY / ${#TURNS[@]}))
  read -r one other < <(today)
  # shellcheck disable=SC2086 # several words
  engine_tests "$one" "${CALM[@]}" ${LEFT_OUT[DAY % 2]}
  # shellcheck disable=SC2086 # several words
  engine_tests "$other" ${THIRDS[turn % 3]} --skip wire::
  export LAB_SHARE=$((turn % 18 + 1))/18
  engine_tests "$one" "${DISTURBANCES[@]}"
  engine_tests "$one" "${OWN_TURNS[DAY % 3]}"
  unset LAB_SHARE
}

# It mostly waits for the network and the disk.
begin_installation() {
  scripts/lab/lab.sh install "$@" 8>&- &
  INSTALLATION=$!
}

await_installation() {
  step 'what the tests need'
  wait "$INSTALLATION"
  INSTALLATION=
}

# The build with the feature `keyless`: its verifier, and its variables. It has a folder of its own, because Cargo locks
# the other one.
keyless() {
  CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/keyless \
    nice -n 19 cargo test --quiet --locked --features keyless --lib "$@"
}

keyless_tests() {
  step 'imagewatch:keyless'
  keyless -- trust:: config::
}

# Images that a workflow signed, on real engines.
keyless_engine_tests() {
  local tests engine
  tests=$(CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/keyless \
    cargo test --locked --features keyless --test tests --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
  for engine in docker-28.5 podman-5.8; do
    KEPT=$tests LAB_BINARY=${tests%/deps/*}/imagewatch engine_tests "$engine" engine::update::signed
  done
}

# Tests of peers and of engines mostly wait, so there is time for it meanwhile.
begin_static_build() {
  rustup --quiet target add "$TARGET"
  {
    nice -n 19 cargo build --quiet --locked --release --target "$TARGET"
    keyless --no-run
  } &
  BUILD=$!
}

STATIC=${CARGO_TARGET_DIR:-$PWD/target}/$TARGET/release/imagewatch

await_static_build() {
  step "static build for $TARGET"
  wait "$BUILD"
  BUILD=
}

static_build() {
  await_static_build
  LAB_BINARY=$STATIC \
    cargo test --locked --test tests -- --test-threads 1 budget:: wire::admin::attack
  # Its ring is built in another way than that of the other tests.
  step 'cryptography of the static build'
  LAB_BINARY=$STATIC \
    cargo test --locked --test tests -- --test-threads 4 wire::cryptography wire::update::signed \
    wire::service::rules wire::admin::hook
}

dockerfile() {
  step 'Dockerfile.alpine'
  IMAGEWATCH_LAB=$LABS/docker-20.10 unshare --net scripts/release/dockerfile-test.sh "$STATIC" 8>&-
}

case ${1-} in
  '' | full) ;;
  quick)
    static_checks
    step 'unit and wire tests'
    cargo test --locked
    keyless_tests
    exit
    ;;
  engine)
    [[ -n ${2-} ]] || usage
    scripts/lab/lab.sh install "$2"
    cargo test --locked --test tests --no-run
    begin
    if (($# > 2)); then engine_tests "${@:2}"; else all_tests_on "$2"; fi
    exit
    ;;
  swarm)
    scripts/lab/lab.sh install docker-28.5
    cargo test --locked --test tests --no-run
    begin
    if (($# > 1)); then swarm_tests "${@:2}"; else swarm_tests engine::service::three; fi
    exit
    ;;
  soak)
    [[ -n ${2-} ]] || usage
    scripts/lab/lab.sh install "$2"
    begin
    begin_static_build
    await_static_build
    LAB_SOAK=${3:-week} LAB_BINARY=$STATIC engine_tests "$2" engine::soak --nocapture
    exit
    ;;
  storm)
    [[ $# == 4 ]] || usage
    scripts/lab/lab.sh install "$2"
    begin
    keep_build
    LAB_STORM_SEED=$3 LAB_STORM_COUNT=$4 engine_tests "$2" engine::storm --nocapture
    exit
    ;;
  _inside)
    shift
    inside "$@"
    exit
    ;;
  _inside_swarm)
    shift
    inside_swarm "$@"
    exit
    ;;
  *) usage ;;
esac

begin
NOW=("${ENGINES[@]}")
[[ ${1-} == full ]] || read -ra NOW < <(today)
begin_installation "${NOW[@]}" docker-20.10 # for the Dockerfile
static_checks
await_installation
begin_static_build
step 'unit and wire tests'
# Most of them wait for peers. The static binary is attacked below.
cargo test --locked -- --test-threads 6 --skip wire::admin::attack
if [[ ${1-} == full ]]; then
  build_earlier
  for engine in "${ENGINES[@]}"; do all_tests_on "$engine"; done
  swarm_tests engine::service::three
else
  tests_of_the_day
fi
static_build
keyless_tests
if [[ ${1-} == full ]]; then keyless_engine_tests; fi
dockerfile
step 'all is well'
