#!/usr/bin/env bash
#
# Everything of a release but its publication, on a Debian 12 machine, as root:
#
#   scripts/release/dry-run.sh [FOLDER]
#
# Builds the binaries for all platforms, lists their components and licences, takes the notes from CHANGELOG.md, makes
# the images and their index in a registry of its own on a loopback port, and signs the index with a throw-away key.
# Then it does what README.md says with these artefacts: it runs the image, labels a container, checks, updates and
# goes back, and lets imagewatch verify the signature. FOLDER (or target/dry-run) has the files of the release afterwards.

set -euo pipefail
cd "$(dirname "$0")/../.."

OUT=${1-target/dry-run}
ENGINE=docker-20.10
TARGETS=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf)
declare -A NAME=([x86_64-unknown-linux-musl]=amd64 [aarch64-unknown-linux-musl]=arm64 [armv7-unknown-linux-musleabihf]=armv7)
declare -A PLATFORM=([amd64]=linux/amd64 [arm64]=linux/arm64 [armv7]=linux/arm/v7)
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

step() { printf '\n== %s\n' "$*"; }

# Waits until a command is well.
await() {
  for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
  echo "waited in vain: $*" >&2
  return 1
}

# --- the files ---

build_all() {
  local target name
  mkdir -p "$OUT"
  for target in "${TARGETS[@]}"; do
    name=$OUT/imagewatch-linux-${NAME[$target]}
    step "$name"
    # shellcheck disable=SC2046 # one word for each
    apt-get install -qq -y --no-install-recommends $(scripts/release/cross.sh packages "$target") >/dev/null
    scripts/release/cross.sh "$target"
    cp "${CARGO_TARGET_DIR:-target}/$target/release/imagewatch" "$name"
    scripts/release/sbom.sh "$target" >"$name.cdx.json"
    scripts/release/licences.sh "$target" >"$name.licences.txt"
    stat -c '%n: %s bytes' "$name"
  done
  (cd "$OUT" && sha256sum imagewatch-linux-* >SHA256SUMS)
  awk -v version="$VERSION" '/^## / { is_it = $2 == version } is_it' CHANGELOG.md >"$OUT/notes.md"
  [[ -s $OUT/notes.md ]] || { echo "CHANGELOG.md has nothing about $VERSION" >&2; return 1; }
}

# --- the images ---

# Puts bytes of a file into the registry, and says their digest.
put_blob() {
  local digest location
  digest=sha256:$(sha256sum "$1" | cut -d' ' -f1)
  location=$(curl -fsS -X POST -D - -o /dev/null "http://$REGISTRY/v2/imagewatch/blobs/uploads/" |
    tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
  case $location in *\?*) location+=\& ;; *) location+=\? ;; esac
  curl -fsS -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$1" "${location}digest=$digest"
  echo "$digest"
}

# Puts a manifest of a file at a tag, and says its digest.
put_manifest() {
  curl -fsS -X PUT -H "Content-Type: $2" --data-binary "@$1" "http://$REGISTRY/v2/imagewatch/manifests/$3"
  echo "sha256:$(sha256sum "$1" | cut -d' ' -f1)"
}

# Builds and pushes the image of each platform, and the index over all of them.
push_images() {
  local name context entries=() digest size
  for name in amd64 arm64 armv7; do
    context=$WORK/$name
    mkdir -p "$context/${PLATFORM[$name]}"
    cp "$OUT/imagewatch-linux-$name" "$context/${PLATFORM[$name]}/imagewatch"
    cp "$OUT/imagewatch-linux-$name.licences.txt" "$context/licences.txt"
    DOCKER_BUILDKIT=0 docker build -q -f Dockerfile.release --build-arg "TARGETPLATFORM=${PLATFORM[$name]}" \
      -t "$IMAGE-$name" "$context" 2>"$WORK/warnings" >/dev/null
    docker push -q "$IMAGE-$name" >/dev/null
    curl -fsS -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
      "http://$REGISTRY/v2/imagewatch/manifests/$VERSION-$name" >"$WORK/manifest"
    digest=sha256:$(sha256sum "$WORK/manifest" | cut -d' ' -f1)
    size=$(stat -c %s "$WORK/manifest")
    entries+=("$(python3 - "$digest" "$size" "${PLATFORM[$name]}" <<'PY'
import json, sys
digest, size, platform = sys.argv[1:]
words = platform.split("/")
place = dict(zip(["os", "architecture", "variant"], words))
kind = "application/vnd.docker.distribution.manifest.v2+json"
print(json.dumps({"mediaType": kind, "digest": digest, "size": int(size), "platform": place}))
PY
    )")
  done
  local IFS=,
  printf '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[%s]}' \
    "${entries[*]}" >"$WORK/index"
  put_manifest "$WORK/index" application/vnd.docker.distribution.manifest.list.v2+json "$VERSION"
}

# Signs a digest in cosign's classic layout, with a key that nobody keeps.
sign() {
  local digest=$1 payload config
  openssl ecparam -genkey -name prime256v1 -noout -out "$WORK/key.pem"
  openssl ec -in "$WORK/key.pem" -pubout -out "$WORK/public.pem" 2>/dev/null
  printf '{"critical":{"identity":{"docker-reference":"%s"},"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"},"optional":null}' \
    "$REGISTRY/imagewatch" "$digest" >"$WORK/payload"
  printf '{}' >"$WORK/config"
  payload=$(put_blob "$WORK/payload")
  config=$(put_blob "$WORK/config")
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":2},"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":"%s","size":%s,"annotations":{"dev.cosignproject.cosign/signature":"%s"}}]}' \
    "$config" "$payload" "$(stat -c %s "$WORK/payload")" \
    "$(openssl dgst -sha256 -sign "$WORK/key.pem" "$WORK/payload" | base64 -w 0)" >"$WORK/signature"
  put_manifest "$WORK/signature" application/vnd.oci.image.manifest.v1+json "${digest/:/-}.sig" >/dev/null
}

# --- what README.md says ---

# The image of the first container, in two versions.
push_web() {
  mkdir -p "$WORK/web"
  cp /bin/busybox "$WORK/web/busybox"
  printf 'FROM scratch\nCOPY busybox /busybox\nLABEL org.opencontainers.image.version=%s\nENTRYPOINT ["/busybox", "sleep", "86400"]\n' \
    "$1" >"$WORK/web/Dockerfile"
  DOCKER_BUILDKIT=0 docker build -q -t "$REGISTRY/web:1" "$WORK/web" >/dev/null
  docker push -q "$REGISTRY/web:1" >/dev/null
}

web_runs() { [[ $(docker inspect -f '{{index .Config.Labels "org.opencontainers.image.version"}}' web) == "$1" ]]; }
health_is() { [[ $(docker inspect -f '{{.State.Health.Status}}' imagewatch) == "$1" ]]; }

follow_readme() {
  push_web 1.0.0
  docker run -d --name imagewatch --restart unless-stopped --network host --stop-timeout 120 \
    --label imagewatch.enable=true -e IMAGE_AUTO_REFRESH=true \
    -v "$SOCKET:/var/run/docker.sock" -v imagewatch:/state -e IMAGEWATCH_STATE=/state \
    -e IMAGEWATCH_INTERVAL=2s -e IMAGEWATCH_SETTLE=1s -e IMAGEWATCH_LISTEN=127.0.0.1:18080 \
    -e "IMAGEWATCH_VERIFY=$(<"$WORK/public.pem")" -e "IMAGEWATCH_VERIFY_FOR=$REGISTRY/imagewatch" "$IMAGE" >/dev/null
  await health_is healthy
  docker run -d --name web --label imagewatch.enable=true "$REGISTRY/web:1" >/dev/null
  docker exec imagewatch imagewatch check
  docker exec imagewatch imagewatch plan web | head -n 5
  await docker exec imagewatch imagewatch check
  push_web 1.1.0
  docker exec imagewatch imagewatch refresh web
  await web_runs 1.1.0
  docker exec imagewatch imagewatch rollback web
  await web_runs 1.0.0
  docker exec imagewatch imagewatch refresh --json --force imagewatch | tee "$WORK/own"
  if grep -q 'signed' "$WORK/own"; then return 1; fi
  docker logs imagewatch 2>&1 | grep -v 'signal' | tail -n 20
}

inside() {
  ip link set lo up
  SOCKET=$(scripts/lab/lab.sh up "$ENGINE")
  export DOCKER_HOST=unix://$SOCKET
  # shellcheck disable=SC2064 # $SOCKET is gone when the trap runs
  trap "kill \$(jobs -p) 2>/dev/null || true; scripts/lab/lab.sh down '$ENGINE'; rm -rf '$WORK'" EXIT
  REGISTRY=127.0.0.1:5000
  IMAGE=$REGISTRY/imagewatch:$VERSION
  printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: %s}\n' \
    "$WORK" "$REGISTRY" >"$WORK/registry.yml"
  docker-registry serve "$WORK/registry.yml" >/dev/null 2>&1 &
  await curl -fs "http://$REGISTRY/v2/"
  step 'images, their index, and its signature'
  local digest
  digest=$(push_images)
  sign "$digest"
  echo "$IMAGE@$digest"
  [[ ! -s $WORK/warnings ]] || cat "$WORK/warnings"
  step 'what README.md says'
  follow_readme
  step 'all but the publication is well'
}

if [[ ${1-} == _inside ]]; then
  OUT=$2 WORK=$3
  inside
  exit
fi
build_all
scripts/lab/lab.sh install "$ENGINE"
WORK=$(mktemp -d /tmp/imagewatch-release.XXXXXX)
IMAGEWATCH_LAB=$WORK/lab unshare --net "$BASH" "$0" _inside "$OUT" "$WORK"
