#!/usr/bin/env bash
#
# The benchmarks, against a private, throw-away Engine:
#
#   scripts/bench.sh [ENGINE...]      default: docker-20.10 docker-28.5

set -euo pipefail
cd "$(dirname "$0")/.."

ENGINES=("${@:-docker-20.10}")
[[ $# -gt 0 ]] || ENGINES=(docker-20.10 docker-28.5)

scripts/lab/lab.sh install "${ENGINES[@]}"
cargo bench --locked --no-run
TARGET=$(uname -m)-unknown-linux-musl
rustup --quiet target add "$TARGET"
cargo build --quiet --locked --release --target "$TARGET"
LAB_BINARY=${CARGO_TARGET_DIR:-$PWD/target}/$TARGET/release/imagewatch
export LAB_BINARY
printf '\n== small\n'
cargo bench --locked --quiet --bench small
printf '\n== rounds\n'
cargo bench --locked --quiet --bench rounds
printf '\n== scale\n'
cargo bench --locked --quiet --bench scale
printf '\n== fleet\n'
cargo bench --locked --quiet --bench fleet
printf '\n== attack\n'
cargo bench --locked --quiet --bench attack
for engine in "${ENGINES[@]}"; do
  printf '\n== %s\n' "$engine"
  LAB_ENGINE=$(scripts/lab/lab.sh up "$engine")
  # shellcheck disable=SC2064 # which one it is now
  trap "scripts/lab/lab.sh down '$engine'" EXIT
  LAB_ENGINE=$LAB_ENGINE cargo bench --locked --quiet --bench downtime
  LAB_ENGINE=$LAB_ENGINE cargo bench --locked --quiet --bench itself
  LAB_ENGINE=$LAB_ENGINE LAB_COMPOSE=$(scripts/lab/lab.sh compose) cargo bench --locked --quiet --bench many
  scripts/lab/lab.sh down "$engine"
  trap - EXIT
done
