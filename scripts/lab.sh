#!/usr/bin/env bash
#
# Private, throw-away container engines for the tests.
#
#   scripts/lab.sh install ENGINE...   install what these engines need
#   scripts/lab.sh up ENGINE           start one; prints its socket, nothing else
#   scripts/lab.sh restart ENGINE      restart its daemon on the same data and socket
#   scripts/lab.sh freeze ENGINE       its daemon does nothing more until `thaw`
#   scripts/lab.sh fill ENGINE         it has no room for what it pulls until `empty`
#   scripts/lab.sh down ENGINE|--all   end it and leave nothing behind
#   scripts/lab.sh status              what is installed, what is up
#
# ENGINE: docker-20.10  Debian bookworm's own, on the host
#         docker-28.5   Debian forky's, as strict as Docker 29: no API below 1.44,
#                       images in containerd's store
#         podman-4.3    Debian bookworm's own, on the host
#         podman-5.8    Debian forky's
#
# Environment:
#   IMAGEWATCH_LAB         where daemons keep their state (default /tmp/imagewatch-lab)
#   IMAGEWATCH_LAB_MIRROR  Debian mirror for the forky engines (default: the one apt uses)
#   LAB_DAEMON_ENV         "K=V K=V": extra environment of the daemon, read by `up`
#
# How it works. A daemon gets a mount and a PID namespace of its own, with this
# script as process 1 (`_init`). Ending that one process makes the kernel end the
# daemon, its shims and its containers and drop every mount they made, whatever
# state they are in; that is what makes `down` reliable after a crash. The network
# namespace is the caller's, so that engines reach a test's registry on 127.0.0.1 and
# tests reach published ports. What they change there is noted at `up` and undone
# at `down`. Hence one engine at a time there, and none beside a Docker of your own:
# for both use `unshare --net` and a folder of its own.

# shellcheck disable=SC2317 # some functions are only called through wait_until

set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
STATE=$(realpath -m "${IMAGEWATCH_LAB:-/tmp/imagewatch-lab}")
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/imagewatch-lab
ENGINES=(docker-20.10 docker-28.5 podman-4.3 podman-5.8)
COMMON=(docker-registry busybox-static apache2-utils iptables nftables iproute2
  ca-certificates curl haproxy libfaketime musl-tools prometheus zsh fish mandoc python3-yaml
  chromium)
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='imagewatch-lab: temporary'
DAEMON_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

usage() {
  sed -n '3,/^$/{s/^# \{0,1\}//p}' "$SELF" >&2
  exit 2
}

known() {
  local engine
  for engine in "${ENGINES[@]}"; do [[ $engine == "$1" ]] && return; done
  die "unknown engine '$1' (known: ${ENGINES[*]})"
}

as_root() { [[ $(id -u) == 0 ]] || die "needs root"; }

# Installing and starting change things that exist once per machine (packages, the
# network), so the lock is per machine too; a folder as lock leaves no file behind.
lock() {
  exec 9</run
  flock -w 900 9 || die "another lab.sh has been busy for 15 minutes"
}

dir_of() { echo "$STATE/$1"; }
socket_of() { echo "$STATE/$1/docker.sock"; }
root_of() { echo "$CACHE/forky-${1%%-*}"; }
in_chroot() { [[ $1 == docker-28.5 || $1 == podman-5.8 ]]; }

# ---------------------------------------------------------------- install

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
}

is_installed() {
  if in_chroot "$1"; then [[ -d $(root_of "$1") ]]; return; fi
  # shellcheck disable=SC2046 # a list of words
  [[ -z $(missing $(packages_of "$1")) ]]
}

# ---------------------------------------------------------------- processes

# Field N of /proc/PID/stat, counted as in proc(5); the name in field 2 may hold anything.
stat_field() {
  local stat fields
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }"
  echo "${fields[$2 - 3]}"
}

# The engine's process 1 as the host numbers it. A number alone may have been given
# to somebody else since: it counts only together with its start time.
init_pid() {
  local pid started
  { read -r pid started <"$(dir_of "$1")/init"; } 2>/dev/null || return 1
  [[ $(stat_field "$pid" 22) == "$started" ]] || return 1
  [[ $(stat_field "$pid" 3) != Z ]] || return 1
  echo "$pid"
}

daemon_pid() {
  local init stat pid
  init=$(init_pid "$1") || return 1
  for stat in /proc/[0-9]*/stat; do
    pid=${stat//[^0-9]/}
    [[ $(stat_field "$pid" 4) == "$init" && $(stat_field "$pid" 3) != Z ]] || continue
    case $(cat "/proc/$pid/comm" 2>/dev/null) in
      dockerd | podman) echo "$pid"; return ;;
    esac
  done
  return 1
}

# wait_until SECONDS COMMAND...: 1 if it does not come true in time
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

has_no_init() { ! init_pid "$1" >/dev/null; }
has_no_daemon() { ! daemon_pid "$1" >/dev/null; }

containers_of() {
  local id
  for id in "$(dir_of "$1")"/data/{containers,vfs-containers}/*; do
    id=${id##*/}
    [[ ${#id} != 64 ]] || echo "$id"
  done
}

# With cgroup v1 a paused process does not even die of SIGKILL.
thaw_containers() {
  local id
  for id in $(containers_of "$1"); do
    find /sys/fs/cgroup/freezer -path "*$id*" -name freezer.state 2>/dev/null || true
  done | while read -r state; do echo THAWED >"$state" || true; done
}

# Process 1 is gone only after everything else in its namespace is.
end_processes() {
  local pid
  pid=$(init_pid "$1") || return 0
  thaw_containers "$1"
  kill -KILL "$pid" 2>/dev/null || true
  wait_until 30 has_no_init "$1" || die "process $pid of $1 does not end"
}

# ---------------------------------------------------------------- the host's network

links() { ip -o link | awk -F': ' '{ sub(/@.*/, "", $2); print $2 }'; }

# Settings the engines switch on for the whole machine.
SYSCTLS=(net/ipv4/ip_forward net/ipv6/conf/all/forwarding net/ipv6/conf/default/forwarding
  net/bridge/bridge-nf-call-iptables net/bridge/bridge-nf-call-ip6tables)

save_network() {
  local to=$1 key tool
  mkdir -p "$to"
  readlink /proc/self/ns/net >"$to/namespace"
  links >"$to/links"
  nft list tables >"$to/nft"
  for tool in iptables ip6tables; do "$tool-save" >"$to/$tool"; done
  for key in "${SYSCTLS[@]}"; do
    [[ ! -e /proc/sys/$key ]] || echo "$key $(cat "/proc/sys/$key")"
  done >"$to/sysctl"
  : >"$to/complete"
}

# Docker empties chains of its name when it starts: a lab engine would cut off the
# containers of a Docker that runs here already.
refuse_foreign_docker() {
  if grep -qx docker0 < <(links) || grep -q '^:DOCKER' < <(iptables-save 2>/dev/null); then
    die "docker0 or chains of a Docker exist in this network namespace; not touching them"
  fi
}

# Bridges an engine made, and the host's ends of veth pairs, by the engines' naming
# rules and only if they were not here before: others make links as well.
engine_links() {
  links | grep -vxFf "$1/links" | grep -E '^(docker0|docker_gwbridge|br-[0-9a-f]{12}|dm-[0-9a-f]{12}|podman[0-9]+|veth.*)$'
}

# The kernel takes dead containers' network namespaces down in its own time; the
# veth pairs go with them.
drop_links() {
  local link
  no_veth() { ! grep -q '^veth' < <(engine_links "$1"); }
  wait_until 5 no_veth "$1" || say "veth interfaces linger; removing them"
  for link in $(engine_links "$1"); do ip link delete "$link" 2>/dev/null || true; done
}

# Reads iptables-save -c, prints it without the engines' chains and rules, and with
# FORWARD's policy as it was. Rules that were here before stay in any case. Two kinds
# of Docker's rules name neither a chain nor a bridge of its own: those from a
# container's address to itself, and those that keep strangers off a port published
# on 127.0.0.1.
without_engine_rules() {
  awk -v before="$1" '
    BEGIN {
      while ((getline line < before) > 0) {
        split(line, word, " ")
        if (line ~ /^\*/) table = line
        if (word[1] == "-A") kept[table, line] = 1
        if (word[1] == ":FORWARD") policy[table] = word[2]
      }
    }
    /^\*/ { table = $0 }
    /^:(DOCKER|NETAVARK|CNI-)/ { next }
    /^\[/ {
      rule = $0
      sub(/^[^ ]+ /, "", rule)
      if ((table, rule) in kept) { print; next }
      if (table == "*raw" && /! -i lo .*-j DROP$/) next
      if (/DOCKER|NETAVARK|CNI-|netavark/) next
      if (/ -[io] (docker0|docker_gwbridge|br-[0-9a-f]+|podman[0-9]+) /) next
      from = to = ""
      for (i = 1; i < NF; i++) { if ($i == "-s") from = $(i + 1); if ($i == "-d") to = $(i + 1) }
      if (from != "" && from == to && /MASQUERADE/) next
    }
    /^:FORWARD / { $2 = (table in policy) ? policy[table] : "ACCEPT" }
    { print }'
}

restore_rules() {
  local from=$1 tool kept
  for tool in iptables ip6tables; do
    kept=$("$tool-save" -c | without_engine_rules "$from/$tool")
    [[ -z $kept ]] || "$tool-restore" -c <<<"$kept"
  done
}

is_empty_table() {
  ! grep -Evq '^(table .*|\s*chain .*|\s*type .*policy accept;|\s*\}?)$' < <(nft list table "$1" "$2")
}

# Looking at a table with iptables is enough to make it. Those that were not here
# before and hold nothing now go, so that the machine reads as it did.
drop_empty_tables() {
  local family table
  while read -r _ family table; do
    if [[ $table == netavark ]] || is_empty_table "$family" "$table"; then
      nft delete table "$family" "$table"
    fi
  done < <(nft list tables | grep -vxFf "$1/nft")
}

restore_network() {
  local from=$1 key value
  [[ -e $from/complete ]] || return 0
  [[ $(readlink /proc/self/ns/net) == "$(<"$from/namespace")" ]] || {
    say "it was started in another network namespace; this one stays as it is"
    return 0
  }
  drop_links "$from"
  restore_rules "$from"
  drop_empty_tables "$from"
  while read -r key value; do
    [[ $(cat "/proc/sys/$key") == "$value" ]] || echo "$value" >"/proc/sys/$key"
  done <"$from/sysctl"
}

# ---------------------------------------------------------------- inside the namespaces

# Fixed paths an engine on the host would otherwise share with one installed there.
hide_host_paths() {
  local path
  for path in "$@"; do
    mkdir -p "$path"
    mount -t tmpfs tmpfs "$path"
  done
}

private_paths_of() {
  case $1 in
    docker-20.10) echo /run/docker /run/containerd /etc/docker ;;
    podman-4.3) echo /run/libpod /run/containers /run/netns /run/crun /var/lib/containers ;;
  esac
}

# runc's pivot_root would show a container the host's files if the engine only sat in
# a chroot, so the engine's root is a real mount and really the root. The cached
# system is its lower layer: what a daemon writes goes away with its state.
enter_root() {
  local engine=$1 dir lower root
  dir=$(dir_of "$engine")
  lower=$(root_of "$engine")
  root=$dir/root/merged
  mkdir -p "$dir"/root/{upper,work,merged}
  mount -t overlay overlay \
    -o "lowerdir=$lower,upperdir=$dir/root/upper,workdir=$dir/root/work" "$root"
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/dev/shm"
  mount -t tmpfs tmpfs "$root/run"
  mount -t tmpfs tmpfs "$root/tmp"
  mkdir -p "$root$dir" "$root/run/lock" "$root/.old"
  mount --bind "$dir" "$root$dir"
  cat /etc/resolv.conf >"$root/etc/resolv.conf"
  cat /etc/hosts >"$root/etc/hosts"
  cd "$root"
  pivot_root . .old
  cd /
  umount -l /.old
}

# The daemon's environment is the same on every machine, plus what LAB_DAEMON_ENV asked for.
with_env() {
  local extra
  mapfile -t extra <"$DIR/env"
  exec env -i PATH="$DAEMON_PATH" HOME=/root "${extra[@]}" "$@"
}

# dockerd's own child containerd would be looked up at the system's address first;
# one of ours, without Kubernetes' half, cannot be mixed up with another.
run_containerd() {
  [[ -z ${containerd:-} ]] || ! kill -0 "$containerd" 2>/dev/null || return 0
  printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' >"$DIR/containerd.toml"
  rm -f /run/containerd/containerd.sock
  (with_env containerd --config "$DIR/containerd.toml" --log-level warn \
    --root "$DIR/containerd" --state /run/containerd \
    --address /run/containerd/containerd.sock) &
  containerd=$!
  wait_until 20 test -S /run/containerd/containerd.sock
}

# An empty configuration file of its own, lest it read the machine's; no systemd to
# manage cgroups in its PID namespace.
run_dockerd() {
  echo '{}' >"$DIR/daemon.json"
  rm -f "$DIR/pid"
  with_env dockerd --config-file "$DIR/daemon.json" --group root \
    --data-root "$DIR/data" --exec-root /run/docker --pidfile "$DIR/pid" \
    --containerd /run/containerd/containerd.sock --exec-opt native.cgroupdriver=cgroupfs \
    -H "unix://$DIR/docker.sock" "$@"
}

# Unlike Docker, Podman speaks plain HTTP to a loopback registry only when told.
run_podman() {
  printf '[[registry]]\nprefix = "127.0.0.1"\nlocation = "127.0.0.1"\ninsecure = true\n' \
    >"$DIR/registries.conf"
  rm -f "$DIR/docker.sock"
  with_env podman \
    --root "$DIR/data" --runroot /run/containers/storage --storage-driver=vfs \
    --network-config-dir "$DIR/networks" --cgroup-manager=cgroupfs --events-backend=file \
    --log-level=warn system service --time=0 "unix://$DIR/docker.sock"
}

run_daemon() {
  case $1 in
    docker-20.10) run_dockerd ;;
    docker-28.5) run_dockerd --feature containerd-snapshotter=true ;;
    podman-*) run_podman ;;
  esac
}

# Process 1 of the engine. It outlives the daemon: after a crash shims and containers
# stay, as they would on a real host, until `restart` (USR1) or `down`.
init() {
  local engine=$1 pid rest daemon again=
  DIR=$(dir_of "$engine")
  # /proc is still the host's here, and so is the number in it.
  read -r pid rest </proc/self/stat
  echo "$pid $(stat_field "$pid" 22)" >"$DIR/init"
  exec 9<&-
  # crun refuses a host with cgroup v1 that shows the v2 tree besides.
  [[ $engine != podman-* ]] || umount /sys/fs/cgroup/unified 2>/dev/null || true
  if in_chroot "$engine"; then
    enter_root "$engine"
  else
    mount -t proc proc /proc
    # shellcheck disable=SC2046 # a list of words
    hide_host_paths $(private_paths_of "$engine")
    # Podman's lock table has a fixed name there.
    mount -t tmpfs tmpfs /dev/shm
  fi
  trap 'again=1' USR1
  while :; do
    again=
    case $engine in docker-*) run_containerd ;; esac
    (run_daemon "$engine") &
    daemon=$!
    while kill -0 "$daemon" 2>/dev/null; do wait "$daemon" || true; done
    : >"$DIR/ended"
    until [[ -n $again ]]; do
      sleep 60 &
      wait $! || true
    done
  done
}

# ---------------------------------------------------------------- up, restart, down

# K=V per line. A certificate file named there is the host's; an engine with a root
# of its own gets a copy in the folder both sides see.
write_env() {
  local engine=$1 dir=$2 pair
  case $engine in
    docker-28.5) echo DOCKER_MIN_API_VERSION=1.44 ;;
    podman-*) echo "CONTAINERS_REGISTRIES_CONF=$dir/registries.conf" ;;
  esac
  for pair in ${LAB_DAEMON_ENV:-}; do
    [[ $pair == ?*=* ]] || die "LAB_DAEMON_ENV: '$pair' is not K=V"
    if [[ $pair == SSL_CERT_FILE=* ]] && in_chroot "$engine"; then
      cat "${pair#*=}" >"$dir/ssl-cert-file.pem"
      pair=SSL_CERT_FILE=$dir/ssl-cert-file.pem
    fi
    printf '%s\n' "$pair"
  done
}

answers() {
  [[ $(curl -s -m 2 --unix-socket "$(socket_of "$1")" http://engine/_ping) == OK ]]
}

settled() { has_no_init "$1" || [[ -e $(dir_of "$1")/ended ]] || answers "$1"; }

await_answer() {
  local engine=$1
  wait_until 60 settled "$engine" || true
  answers "$engine" || {
    tail -n 30 "$(dir_of "$engine")/log" >&2
    return 1
  }
}

# A session of its own, so that a Ctrl-C for the tests is not one for the engine; no
# open pipe, so that socket=$(lab.sh up …) returns. The engine inherits the lock and
# lets go of it once `down` could find it: killing `up` at any point loses no engine.
boot() {
  local engine=$1 dir
  dir=$(dir_of "$engine")
  rm -f "$dir/init" "$dir/ended" "$dir/docker.sock"
  # shellcheck disable=SC2016 # for the inner bash to expand
  IMAGEWATCH_LAB=$STATE setsid unshare --mount --pid \
    bash -c 'bash "$1" _init "$2" & exec 9<&-; wait' engine "$SELF" "$engine" \
    </dev/null >>"$dir/log" 2>&1 &
  wait_until 10 test -s "$dir/init" || true
}

up() {
  local engine=$1 other dir
  known "$engine"
  as_root
  is_installed "$engine" || die "$engine is not installed: run '$0 install $engine'"
  dir=$(dir_of "$engine")
  ((${#dir} + 12 <= 107)) || die "$dir is too long for a socket path; set IMAGEWATCH_LAB"
  lock
  for other in "${ENGINES[@]}"; do
    [[ ! -e $(dir_of "$other") ]] ||
      die "$other is up (or left over): run '$0 down $other' first"
  done
  refuse_foreign_docker
  # shellcheck disable=SC2064 # $engine is gone when the trap runs
  trap "end '$engine'" EXIT
  mkdir -p "$dir"
  write_env "$engine" "$dir" >"$dir/env"
  save_network "$dir/network"
  boot "$engine"
  await_answer "$engine" || die "$engine did not come up"
  trap - EXIT
  socket_of "$engine"
}

stop_daemon() {
  local engine=$1 pid
  pid=$(daemon_pid "$engine") || return 0
  kill -TERM "$pid" 2>/dev/null || true
  # dockerd gives containers 10 s each and itself 15 s before it gives up on them
  wait_until 40 has_no_daemon "$engine" || {
    say "$engine does not stop by itself; killing it"
    kill -KILL "$pid" 2>/dev/null || true
    wait_until 10 has_no_daemon "$engine"
  }
}

restart() {
  local engine=$1 dir init
  known "$engine"
  as_root
  dir=$(dir_of "$engine")
  [[ -e $dir/network/complete ]] || die "$engine is not up"
  lock
  if init=$(init_pid "$engine"); then
    stop_daemon "$engine"
    wait_until 5 test -e "$dir/ended" || die "$engine: its process 1 does not answer"
    rm -f "$dir/ended" "$dir/docker.sock"
    kill -USR1 "$init"
  else
    boot "$engine"
  fi
  await_answer "$engine" || die "$engine did not come back"
  socket_of "$engine"
}

# The kernel still takes connections for it; nobody reads from them.
freeze() { kill -STOP "$(daemon_pid "$1")"; }

thaw() { kill -CONT "$(daemon_pid "$1")"; }

# Where a layer goes first when it is pulled.
downloads_of() {
  case $1 in
    docker-20.10) echo "$(dir_of "$1")/data/tmp" ;;
    docker-28.5) echo "$(dir_of "$1")/containerd/io.containerd.content.v1.content/ingest" ;;
    podman-*) echo /var/tmp ;;
  esac
}

inside_engine() { nsenter --mount="/proc/$(init_pid "$1")/ns/mnt" "${@:2}"; }

# A file system with an inode for itself and none for anything in it.
fill() { inside_engine "$1" mount -t tmpfs -o nr_inodes=1 tmpfs "$(downloads_of "$1")"; }

empty() { inside_engine "$1" umount "$(downloads_of "$1")"; }

# Control groups outlive a container that was killed rather than stopped. Only those
# of containers in our data are ours; their parents go when that leaves them empty.
drop_cgroups() {
  local id
  for id in $(containers_of "$1"); do
    find /sys/fs/cgroup -depth -type d -path "*$id*" -exec rmdir {} + 2>/dev/null || true
  done
  find /sys/fs/cgroup -depth -type d \
    \( -name docker -o -name libpod_parent -o -path '*/libpod_parent/conmon' \) \
    -exec rmdir {} + 2>/dev/null || true
}

end() {
  local engine=$1 dir
  dir=$(dir_of "$engine")
  [[ -e $dir ]] || return 0
  end_processes "$engine"
  restore_network "$dir/network"
  drop_cgroups "$engine"
  # Mount points that had to be made; rmdir spares those that are in use.
  # shellcheck disable=SC2046 # a list of words
  in_chroot "$engine" || rmdir $(private_paths_of "$engine") 2>/dev/null || true
  rm -rf "$dir"
  rmdir "$STATE" 2>/dev/null || true
}

down() {
  local engine
  as_root
  lock
  if [[ $1 == --all ]]; then
    for engine in "${ENGINES[@]}"; do end "$engine"; done
  else
    known "$1"
    end "$1"
  fi
}

status() {
  local engine line pid
  for engine in "${ENGINES[@]}"; do
    line="$engine: not installed"
    if is_installed "$engine"; then line="$engine: installed"; fi
    if [[ -e $(dir_of "$engine") ]]; then
      line="$engine: left over"
      if init_pid "$engine" >/dev/null; then line="$engine: daemon dead"; fi
      if pid=$(daemon_pid "$engine"); then line="$engine: up, pid $pid"; fi
      line+=", $(socket_of "$engine")"
    fi
    echo "$line"
  done
}

main() {
  case ${1:-} in
    install) shift; install "$@" ;;
    status) status ;;
    up | restart | freeze | thaw | fill | empty | down | _init)
      [[ $# == 2 ]] || usage
      case $1 in
        freeze | thaw | fill | empty) known "$2" && "$1" "$2" ;;
        up) up "$2" ;;
        restart) restart "$2" ;;
        down) down "$2" ;;
        _init) init "$2" ;;
      esac
      ;;
    *) usage ;;
  esac
}

main "$@"; exit
