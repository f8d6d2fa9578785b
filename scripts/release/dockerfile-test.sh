#!/usr/bin/env bash
#
# Builds both targets of Dockerfile.alpine, and Dockerfile.release, and runs them:
#
#   scripts/release/dockerfile-test.sh BINARY
#
# No base image can be pulled here, so stand-ins take their place: busybox with an `apk` that does
# nothing, and with a `cargo` that hands out BINARY, the static build of this tree. What is checked
# is everything the Dockerfile does besides compiling: its stages, what goes where, the health
# check, that no shell is needed.

set -euo pipefail
cd "$(dirname "$0")/../.."

BINARY=$(readlink -f "$1")
ENGINE=docker-20.10
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

SOCKET=$(scripts/lab/lab.sh up "$ENGINE")
trap 'rm -rf "$WORK"; scripts/lab/lab.sh down "$ENGINE"' EXIT
export DOCKER_HOST=unix://$SOCKET

busybox_root() {
  local root=$1 applet
  mkdir -p "$root/bin" "$root/usr/local/bin" "$root/tmp"
  cp /bin/busybox "$root/bin/busybox"
  for applet in sh cp mkdir cat ls true; do ln -s busybox "$root/bin/$applet"; done
}

busybox_root "$WORK/alpine"
busybox_root "$WORK/rust"
printf '#!/bin/sh\nexit 0\n' >"$WORK/rust/bin/apk"
# The stand-in insists on what a real build would need.
cat >"$WORK/rust/bin/cargo" <<'SH'
#!/bin/sh
[ "$*" = "build --locked --release" ] || exit 1
for file in Cargo.toml Cargo.lock build.rs .cargo/config.toml .cargo/rare.ld src/main.rs tests/tests.rs benches/downtime.rs; do
  [ -f $file ] || exit 1
done
mkdir -p target/release && cp /prebuilt target/release/imagewatch
SH
chmod 755 "$WORK/rust/bin/apk" "$WORK/rust/bin/cargo"
cp "$BINARY" "$WORK/rust/prebuilt"
for base in alpine rust; do
  tar -C "$WORK/$base" -c . | docker import - "stand-in-$base:1" >/dev/null
done

build() {
  docker build -q -f Dockerfile.alpine --build-arg RUST_IMAGE=stand-in-rust:1 \
    --build-arg ALPINE_IMAGE=stand-in-alpine:1 "$@" .
}

# Starts an image as docs/security.md says, and waits for its own health check to be content.
check() {
  local image=$1 program=$2 id plan state=
  id=$(docker run -d --user 65534:65534 --group-add "$(stat -c %g "$SOCKET")" --read-only --cap-drop ALL \
    --security-opt no-new-privileges -v "$SOCKET:/var/run/docker.sock" --health-interval 1s "$image")
  for _ in $(seq 60); do
    state=$(docker inspect -f '{{.State.Health.Status}}' "$id")
    [[ $state == healthy ]] && break
    sleep 0.5
  done
  docker logs "$id" 2>&1 | sed 's/^/  /'
  [[ $state == healthy ]] || { echo "$image: $state" >&2; return 1; }
  # It knows its own container for certain, so that a helper could replace it.
  docker exec "$id" imagewatch -V >/dev/null
  plan=$(docker exec "$id" "$program" plan "$id")
  [[ -n $plan && $plan != *'this is imagewatch itself'* ]] || { echo "$image: $plan" >&2; return 1; }
  # As process 1 it has to see to SIGTERM itself.
  local begun=$SECONDS
  docker stop -t 20 "$id" >/dev/null
  (( SECONDS - begun < 5 )) || { echo "$image: does not stop" >&2; return 1; }
  [[ $(docker inspect -f '{{.State.ExitCode}}' "$id") == 0 ]]
  docker rm "$id" >/dev/null
  echo "$image: healthy, and stops at once"
}

DOCKER_BUILDKIT=0 build -t imagewatch:alpine >/dev/null
DOCKER_BUILDKIT=0 build -t imagewatch:scratch --target scratch >/dev/null
check imagewatch:alpine /usr/local/bin/imagewatch
check imagewatch:scratch /imagewatch
# BuildKit would say the platform by itself.
mkdir -p "$WORK/release/linux/amd64"
cp "$BINARY" "$WORK/release/linux/amd64/imagewatch"
cp LICENSE "$WORK/release/licences.txt"
DOCKER_BUILDKIT=0 docker build -q -f Dockerfile.release -t imagewatch:release \
  --build-arg TARGETPLATFORM=linux/amd64 "$WORK/release" >/dev/null
check imagewatch:release /imagewatch
docker run --rm imagewatch:scratch -V
docker image inspect -f '{{.Size}} bytes' imagewatch:scratch
