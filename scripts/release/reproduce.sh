#!/usr/bin/env bash
#
# Whether the release can be built again, byte by byte:
#
#   scripts/release/reproduce.sh [TARGET] [BINARY]
#
# Builds the commit that is checked out twice (scripts/release/cross.sh), from nothing, in two folders
# and with two homes of Cargo, at paths of different lengths, and compares the bytes. With BINARY, one
# that was released, also with that. Says the SHA-256. FEATURES is as for scripts/release/cross.sh.

set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."

TARGET=${1-x86_64-unknown-linux-musl}
RELEASED=${2:+$(readlink -f "$2")}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
# Each build has a target folder of its own.
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR

[[ -z $(git status --porcelain) ]] || echo 'what is not committed is left out' >&2
cargo fetch --locked --target "$TARGET"
CRATES=${CARGO_HOME:-$HOME/.cargo}/registry

# Prints the path of what it built below a folder.
build_in() {
  local folder=$1
  mkdir -p "$folder/home"
  ln -s "$CRATES" "$folder/home/registry"
  git clone --quiet --no-hardlinks . "$folder/source"
  CARGO_HOME=$folder/home CARGO_NET_OFFLINE=true "$folder/source/scripts/release/cross.sh" "$TARGET" >&2
  echo "$folder/source/target/$TARGET/release/imagewatch"
}

same() {
  cmp "$1" "$2" && return
  echo "$TARGET: two builds, other bytes" >&2
  exit 1
}

one=$(build_in "$WORK/a")
other=$(build_in "$WORK/another-and-longer-path")
same "$one" "$other"
[[ -z $RELEASED ]] || same "$one" "$RELEASED"
echo "$(sha256sum <"$one" | cut -d ' ' -f 1)  imagewatch for $TARGET, $(wc -c <"$one") bytes, twice"
