# A part of lab.sh: finds an engine's process 1 and its daemon, and ends what it runs.

# shellcheck shell=bash

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
