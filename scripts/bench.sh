#!/usr/bin/env bash
#
# The benchmarks, against a private, throw-away Engine:
#
#   scripts/bench.sh [ENGINE...]      default: docker-20.10 docker-28.5

set -euo pipefail
cd "$(dirname "$0")/.."

ENGINES=("${@:-docker-20.10}")
[[ $# -gt 0 ]] || ENGINES=(docker-20.10 docker-28.5)

finish() { scripts/lab.sh down --all || true; }
trap finish EXIT

scripts/lab.sh install "${ENGINES[@]}"
cargo bench --locked --no-run
printf '\n== rounds\n'
cargo bench --locked --quiet --bench rounds
for engine in "${ENGINES[@]}"; do
  printf '\n== %s\n' "$engine"
  LAB_ENGINE=$(scripts/lab.sh up "$engine") cargo bench --locked --quiet --bench downtime
  scripts/lab.sh down "$engine"
done
