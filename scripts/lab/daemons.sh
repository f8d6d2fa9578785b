# A part of lab.sh: an engine's process 1 inside the namespaces, and the daemons that it starts.

# shellcheck shell=bash

DAEMON_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

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
  # shellcheck disable=SC2164 # lab.sh ends with the first failure
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
  local tls=()
  if [[ -e $DIR/tls/address ]]; then
    tls=(-H "tcp://$(<"$DIR/tls/address")" --tlsverify --tlscacert "$DIR/tls/ca.pem"
      --tlscert "$DIR/tls/cert.pem" --tlskey "$DIR/tls/key.pem")
  fi
  echo '{}' >"$DIR/daemon.json"
  rm -f "$DIR/pid"
  with_env dockerd --config-file "$DIR/daemon.json" --group root \
    --data-root "$DIR/data" --exec-root /run/docker --pidfile "$DIR/pid" \
    --containerd /run/containerd/containerd.sock --exec-opt native.cgroupdriver=cgroupfs \
    -H "unix://$DIR/docker.sock" "${tls[@]}" "$@"
}

# Unlike Docker, Podman speaks plain HTTP to a loopback registry only when told.
run_podman() {
  printf '[[registry]]\nprefix = "127.0.0.1"\nlocation = "127.0.0.1"\ninsecure = true\n' \
    >"$DIR/registries.conf"
  rm -f "$DIR/docker.sock"
  podman_here system service --time=0 "unix://$DIR/docker.sock"
}

podman_here() {
  with_env podman \
    --root "$DIR/data" --runroot /run/containers/storage --storage-driver=vfs \
    --network-config-dir "$DIR/networks" --cgroup-manager=cgroupfs --events-backend=file \
    --log-level=warn "$@"
}

# Podman has no daemon that would start containers at a boot: its podman-restart.service calls this.
start_podman_containers() {
  case $1 in
    podman-4.3) podman_here start --all --filter restart-policy=always ;;
    podman-*) podman_here start --all --filter should-start-on-boot=true ;;
  esac
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
  [[ $engine != podman-* ]] || (start_podman_containers "$engine") || true
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
