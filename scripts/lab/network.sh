# A part of lab.sh: notes what an engine could change in the network namespace, and puts it back.

# shellcheck shell=bash

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
  # shellcheck disable=SC2317 # called through wait_until
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
