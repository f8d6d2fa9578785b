# A part of lab.sh: what can be done to an engine, from its start to its end.

# shellcheck shell=bash

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

# "ADDRESS:PORT FOLDER" in LAB_DAEMON_TLS: a Docker there takes clients with a certificate of the
# authority whose ca.pem is in the folder, with its own cert.pem and key.pem.
write_tls() {
  local dir=$1 address folder
  [[ -n ${LAB_DAEMON_TLS:-} ]] || return 0
  read -r address folder <<<"$LAB_DAEMON_TLS"
  mkdir -p "$dir/tls"
  cp "$folder"/{ca,cert,key}.pem "$dir/tls"
  echo "$address" >"$dir/tls/address"
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
  write_tls "$dir"
  save_network "$dir/network"
  boot "$engine"
  await_answer "$engine" || die "$engine did not come up"
  trap - EXIT
  socket_of "$engine"
}

kill_daemon() {
  local engine=$1 pid
  pid=$(daemon_pid "$engine") || return 0
  kill -KILL "$pid" 2>/dev/null || true
  wait_until 10 has_no_daemon "$engine"
}

stop_daemon() {
  local engine=$1 pid
  pid=$(daemon_pid "$engine") || return 0
  kill -TERM "$pid" 2>/dev/null || true
  # dockerd gives containers 10 s each and itself 15 s before it gives up on them
  wait_until 40 has_no_daemon "$engine" || {
    say "$engine does not stop by itself; killing it"
    kill_daemon "$engine"
  }
}

# restart ENGINE [HOW]: its daemon is ended by HOW, `stop_daemon` or `kill_daemon`
restart() {
  local engine=$1 end=${2:-stop_daemon} dir init
  known "$engine"
  as_root
  dir=$(dir_of "$engine")
  [[ -e $dir/network/complete ]] || die "$engine is not up"
  lock
  if init=$(init_pid "$engine"); then
    "$end" "$engine"
    wait_until 5 test -e "$dir/ended" || die "$engine: its process 1 does not answer"
    rm -f "$dir/ended" "$dir/docker.sock"
    kill -USR1 "$init"
  else
    boot "$engine"
  fi
  await_answer "$engine" || die "$engine did not come back"
  socket_of "$engine"
}

# Nothing that only memory holds is there afterwards: no process, no link, no rule, no control group, nothing
# in /run, which is a file system of its namespace.
cut() {
  local engine=$1 dir
  known "$engine"
  as_root
  dir=$(dir_of "$engine")
  [[ -e $dir/network/complete ]] || die "$engine is not up"
  lock
  end_processes "$engine"
  restore_network "$dir/network"
  drop_cgroups "$engine"
  boot "$engine"
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

# Mount points that had to be made. Removing one would unmount it in the namespace of
# another run's engine as well.
drop_mount_points() {
  local path
  for path in $(private_paths_of "$1"); do
    grep -qs " $path " /proc/[0-9]*/mountinfo || rmdir "$path" 2>/dev/null || true
  done
}

end() {
  local engine=$1 dir
  dir=$(dir_of "$engine")
  [[ -e $dir ]] || return 0
  end_processes "$engine"
  restore_network "$dir/network"
  drop_cgroups "$engine"
  in_chroot "$engine" || drop_mount_points "$engine"
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
