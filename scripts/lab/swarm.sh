#!/usr/bin/env bash
#
# A swarm's three nodes: three engines docker-28.5, each in a network namespace of its own, on one bridge.
#
#   scripts/lab/swarm.sh up          start them; prints their sockets, nothing else
#   scripts/lab/swarm.sh kill N      end node N's daemon with SIGKILL; its tasks run on
#   scripts/lab/swarm.sh start N     start it again, if it does not run
#   scripts/lab/swarm.sh part N      cut node N off from the others
#   scripts/lab/swarm.sh join N      connect it again
#   scripts/lab/swarm.sh down        end them and leave nothing behind
#
# IMAGEWATCH_LAB is where they keep their state, and the caller's network namespace, which has to be one of its own
# (unshare --net), gets the bridge. Node N is 10.98.0.N, and the namespace itself 10.98.0.254. The nodes make no swarm
# yet: the tests do that.
#
# A node takes its own 127.0.0.1 for that of the caller, where the tests' registries listen. Without the kernel's IPVS
# there are no virtual addresses and no ingress, so services are reached by DNS (endpoint mode dnsrr).

set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
HERE=${SELF%/*}
STATE=$(realpath -m "${IMAGEWATCH_LAB:-/tmp/imagewatch-lab}")
ENGINE=docker-28.5
NODES=(1 2 3)
OUTSIDE=10.98.0.254

# For the functions of lab.sh's parts.
dir_of() { echo "$NODE/$1"; }
# shellcheck source=/dev/null
source "$HERE/processes.sh"

usage() {
  sed -n '3,/^$/{s/^# \{0,1\}//p}' "$SELF" >&2
  exit 2
}

node() { NODE=$STATE/n$1; }

lab() { IMAGEWATCH_LAB=$NODE "$HERE/lab.sh" "$@"; }

# In the namespace of a node, whose link's other end goes to the namespace of process $2.
node_up() {
  local number=$1 outside=$2
  node "$number"
  ip link set lo up
  ip link add eth0 type veth peer name "swarm$number" netns "$outside"
  ip address add "10.98.0.$number/24" dev eth0
  ip link set eth0 up
  ip route add default via "$OUTSIDE"
  echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
  # Docker's own resolver and the like are in the namespaces of containers.
  iptables -t nat -A OUTPUT -d 127.0.0.1 -p tcp -j DNAT --to-destination "$OUTSIDE"
  iptables -t nat -A POSTROUTING -s 127.0.0.1 -o eth0 -j MASQUERADE
  lab up "$ENGINE" >/dev/null
}

up() {
  local number
  ip link set lo up
  ip link add swarm0 type bridge
  ip address add "$OUTSIDE/24" dev swarm0
  ip link set swarm0 up
  echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
  iptables -t nat -A PREROUTING -i swarm0 -d "$OUTSIDE" -p tcp -j DNAT --to-destination 127.0.0.1
  for number in "${NODES[@]}"; do
    # The engine keeps the namespace alive after this.
    unshare --net "$SELF" _node "$number" $$
    ip link set "swarm$number" master swarm0 up
    echo "$STATE/n$number/$ENGINE/docker.sock"
  done
}

start() {
  node "$1"
  daemon_pid "$ENGINE" >/dev/null || lab restart "$ENGINE" >/dev/null
}

down() {
  local number
  for number in "${NODES[@]}"; do
    node "$number"
    lab down "$ENGINE" 2>/dev/null
  done
  ip link delete swarm0 2>/dev/null || true
}

case ${1-} in
  up | down) [[ $# == 1 ]] || usage ;;
  kill | start | part | join) [[ $# == 2 && ${2-} == [123] ]] || usage ;;
  _node) ;;
  *) usage ;;
esac
case $1 in
  up) up ;;
  down) down ;;
  kill)
    node "$2"
    kill -KILL "$(daemon_pid "$ENGINE")"
    wait_until 10 has_no_daemon "$ENGINE"
    ;;
  start) start "$2" ;;
  part) ip link set "swarm$2" down ;;
  join) ip link set "swarm$2" up ;;
  _node) node_up "$2" "$3" ;;
esac
