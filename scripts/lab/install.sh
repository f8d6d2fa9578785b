# A part of lab.sh: installs what the engines and the tests need, which are packages, the file systems of
# the forky engines, and Docker Compose.

# shellcheck shell=bash

COMMON=(docker-registry busybox-static apache2-utils iptables nftables iproute2
  ca-certificates curl haproxy libfaketime musl-tools prometheus zsh fish mandoc python3-yaml
  chromium aspell aspell-en)
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='imagewatch-lab: temporary'

packages_of() {
  case $1 in
    docker-20.10) echo docker.io ;;
    podman-4.3) echo podman crun netavark aardvark-dns ;;
    *) echo debootstrap debian-archive-keyring ;;
  esac
}

packages_in_chroot() {
  case $1 in
    docker-28.5) echo docker.io,iptables,nftables,ca-certificates ;;
    podman-5.8) echo podman,crun,netavark,aardvark-dns,iptables,nftables,ca-certificates ;;
  esac
}

missing() {
  local package
  for package; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      echo "$package"
  done
}

# Debian starts what it installs unless policy-rc.d says 101. An existing policy is
# somebody's decision: it is asked, never replaced. One of ours can only be left over
# from a run that was killed.
forbid_service_starts() {
  if [[ -e $POLICY ]] && ! grep -qs "$POLICY_MARK" "$POLICY"; then
    local answer=0
    "$POLICY" docker start >/dev/null 2>&1 || answer=$?
    [[ $answer == 101 ]] ||
      die "$POLICY would let apt start services; have it exit with 101 first"
    return
  fi
  trap allow_service_starts EXIT
  printf '#!/bin/sh\n# %s\nexit 101\n' "$POLICY_MARK" >"$POLICY"
  chmod 755 "$POLICY"
}

allow_service_starts() {
  if grep -qs "$POLICY_MARK" "$POLICY"; then rm -f "$POLICY"; fi
}

# --no-remove: docker.io must not push out another Docker that is installed here.
apt_install() {
  local wanted log
  mapfile -t wanted < <(missing "$@")
  ((${#wanted[@]})) || return 0
  say "installing ${wanted[*]}"
  forbid_service_starts
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  { apt-get update -qq &&
    apt-get install -qq -y --no-install-recommends --no-remove -o Dpkg::Use-Pty=0 \
      "${wanted[@]}"; } >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; die "apt-get failed"; }
  rm -f "$log"
  allow_service_starts
}

# The archive the machine itself installs from, in either form of apt's sources:
# deb822 stanzas (URIs: …) first, then one-line entries (deb [options] URI suite …).
mirror() {
  local release list uri
  # shellcheck source=/dev/null
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  for list in /etc/apt/sources.list.d/*.sources; do
    [[ -f $list ]] || continue
    uri=$(awk -v release="$release" -v RS= -F'\n' '{
      uri = ""; fits = 0
      for (i = 1; i <= NF; i++) {
        n = split($i, word, /[ \t]+/)
        if (tolower(word[1]) == "uris:") uri = word[2]
        if (tolower(word[1]) == "enabled:" && tolower(word[2]) == "no") next
        if (tolower(word[1]) == "suites:")
          for (j = 2; j <= n; j++) if (word[j] == release) fits = 1
      }
      if (fits && uri != "") { print uri; exit }
    }' "$list")
    [[ -z $uri ]] || { echo "$uri"; return; }
  done
  for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -f $list ]] || continue
    uri=$(sed -nE "s/^deb[ \t]+(\[[^]]*\][ \t]+)?([^ \t]+)[ \t]+${release}[ \t].*/\2/p" "$list" |
      head -n 1)
    [[ -z $uri ]] || { echo "$uri"; return; }
  done
  die "no mirror for '$release' in apt's sources; set IMAGEWATCH_LAB_MIRROR"
}

# The last word is debootstrap's script: older Debians have none called forky.
# Built aside and renamed, so that a killed run never leaves half a system that looks whole.
build_chroot() {
  local engine=$1 root from
  root=$(root_of "$engine")
  [[ ! -d $root ]] || return 0
  from=${IMAGEWATCH_LAB_MIRROR:-$(mirror)}
  say "building $root from $from"
  mkdir -p "$CACHE"
  rm -rf "$root.part"
  debootstrap --variant=minbase --include="$(packages_in_chroot "$engine")" \
    forky "$root.part" "$from" sid >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; die "debootstrap failed, see $root.log"; }
  rm -rf "$root.part"/var/cache/apt/archives/*.deb "$root.part"/var/lib/apt/lists/*
  mv "$root.part" "$root"
  rm -f "$root.log"
}

# forky moves on; a test that believes in the engine's name should learn of it here.
check_version() {
  local engine=$1 package=podman root=/ version
  [[ $engine != docker-* ]] || package=docker.io
  if in_chroot "$engine"; then root=$(root_of "$engine"); fi
  version=$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f='${Version}' "$package")
  [[ $version == "${engine#*-}".* ]] || say "warning: $engine is really $version"
}

install() {
  local engine packages=("${COMMON[@]}")
  as_root
  (($#)) || usage
  for engine; do
    known "$engine"
    read -ra more < <(packages_of "$engine")
    packages+=("${more[@]}")
  done
  lock
  apt_install "${packages[@]}"
  for engine; do
    if in_chroot "$engine"; then build_chroot "$engine"; fi
    check_version "$engine"
  done
  fetch_compose
}

# Compose as people have it: one file, of forky, which speaks to every engine here. Built aside and
# renamed, as above.
COMPOSE=$CACHE/docker-compose
fetch_compose() {
  [[ ! -x $COMPOSE ]] || return 0
  local from part=$CACHE/compose.part options
  from=${IMAGEWATCH_LAB_MIRROR:-$(mirror)}
  say "fetching docker-compose from $from"
  rm -rf "$part"
  mkdir -p "$part"/{lists,archives}/partial "$part/root"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s forky main\n' "$from" \
    >"$part/sources.list"
  options=(-qq -o "Dir::Etc::SourceList=$part/sources.list" -o Dir::Etc::SourceParts=-
    -o "Dir::State::Lists=$part/lists" -o "Dir::Cache::Archives=$part/archives"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
  { apt-get "${options[@]}" update &&
    (cd "$part" && apt-get "${options[@]}" download docker-compose) &&
    dpkg-deb -x "$part"/docker-compose_*.deb "$part/root"; } >"$part/log" 2>&1 ||
    { cat "$part/log" >&2; die "docker-compose could not be fetched"; }
  mv "$part/root/usr/libexec/docker/cli-plugins/docker-compose" "$COMPOSE"
  rm -rf "$part"
}

is_installed() {
  if in_chroot "$1"; then [[ -d $(root_of "$1") ]]; return; fi
  # shellcheck disable=SC2046 # a list of words
  [[ -z $(missing $(packages_of "$1")) ]]
}
