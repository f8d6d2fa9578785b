//! Podman's inspect, rewritten as Docker's would be, so that the other rules need to know only one dialect.
//!
//! Seen on Podman 5.8 (API 1.44). Settings that Podman adds by itself are removed. Settings that it spells
//! differently are spelled as `create` wants them.

use super::Facts;
use super::is_blank;
use crate::engine::Container;
use crate::engine::Image;
use crate::engine::State;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// The entries that Podman adds to `Env`, besides the host name and the home.
const ENV: [&str; 4] = [
    "container=podman",
    "TERM=xterm",
    "HOME=",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
];
/// Annotations that Podman writes for itself. If they were carried over, they would pin the old settings.
const ANNOTATIONS: [&str; 4] = [
    "io.container.",
    "io.podman.",
    "org.opencontainers.image.",
    "org.systemd.property.",
];
/// Options that Podman adds to a tmpfs, and refuses or repeats when they are given.
const TMPFS_OPTIONS: [&str; 4] = ["rprivate", "nosuid", "nodev", "tmpcopyup"];
/// Values that mean "not set". Sending them back is refused, or pins a default, or (a stop timeout of 0,
/// Podman 4.3) kills at once.
const UNSET: [(&str, &[i64]); 2] = [("StopTimeout", &[0, 10]), ("MemorySwappiness", &[0, -1])];
/// The limit that containers.conf(5) gives to every container.
const DEFAULT_PIDS_LIMIT: u32 = 2048;
/// The signals from 1 on (signal(7), all but Alpha, MIPS and PA-RISC).
const SIGNALS: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT \
    CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";
/// Podman's defaults for an image's health check, in nanoseconds.
const HEALTH_DEFAULTS: [(&str, i64); 3] = [
    ("Interval", 30_000_000_000),
    ("Timeout", 30_000_000_000),
    ("Retries", 3),
];
/// Options of `podman run` whose effect its Docker API neither shows nor, mostly, takes.
const HIDDEN: &str = " --ip --ip6 --sysctl --log-opt --umask --tz --secret --userns --uidmap --gidmap \
    --subuidname --subgidname --device-cgroup-rule --gpus --requires --timeout --cgroups \
    --cgroup-conf --health-on-failure --health-startup-cmd --sdnotify --rootfs --chrootdirs \
    --hostuser --passwd-entry --group-entry --preserve-fd --preserve-fds --image-volume --init-ctr \
    --seccomp-policy --unsetenv --unsetenv-all --personality --hosts-file --no-hosts ";

/// The container as Docker would show it.
pub(super) fn as_docker(facts: &Facts, libpod: &Value) -> Container {
    let mut json = facts.old.json().clone();
    let empty = Map::new();
    let image = facts.old_image.map_or(&empty, Image::config);
    if let Some(Value::Object(config)) = json.get_mut("Config") {
        rewrite_config(config, image);
    }
    if let Some(Value::Object(host)) = json.get_mut("HostConfig") {
        rewrite_host(host, &libpod["HostConfig"]);
        // Podman shows the kind of the networks. Docker shows the name of the first network.
        let mut networks = facts.old.networks().keys();
        if host.get("NetworkMode") == Some(&json!("bridge")) {
            if let Some(network) = networks.next() {
                host.insert("NetworkMode".to_owned(), json!(network));
            }
        }
    }
    if facts.old.state() == State::Exited && is_between_runs(facts.old, libpod) {
        if let Some(Value::Object(state)) = json.get_mut("State") {
            state.insert("Status".to_owned(), json!("restarting"));
        }
    }
    Container::new(json)
}

/// Whether a container that is shown as ended runs now (`libpod` was asked later), or will run in a moment.
///
/// Between two runs of a crash loop, Podman shows Docker's clients an exited container, like one that was
/// stopped for good. Its own API shows `stopped` between two runs, and `exited` for good.
#[must_use]
pub(crate) fn is_between_runs(container: &Container, libpod: &Value) -> bool {
    let status = &libpod["State"]["Status"];
    status == "running" || status == "stopped" && container.starts_again()
}

fn rewrite_config(config: &mut Map<String, Value>, image: &Map<String, Value>) {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    // The home of a user that the image does not know is the working directory.
    let mut added = vec![
        format!("HOSTNAME={}", text("Hostname")),
        format!("HOME={}", text("WorkingDir")),
    ];
    if matches!(text("User"), "" | "0" | "root") {
        added.push("HOME=/root".to_owned());
    }
    if let Some(Value::Array(entries)) = config.get_mut("Env") {
        entries.retain(|entry| {
            let entry = entry.as_str().unwrap_or_default();
            !ENV.contains(&entry) && !added.iter().any(|added| added == entry)
        });
    }
    // Podman shows the signal as a number. Images name it.
    let signal = config.get("StopSignal").and_then(Value::as_str);
    let number = signal.and_then(|text| text.parse::<usize>().ok());
    let before = number.and_then(|number| number.checked_sub(1));
    if let Some(name) = before.and_then(|before| SIGNALS.split(' ').nth(before)) {
        config.insert("StopSignal".to_owned(), json!(format!("SIG{name}")));
    }
    for (key, default) in [("StopSignal", "SIGTERM"), ("WorkingDir", "/")] {
        if is_blank(image.get(key)) && config.get(key) == Some(&json!(default)) {
            config.remove(key);
        }
    }
    let given = image.get("Healthcheck").and_then(Value::as_object);
    if let (Some(given), Some(Value::Object(check))) = (given, config.get_mut("Healthcheck")) {
        for (key, default) in HEALTH_DEFAULTS {
            if !given.contains_key(key) && check.get(key) == Some(&json!(default)) {
                check.remove(key);
            }
        }
    }
    drop_unset(config);
}

fn rewrite_host(host: &mut Map<String, Value>, libpod: &Value) {
    apply_annotations(host, libpod);
    respell_entries(host);
    drop_defaults(host);
    // A size of -1B means no limit.
    let size = libpod["LogConfig"]["Size"].as_str().unwrap_or_default();
    let is_limited = !matches!(size, "" | "0B") && !size.starts_with('-');
    if let Some(Value::Object(log)) = host.get_mut("LogConfig").filter(|_| is_limited) {
        log.insert("Config".to_owned(), json!({"max-size": size}));
    }
    drop_unset(host);
}

/// Takes the settings that Podman keeps in annotations from there, then removes its annotations.
fn apply_annotations(host: &mut Map<String, Value>, libpod: &Value) {
    // Podman 4.3 shows its annotations only in its own API.
    let annotation = |host: &Map<String, Value>, key: &str| {
        let key = format!("io.podman.annotations.{key}");
        let annotations = host.get("Annotations");
        let shown = annotations.and_then(|annotations| annotations.get(&key));
        let own = libpod["Config"]["Annotations"].get(&key);
        shown.or(own).cloned()
    };
    if annotation(host, "init") == Some(json!("TRUE")) {
        host.insert("Init".to_owned(), json!(true));
    }
    // From 5.0 on, Podman writes down a limit that was asked for.
    let is_default = host.get("PidsLimit") == Some(&json!(DEFAULT_PIDS_LIMIT));
    if is_default && annotation(host, "pids-limit").is_none() {
        host.remove("PidsLimit");
    }
    if let Some(Value::Object(annotations)) = host.get_mut("Annotations") {
        annotations.retain(|key, _| !ANNOTATIONS.iter().any(|own| key.starts_with(own)));
    }
}

/// Spells the entries of lists and maps as `create` wants them.
fn respell_entries(host: &mut Map<String, Value>) {
    if let Some(Value::Object(mounts)) = host.get_mut("Tmpfs") {
        for options in mounts.values_mut() {
            let words = options.as_str().unwrap_or_default().split(',');
            let own: Vec<&str> = words.filter(|word| !TMPFS_OPTIONS.contains(word)).collect();
            *options = json!(own.join(","));
        }
    }
    if let Some(Value::Object(ports)) = host.get_mut("PortBindings") {
        ports.retain(|_, bindings| !bindings.is_null());
    }
    for limit in list(host, "Ulimits") {
        let name = limit["Name"].as_str().unwrap_or_default();
        if let Some(name) = name.strip_prefix("RLIMIT_") {
            limit["Name"] = json!(name.to_ascii_lowercase());
        }
    }
    for device in list(host, "Devices")
        .iter_mut()
        .filter_map(Value::as_object_mut)
    {
        if is_blank(device.get("CgroupPermissions")) {
            device.insert("CgroupPermissions".to_owned(), json!("rwm"));
        }
    }
}

/// Removes settings that Podman fills in by itself, or that follow from others.
fn drop_defaults(host: &mut Map<String, Value>) {
    for key in ["IpcMode", "PidMode", "UTSMode"] {
        if host.get(key) == Some(&json!("private")) {
            host.remove(key);
        }
    }
    if host.get("Runtime") == Some(&json!("oci")) {
        host.remove("Runtime");
    }
    // Podman shows this setting together with the period and the quota that it stands for, and refuses all three.
    if host.get("CpuQuota").and_then(Value::as_i64).unwrap_or(0) != 0 {
        host.remove("NanoCpus");
    }
    let ipc = host
        .get("IpcMode")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if matches!(ipc, "host" | "none") || ipc.starts_with("container:") {
        host.remove("ShmSize");
    }
}

/// The entries of a list; none if the key has no list.
fn list<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut [Value] {
    match map.get_mut(key) {
        Some(Value::Array(entries)) => entries,
        _ => &mut [],
    }
}

fn drop_unset(map: &mut Map<String, Value>) {
    for (key, values) in UNSET {
        let number = map.get(key).and_then(Value::as_i64);
        if number.is_some_and(|number| values.contains(&number)) {
            map.remove(key);
        }
    }
}

/// A setting that the successor would lose, because Podman's Docker API does not show it. Podman's own inspect
/// (`GET /libpod/containers/{id}/json`) shows how the container was created.
///
/// A container that was created through the API, for example by Compose, does not show that. So a static address
/// and sysctls are lost unseen there.
#[must_use]
pub fn lost_on_podman(libpod: &Value) -> Option<String> {
    if !is_blank(libpod.get("Pod")) {
        return Some("its pod".to_owned());
    }
    let mounts = libpod["Mounts"].as_array().into_iter().flatten();
    for kind in mounts.filter_map(|mount| mount["Type"].as_str()) {
        if !matches!(kind, "volume" | "bind" | "tmpfs") {
            return Some(format!("a mount of type {kind}"));
        }
    }
    let words = |key: &str| {
        libpod["Config"][key]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
    };
    let made_by = words("CreateCommand");
    // The words after the image are the container's own command.
    let made_by = made_by.strip_suffix(words("Cmd")).unwrap_or(made_by);
    let mut options = made_by.iter().filter_map(Value::as_str);
    let is_lost = |word: &&str| {
        let name = word.split('=').next().unwrap_or(word);
        let in_network = word.contains(":ip=") || word.contains(",ip=");
        in_network || (name.starts_with("--") && HIDDEN.contains(&format!(" {name} ")))
    };
    options.find(is_lost).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::testing::body_on;
    use super::*;
    use crate::engine::ApiVersion;

    /// The body for a container that Podman shows like this, its image and its own inspect.
    fn body(container: Value, image: Value, libpod: Value) -> Value {
        body_on(ApiVersion(1, 44), Some(&libpod), image, container)
    }

    #[test]
    fn what_podman_adds_by_itself_is_not_carried() {
        let container = json!({
            "Config": {
                "Hostname": "0123456789ab", "User": "", "WorkingDir": "/", "Entrypoint": [],
                "Env": ["A=1", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                        "container=podman", "TERM=xterm", "HOME=/root", "HOSTNAME=0123456789ab"],
                "StopSignal": "15", "StopTimeout": 10,
            },
            "HostConfig": {
                "NetworkMode": "bridge", "PidMode": "private", "UTSMode": "private", "IpcMode": "shareable",
                "Annotations": {"io.container.manager": "libpod", "a": "b",
                                "org.opencontainers.image.stopSignal": "15"},
                "Runtime": "oci", "MemorySwappiness": -1, "PidsLimit": 0,
                "Tmpfs": {"/t": "size=64k,mode=1777,rprivate,nosuid,nodev,tmpcopyup",
                          "/m": "size=1048576,mode=0,rprivate,nosuid,nodev,tmpcopyup"},
                "PortBindings": {"80/tcp": [{"HostPort": "8080"}], "81/tcp": null},
            },
            "NetworkSettings": {"Networks": {"bridge": null, "podman": {
                "Aliases": ["0123456789ab", "a"], "IPAddress": "10.88.0.2",
                "MacAddress": "ce:90:61:76:38:85"}}},
        });
        let body = body(container, json!({}), json!({}));
        assert_eq!(body["Env"], json!(["A=1"]));
        for gone in [
            "WorkingDir",
            "StopSignal",
            "StopTimeout",
            "Hostname",
            "Entrypoint",
        ] {
            assert_eq!(body.get(gone), None, "{gone}");
        }
        assert_eq!(
            body["HostConfig"],
            json!({"NetworkMode": "podman", "IpcMode": "shareable", "Annotations": {"a": "b"},
                   "PidsLimit": 0, "Tmpfs": {"/t": "size=64k,mode=1777", "/m": "size=1048576,mode=0"},
                   "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}})
        );
        assert_eq!(
            body["NetworkingConfig"]["EndpointsConfig"],
            json!({"podman": {"Aliases": ["a"], "MacAddress": "ce:90:61:76:38:85"}})
        );
    }

    #[test]
    fn what_podman_spells_differently_is_spelled_as_create_wants_it() {
        let host = json!({
            "NetworkMode": "none", "IpcMode": "host", "ShmSize": 65_536_000,
            "Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 100, "Hard": 200}],
            "Devices": [{"PathOnHost": "/dev/null", "CgroupPermissions": ""}],
            "NanoCpus": 500_000_000, "CpuPeriod": 50_000, "CpuQuota": 25_000,
            "LogConfig": {"Type": "json-file", "Config": null},
            "PidsLimit": 50,
            "Annotations": {"io.podman.annotations.init": "TRUE", "io.podman.annotations.pids-limit": "50"},
        });
        let config = json!({"StopSignal": "10", "StopTimeout": 3});
        let libpod = json!({"HostConfig": {"LogConfig": {"Size": "1MB"}}});
        let container = json!({"Config": config, "HostConfig": host});
        let body = body(container, json!({"StopSignal": "SIGINT"}), libpod);
        assert_eq!(
            (&body["StopSignal"], &body["StopTimeout"]),
            (&json!("SIGUSR1"), &json!(3))
        );
        assert_eq!(
            body["HostConfig"],
            json!({"NetworkMode": "none", "IpcMode": "host", "Init": true, "Annotations": {},
                   "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
                   "Devices": [{"PathOnHost": "/dev/null", "CgroupPermissions": "rwm"}],
                   "CpuPeriod": 50_000, "CpuQuota": 25_000, "PidsLimit": 50,
                   "LogConfig": {"Type": "json-file", "Config": {"max-size": "1MB"}}})
        );
    }

    #[test]
    fn a_health_check_is_carried_whole_or_not_at_all() {
        let image = json!({"Healthcheck": {"Test": ["CMD", "a"], "Interval": 3}});
        let shown = json!({"Test": ["CMD", "a"], "Interval": 3,
                           "Timeout": 30_000_000_000_u64, "Retries": 3});
        let of = |check: Value| {
            let body = body(
                json!({"Config": {"Healthcheck": check}}),
                image.clone(),
                Value::Null,
            );
            body.get("Healthcheck").cloned()
        };
        assert_eq!(of(shown.clone()), None);
        let mut own = shown;
        own["Retries"] = json!(9);
        assert_eq!(
            of(own),
            Some(json!({"Test": ["CMD", "a"], "Interval": 3, "Retries": 9}))
        );
    }

    #[test]
    fn a_crash_loop_is_told_from_a_stopped_container() {
        let seen = |policy: &str, code: i64, status: &str| {
            let json = json!({"State": {"Status": "exited", "ExitCode": code},
                              "HostConfig": {"RestartPolicy": {"Name": policy}}});
            is_between_runs(&Container::new(json), &json!({"State": {"Status": status}}))
        };
        assert!(seen("always", 0, "stopped"));
        assert!(seen("on-failure", 1, "stopped"));
        assert!(!seen("on-failure", 0, "stopped"));
        assert!(!seen("always", 1, "exited"));
        assert!(!seen("", 1, "stopped"));
        // The container was started again between the two looks.
        assert!(seen("always", 1, "running"));
    }

    #[test]
    fn a_state_that_is_none_does_not_panic() {
        let libpod = json!({"State": {"Status": "stopped"}});
        for state in [json!(null), json!(7), json!("x"), json!([])] {
            let host = json!({"RestartPolicy": {"Name": "always"}});
            let change = json!({"State": state, "HostConfig": host});
            body_on(ApiVersion(1, 44), Some(&libpod), json!({}), change);
        }
    }

    #[test]
    fn what_would_be_lost_is_known_from_the_command_line() {
        for (command, expected) in [
            (json!(null), None),
            (
                json!(["podman", "run", "-p", "80:80", "i", "c", "--ip=9"]),
                None,
            ),
            (
                json!(["podman", "run", "--ip", "10.0.0.9", "i"]),
                Some("--ip"),
            ),
            (
                json!(["podman", "run", "--sysctl=a=b", "i", "c", "--ip=9"]),
                Some("--sysctl=a=b"),
            ),
            (
                json!(["podman", "run", "--network", "n:ip=1.2.3.4", "i"]),
                Some("n:ip=1.2.3.4"),
            ),
            (json!(["podman", "run", "--ipc", "host", "i"]), None),
            (json!([7, null]), None),
        ] {
            let libpod = json!({"Config": {"CreateCommand": command, "Cmd": ["c", "--ip=9"]}});
            assert_eq!(lost_on_podman(&libpod).as_deref(), expected, "{libpod}");
        }
        assert_eq!(
            lost_on_podman(&json!({"Pod": "x"})).as_deref(),
            Some("its pod")
        );
        assert_eq!(lost_on_podman(&Value::Null), None);
        let mounts = json!({"Mounts": [{"Type": "bind"}, {"Type": "image"}]});
        assert!(lost_on_podman(&mounts).is_some());
    }
}
