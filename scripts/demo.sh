#!/usr/bin/env bash
#
# imagewatch at work, on real containers, from nothing: scripts/demo.sh (as root, on Debian 12).
#
# Uses the Docker that runs here, or else a private, throw-away one, and a registry of its own on
# a free loopback port. Publishes an image for two runtimes, starts a workspace of each, runs
# imagewatch, publishes a second image for one of them and shows what happens. Cleans up after
# itself, whatever happens.

set -euo pipefail
cd "$(dirname "$0")/.."

TARGET=$(uname -m)-unknown-linux-musl
ENGINE=docker-20.10
WORK=$(mktemp -d)
PREFIX=ws-demo-$$-
TOKEN=demo-token
OWN_ENGINE='' REGISTRY_PID='' WATCH_PID='' REGISTRY=''

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '\n  $ %s\n' "$*"; "$@" 2>&1 | sed 's/^/    /'; }

clean_up() {
  local id image
  if [[ -n $WATCH_PID ]] && kill "$WATCH_PID" 2>/dev/null; then wait "$WATCH_PID" 2>/dev/null || true; fi
  for id in $(docker ps -aq --filter "name=^$PREFIX" 2>/dev/null); do
    docker rm -fv "$id" >/dev/null 2>&1 || true
  done
  if [[ -n $REGISTRY ]]; then
    for image in $(docker images -q "$REGISTRY/*/*" 2>/dev/null | sort -u); do
      docker rmi -f "$image" >/dev/null 2>&1 || true
    done
  fi
  if [[ -n $REGISTRY_PID ]]; then kill "$REGISTRY_PID" 2>/dev/null || true; fi
  if [[ -n $OWN_ENGINE ]]; then scripts/lab/lab.sh down "$ENGINE" || true; fi
  rm -rf "$WORK"
}
trap clean_up EXIT

# Waits until a file holds a text.
await() {
  local file=$1 text=$2 _
  for _ in $(seq 600); do
    grep -q -- "$text" "$file" 2>/dev/null && return
    sleep 0.1
  done
  echo "waited in vain for '$text' in:" >&2
  cat "$file" >&2
  return 1
}

say '1. What the demo needs'
scripts/lab/lab.sh install "$ENGINE"
rustup target add "$TARGET"
cargo build --locked --release --target "$TARGET"
BINARY=${CARGO_TARGET_DIR:-$PWD/target}/$TARGET/release/imagewatch
echo "  imagewatch: $(stat -c %s "$BINARY") bytes, static"
BEGUN=$SECONDS

if docker info >/dev/null 2>&1; then
  echo '  engine: the one that runs here'
else
  DOCKER_HOST=unix://$(scripts/lab/lab.sh up "$ENGINE")
  OWN_ENGINE=yes
  export DOCKER_HOST
  echo "  engine: a private one at $DOCKER_HOST"
fi

cat >"$WORK/registry.yml" <<YML
version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: $WORK/registry}}
http: {addr: "127.0.0.1:0"}
YML
docker-registry serve "$WORK/registry.yml" >>"$WORK/requests.log" 2>"$WORK/registry.log" &
REGISTRY_PID=$!
await "$WORK/registry.log" 'listening on'
REGISTRY=$(grep -o 'listening on [0-9.:]*' "$WORK/registry.log" | head -n 1 | cut -d' ' -f3)
echo "  registry: $REGISTRY"

# An image that answers its version over HTTP and stops when it is told to.
publish() {
  local runtime=$1 version=$2 folder=$WORK/image
  mkdir -p "$folder"
  cp /bin/busybox "$folder/busybox"
  echo "I am $runtime $version" >"$folder/index.html"
  cat >"$folder/Dockerfile" <<'DOCKERFILE'
FROM scratch
COPY busybox /bin/busybox
COPY index.html /www/index.html
EXPOSE 8000
CMD ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; busybox httpd -p 8000 -h /www; while :; do busybox sleep 1 & wait; done"]
ENV PATH=/bin
DOCKERFILE
  DOCKER_BUILDKIT=0 docker build -q -t "$REGISTRY/demo/$runtime:latest" "$folder" >/dev/null 2>&1
  docker push -q "$REGISTRY/demo/$runtime:latest" >/dev/null
  echo "  published $REGISTRY/demo/$runtime:latest ($version)"
}

say '2. Two runtimes are published, and a workspace of each is started'
publish hermes v1
publish crewai v1
for runtime in hermes crewai; do
  docker run -d --name "$PREFIX$runtime" --restart unless-stopped -p 127.0.0.1::8000 \
    "$REGISTRY/demo/$runtime:latest" >/dev/null
done
answer() { curl -s "http://$(docker port "$PREFIX$1" 8000/tcp | head -n 1)/"; }
echo "  $PREFIX""hermes answers: $(answer hermes)"
echo "  $PREFIX""crewai answers: $(answer crewai)"

say '3. imagewatch watches them'
: >"$WORK/requests.log"
env -i DOCKER_HOST="${DOCKER_HOST:-unix:///var/run/docker.sock}" IMAGE_AUTO_REFRESH=true \
  IMAGEWATCH_INTERVAL=2s IMAGEWATCH_SETTLE=2s IMAGEWATCH_RUNTIMES=hermes,crewai \
  IMAGEWATCH_IMAGE="$REGISTRY/demo/{runtime}:latest" IMAGEWATCH_PREFIX="$PREFIX" \
  IMAGEWATCH_LISTEN=127.0.0.1:0 ADMIN_TOKEN="$TOKEN" \
  "$BINARY" 2>"$WORK/imagewatch.log" &
WATCH_PID=$!
await "$WORK/imagewatch.log" 'listening on'
await "$WORK/imagewatch.log" 'image-auto-refresh: started'
ADMIN=$(grep -o 'http://[0-9.:]*' "$WORK/imagewatch.log" | head -n 1)
await "$WORK/requests.log" 'HEAD /v2/demo/crewai'
sed 's/^/  /' "$WORK/imagewatch.log"

say '4. A new image of one runtime is published'
docker rmi -f "$REGISTRY/demo/hermes:latest" >/dev/null
publish hermes v2
await "$WORK/imagewatch.log" 'recreated container='
tail -n +4 "$WORK/imagewatch.log" | sed 's/^/  /'
echo
echo "  $PREFIX""hermes answers: $(answer hermes)"
echo "  $PREFIX""crewai answers: $(answer crewai)   (left alone)"
echo
echo '  what imagewatch asked the registry (the Engine pulls by itself):'
grep '"imagewatch/' "$WORK/requests.log" | grep -o '"[A-Z]* /v2/[^ ]*' | tr -d '"' | sort | uniq -c | sed 's/^/  /'

say '5. The admin endpoint'
run curl -s "$ADMIN/health"
run curl -s -X POST "$ADMIN/admin/workspace-images/refresh"
run curl -s -X POST -H "Authorization: Bearer $TOKEN" "$ADMIN/admin/workspace-images/refresh?runtime=hermes"
run curl -s -X POST -H "Authorization: Bearer $TOKEN" "$ADMIN/admin/workspace-images/refresh?runtime=x"
run curl -s -H "Authorization: Bearer $TOKEN" "$ADMIN/admin/status"

say "6. Cleaning up (the demo took $((SECONDS - BEGUN)) s after the build)"
