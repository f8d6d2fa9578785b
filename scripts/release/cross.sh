#!/usr/bin/env bash
#
# Builds static binaries as they are released, on a Debian 12 machine:
#
#   scripts/release/cross.sh TARGET...
#                                into target/TARGET/release/imagewatch, for each of
#                                x86_64-unknown-linux-musl         linux/amd64
#                                aarch64-unknown-linux-musl        linux/arm64
#                                armv7-unknown-linux-musleabihf    linux/arm/v7
#   scripts/release/cross.sh packages TARGET...
#                                says which Debian packages that takes
#
# With FEATURES=keyless in the environment it builds imagewatch:keyless (docs/dev/keyless.md), to the same place.
#
# musl and its start files come with the Rust target; of Debian there is the C compiler, for ring's C,
# and the linker. The bytes depend on the commit, on the compiler of Rust below, and on these packages
# alone: no path of the machine gets in (scripts/release/reproduce.sh proves it).

set -euo pipefail
cd "$(dirname "$0")/../.."

# The compiler of a release. Another one is as good, but makes other bytes.
export RUSTUP_TOOLCHAIN=${RUSTUP_TOOLCHAIN:-1.95.0}
# Flags from outside would take the place of those in .cargo/config.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS

usage() {
  sed -n '3,/^$/{s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

# The C compiler for a target, and the Debian packages it is in.
compiler_of() {
  case $1 in
    x86_64-unknown-linux-musl) echo musl-gcc ;;
    aarch64-unknown-linux-musl) echo aarch64-linux-gnu-gcc ;;
    armv7-unknown-linux-musleabihf) echo arm-linux-gnueabihf-gcc ;;
    *) usage ;;
  esac
}

packages_of() {
  case $1 in
    x86_64-unknown-linux-musl) echo gcc libc6-dev musl-tools ;;
    # The C compiler for the build scripts, which run here, is gcc too.
    aarch64-unknown-linux-musl) echo gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;;
    armv7-unknown-linux-musleabihf) echo gcc libc6-dev gcc-arm-linux-gnueabihf libc6-dev-armhf-cross ;;
    *) usage ;;
  esac
}

# Cargo's variables for a target.
variable() { tr a-z- A-Z_ <<<"CARGO_TARGET_$1_$2"; }

build() {
  local target=$1 compiler linker home sysroot commit remap
  compiler=$(compiler_of "$target")
  command -v "$compiler" >/dev/null || {
    echo "$target: no $compiler here: apt-get install $(packages_of "$target")" >&2
    exit 1
  }
  # musl-gcc would bring a musl of its own along.
  linker=$compiler
  [[ $compiler != musl-gcc ]] || linker=gcc
  rustup --quiet target add "$target"
  home=${CARGO_HOME:-$HOME/.cargo}
  sysroot=$(rustc --print sysroot)
  commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
  # Where a panic happened is in the binary: let it be the same place on every machine.
  remap="'--remap-path-prefix=$PWD=/imagewatch', '--remap-path-prefix=$home=/cargo'"
  remap+=", '--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rustc/$commit'"
  env "CC_${target//-/_}=$compiler" \
    "$(variable "$target" linker)=$linker" \
    cargo build --locked --release --features "${FEATURES-}" --target "$target" --config "target.$target.rustflags=[$remap]"
}

case ${1-} in
  '') usage ;;
  packages)
    shift
    (($#)) || usage
    for target in "$@"; do packages_of "$target"; done | tr ' ' '\n' | sort -u
    ;;
  *)
    for target in "$@"; do build "$target"; done
    ;;
esac
