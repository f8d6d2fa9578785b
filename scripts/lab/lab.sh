#!/usr/bin/env bash
#
# Private, throw-away container engines for the tests.
#
#   scripts/lab/lab.sh install ENGINE...   install what these engines need
#   scripts/lab/lab.sh up ENGINE           start one; prints its socket, nothing else
#   scripts/lab/lab.sh restart ENGINE      restart its daemon on the same data and socket
#   scripts/lab/lab.sh kill ENGINE         the same with SIGKILL: its containers may run on
#   scripts/lab/lab.sh cut ENGINE          the power: its daemon and its containers end at once, then it
#                                          starts as after a boot, on the same data and socket
#   scripts/lab/lab.sh freeze ENGINE       its daemon does nothing more until `thaw`
#   scripts/lab/lab.sh fill ENGINE         it has no room for what it pulls until `empty`
#   scripts/lab/lab.sh down ENGINE|--all   end it and leave nothing behind
#   scripts/lab/lab.sh status              what is installed, what is up
#   scripts/lab/lab.sh compose             prints where Docker Compose is, which `install` fetches
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
#   LAB_DAEMON_TLS         "ADDRESS:PORT FOLDER": a Docker also listens there, with TLS
#
# How it works. A daemon gets a mount and a PID namespace of its own, with this
# script as process 1 (`_init`). Ending that one process makes the kernel end the
# daemon, its shims and its containers and drop every mount they made, whatever
# state they are in; that is what makes `down` reliable after a crash. The network
# namespace is the caller's, so that engines reach a test's registry on 127.0.0.1 and
# tests reach published ports. What they change there is noted at `up` and undone
# at `down`. Hence one engine at a time there, and none beside a Docker of your own:
# for both use `unshare --net` and a folder of its own.

# shellcheck disable=SC2317 # most functions are called by the parts

set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
STATE=$(realpath -m "${IMAGEWATCH_LAB:-/tmp/imagewatch-lab}")
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/imagewatch-lab
ENGINES=(docker-20.10 docker-28.5 podman-4.3 podman-5.8)

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

# All of it is read before `_init` takes another root.
for part in install processes network daemons engines; do
  # shellcheck source=/dev/null
  source "${SELF%/*}/$part.sh"
done

main() {
  case ${1:-} in
    install) shift; install "$@" ;;
    status) status ;;
    compose) echo "$COMPOSE" ;;
    up | restart | kill | cut | freeze | thaw | fill | empty | down | _init)
      [[ $# == 2 ]] || usage
      case $1 in
        freeze | thaw | fill | empty) known "$2" && "$1" "$2" ;;
        up) up "$2" ;;
        restart) restart "$2" ;;
        kill) restart "$2" kill_daemon ;;
        cut) cut "$2" ;;
        down) down "$2" ;;
        _init) init "$2" ;;
      esac
      ;;
    *) usage ;;
  esac
}

main "$@"; exit
