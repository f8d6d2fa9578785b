//! Everything the owner set survives, everything else comes from the new image.
//!
//! The oracle: a container is made from v1, the program puts it onto v2, and then a twin is made
//! from v2 with the same body under another name. What inspect shows of both has to be the same,
//! but for what is bound to differ. Besides that, each case says what it wants to see.

mod case;
mod world;

use case::PLAIN;
use case::RICH;
use case::case;
use case::plain;
use serde_json::Value;
use serde_json::json;
use world::World;
use world::run;

const NO_LINKS: &str = "it knows no links";

#[test]
fn configuration() {
    let health = json!({"Test": ["CMD-SHELL", "true"], "Interval": 1_500_000_000_u64});
    run(
        1,
        &[
            case("1", PLAIN, json!({})),
            case("2", RICH, json!({})).shows("/Config/Labels/img.mine", json!("v2")),
            case(
                "3",
                PLAIN,
                json!({"Hostname": "myhost", "Domainname": "example.org"}),
            )
            .shows("/Config/Hostname", json!("myhost")),
            case(
                "4",
                RICH,
                json!({"Env": ["A=1", "VERSION=user", "KEEP=same", "v1"]}),
            ),
            case("5", RICH, json!({"Cmd": ["own"]})).shows("/Config/Cmd", json!(["own"])),
            case(
                "6",
                RICH,
                json!({"Entrypoint": ["/bin/sleep"], "Cmd": ["9999"], "StopTimeout": 1}),
            ),
            case(
                "6b",
                RICH,
                json!({"Entrypoint": ["/bin/busybox", "sh", "/v1.sh"], "Cmd": null}),
            )
            .state("created")
            .shows(
                "/Config/Entrypoint",
                json!(["/bin/busybox", "sh", "/v1.sh"]),
            ),
            case(
                "6c",
                RICH,
                json!({"Entrypoint": ["/bin/sleep"], "Cmd": ["v1"]}),
            )
            .state("created"),
            case(
                "7",
                RICH,
                json!({"Entrypoint": [""], "Cmd": ["/bin/sleep", "9999"], "StopTimeout": 1}),
            ),
            case(
                "8",
                RICH,
                json!({"User": "1000:1000", "WorkingDir": "/tmp"}),
            ),
            case(
                "9",
                RICH,
                json!({"Labels": {"x": "y", "img.mine": "mine", "v1": "z"}}),
            ),
            case("10", RICH, json!({"Healthcheck": health}))
                .not_on_podman("outside of systemd, it never runs a health check"),
            case("11", RICH, json!({"Healthcheck": {"Test": ["NONE"]}})),
            case(
                "12",
                RICH,
                json!({"StopSignal": "SIGUSR1", "StopTimeout": 3}),
            ),
            case(
                "12b",
                PLAIN,
                json!({"Tty": true, "OpenStdin": true, "StdinOnce": true}),
            ),
            case("38", PLAIN, json!({"HostConfig": {"AutoRemove": true}})).outcome("skipped"),
            case("39", PLAIN, json!({"Env": ["A=1"]}))
                .state("exited")
                .lost_on_podman(&["Ulimits"]),
            case("40", RICH, json!({"Env": ["A=1"]})).state("created"),
        ],
    );
}

#[test]
fn ports_and_volumes() {
    let fixed = json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "#port"}]});
    let mounts = json!([
        {"Type": "volume", "Source": "@m", "Target": "/mv", "VolumeOptions": {"NoCopy": true}},
        {"Type": "bind", "Source": "/srv", "Target": "/mb", "ReadOnly": true},
        {"Type": "tmpfs", "Target": "/mt", "TmpfsOptions": {"SizeBytes": 1_048_576}},
        {"Type": "volume", "Target": "/ma/"},
    ]);
    let anonymous = json!([{"Type": "volume", "Target": "/data"}]);
    let ephemeral =
        json!({"80/tcp": [{"HostPort": ""}], "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]});
    let host = |json: Value| json!({"HostConfig": json});
    run(
        1,
        &[
            case("13", RICH, host(json!({"PortBindings": fixed}))),
            case("14", RICH, host(json!({"PortBindings": ephemeral})))
                .lost_on_podman(&["PortBindings"]),
            case("15", RICH, host(json!({"PublishAllPorts": true})))
                .lost_on_podman(&["PortBindings", "ExposedPorts"]),
            case("17", RICH, json!({"ExposedPorts": {"9999/tcp": {}}})),
            case(
                "19",
                RICH,
                host(json!({"Binds": ["@1:/data", "@2:/v2:ro"]})),
            ),
            case("20", RICH, host(json!({"Binds": ["@3:/data:nocopy"]}))),
            case("21", RICH, host(json!({"Binds": ["/srv:/b:ro,z"]}))),
            case(
                "22",
                RICH,
                json!({"HostConfig": {"Mounts": mounts}, "Volumes": {"/x": {}}}),
            ),
            case("23", RICH, host(json!({"Mounts": anonymous}))),
            case("24-gone", PLAIN, host(json!({"VolumesFrom": ["@gone"]})))
                .twin(host(json!({"Binds": ["@shared:/shared"]}))),
        ],
    );
}

/// What an Engine adds of its own must not pile up from one generation to the next.
#[test]
fn three_generations() {
    let host = |json: Value| json!({"HostConfig": json});
    run(
        3,
        &[
            case("18", RICH, json!({"Volumes": {"/anon": {}}})),
            case("24", PLAIN, host(json!({"VolumesFrom": ["@base"]})))
                .keeps("/HostConfig/VolumesFrom"),
            case(
                "25",
                PLAIN,
                host(json!({"Tmpfs": {"/t": "size=64k,mode=1777"}})),
            )
            .prints("/bin/cat /proc/mounts", "/t tmpfs"),
            case(
                "26-piled",
                PLAIN,
                json!({"HostConfig": {"NetworkMode": "@n1"},
                "NetworkingConfig": {"EndpointsConfig": {"@n1": {"Aliases": ["a", "b"]}}}}),
            ),
            case(
                "22-piled",
                RICH,
                host(json!({"Mounts": [{"Type": "volume", "Target": "/data"}]})),
            ),
        ],
    );
}

/// On its own, and short: if the Engine is ended in the middle, a frozen process is in the way.
#[test]
fn a_paused_container_is_skipped() {
    run(
        1,
        &[case("41", PLAIN, json!({}))
            .state("paused")
            .outcome("skipped")],
    );
}

#[test]
fn networks() {
    let on = |mode: &str, endpoint: Value| {
        json!({"HostConfig": {"NetworkMode": mode},
               "NetworkingConfig": {"EndpointsConfig": {mode: endpoint}}})
    };
    let host = |json: Value| json!({"HostConfig": json});
    let ip = |ip: &str| json!({"IPAMConfig": {"IPv4Address": ip}});
    let mac = "02:aa:bb:cc:dd:01";
    // Older Dockers heed the one, Podman the other.
    let mut with_mac = on("@n1", json!({"MacAddress": mac}));
    with_mac["MacAddress"] = json!(mac);
    let second = json!({"Aliases": ["m2"], "IPAMConfig": {"IPv4Address": "#2.60"}});
    let both = json!({"HostConfig": {"NetworkMode": "@n1"}, "NetworkingConfig": {"EndpointsConfig": {
        "@n1": {"MacAddress": "02:aa:bb:cc:dd:02"},
        "@n2": {"MacAddress": "02:aa:bb:cc:dd:03", "GwPriority": 5, "IPAMConfig": {"IPv4Address": "#2.61"},
                "DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"}}}}});
    const UNSEEN_IP: &str = "it does not show an address that was asked for";
    run(
        1,
        &[
            case("26", PLAIN, on("@n1", json!({"Aliases": ["a", "b"]})))
                .prints("/bin/busybox nslookup a", "#1.")
                .prints("/bin/busybox nslookup b", "#1.")
                .prints("/bin/busybox nslookup @26", "#1."),
            case("26-host-name", PLAIN, {
                let mut body = on("@n1", json!({"Aliases": ["box", "c"]}));
                body["Hostname"] = json!("box");
                body
            })
            .prints("/bin/busybox nslookup box", "#1."),
            case("27", PLAIN, on("@n1", ip("#1.50")))
                .not_on_podman(UNSEEN_IP)
                .shows("/NetworkSettings/Networks/@n1/IPAddress", json!("#1.50")),
            case("27b", PLAIN, host(json!({"NetworkMode": "@n1"}))),
            case("28", PLAIN, with_mac).prints("/bin/cat /sys/class/net/eth0/address", mac),
            case("29", PLAIN, on("@n1", json!({})))
                .joins("n2", second)
                .not_on_podman(UNSEEN_IP)
                .shows("/NetworkSettings/Networks/@n2/IPAddress", json!("#2.60")),
            case("29b", PLAIN, on("@n1", json!({"Aliases": ["a1"]})))
                .joins("n2", json!({"Aliases": ["a2"]})),
            case("29c", PLAIN, json!({})).joins("n2", json!({"Aliases": ["d"]})),
            case("30", PLAIN, both.clone())
                .since(48)
                .not_on_podman(UNSEEN_IP)
                .shows(
                    "/NetworkSettings/Networks/@n1/MacAddress",
                    json!("02:aa:bb:cc:dd:02"),
                )
                .shows(
                    "/NetworkSettings/Networks/@n2/MacAddress",
                    json!("02:aa:bb:cc:dd:03"),
                )
                .shows("/NetworkSettings/Networks/@n2/GwPriority", json!(5)),
            case("31", PLAIN, host(json!({"NetworkMode": "host"}))),
            case("31-host-name", PLAIN, {
                let mut body = host(json!({"NetworkMode": "host"}));
                body["Hostname"] = json!("box");
                body
            })
            .shows("/Config/Hostname", json!("box")),
            case("32", PLAIN, host(json!({"NetworkMode": "none"}))),
            case(
                "33",
                PLAIN,
                host(json!({"UTSMode": "host", "PidMode": "host", "IpcMode": "host"})),
            ),
            case("34", RICH, host(json!({"NetworkMode": "container:@base"}))),
            case(
                "34b",
                PLAIN,
                host(json!({"PidMode": "container:@base", "IpcMode": "shareable"})),
            ),
            case("36", PLAIN, host(json!({"Links": ["@base:lb"]})))
                .not_on_podman(NO_LINKS)
                .prints("/bin/cat /etc/hosts", "lb"),
            case(
                "36-network",
                PLAIN,
                on("@n1", json!({"Links": ["@26:other"]})),
            )
            .not_on_podman(NO_LINKS)
            .prints("/bin/busybox nslookup other", "#1."),
        ],
    );
}

#[test]
fn resources() {
    let host = |json: Value| json!({"HostConfig": json});
    run(
        1,
        &[
            case("42", PLAIN, host(json!({"Memory": 67_108_864, "MemorySwap": 134_217_728,
                "NanoCpus": 500_000_000, "PidsLimit": 50, "CpusetCpus": "0", "OomScoreAdj": 100,
                "CpuShares": 512, "BlkioWeight": 0}))),
            case("42b", PLAIN, host(json!({"PidsLimit": 0}))),
            case("43", PLAIN, host(json!({"CpuPeriod": 50_000, "CpuQuota": 25_000}))),
            case("44", PLAIN, json!({"Tty": true, "OpenStdin": true, "HostConfig": {
                // Without the second, Podman 4.3 wants more processes than it may have.
                "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}, {"Name": "nproc", "Soft": 4096, "Hard": 4096}],
                "ShmSize": 33_554_432, "ReadonlyRootfs": true, "CapDrop": ["ALL"], "CapAdd": ["NET_ADMIN"],
                "SecurityOpt": ["no-new-privileges"], "GroupAdd": ["5"],
                "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}],
                "CgroupnsMode": "private", "Dns": ["192.0.2.1"], "DnsSearch": ["example.org"],
                "ExtraHosts": ["peer:192.0.2.2"], "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}}}))
                .prints("/bin/cat /etc/hosts", "192.0.2.2")
                .prints("/bin/busybox df /dev/shm", "32768"),
            case("44-sysctl", PLAIN, host(json!({"Sysctls": {"net.ipv4.ip_forward": "0"}})))
                .not_on_podman("it does not show sysctls")
                .prints("/bin/cat /proc/sys/net/ipv4/ip_forward", "0"),
            case("44-init", PLAIN, host(json!({"Init": true}))).state("created")
                .not_on_podman("it has no init here"),
            case("45", PLAIN, host(json!({"MaskedPaths": [], "ReadonlyPaths": []})))
                .keeps("/HostConfig/MaskedPaths")
                .keeps("/HostConfig/ReadonlyPaths"),
            case("45b", PLAIN, json!({})).keeps("/HostConfig/MaskedPaths"),
            case("45c", PLAIN, host(json!({"Privileged": true, "SecurityOpt": ["seccomp=unconfined"]}))).state("created"),
            case("46", PLAIN, host(json!({"DeviceRequests": [{"Driver": "", "Count": -1,
                "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}}]})))
                .state("created")
                .not_on_podman("it does not show them"),
            case("47", PLAIN, host(json!({"Annotations": {"a": "b"}}))).since(43),
            case("48", PLAIN, host(json!({"MemorySwappiness": 0, "Memory": 67_108_864})))
                .lost_on_podman(&["MemorySwappiness"]),
        ],
    );
}

#[test]
fn an_image_named_by_digest_or_by_id_is_not_followed() {
    let Some(world) = World::new() else { return };
    let by_tag = world.lab.docker.image(&world.lab.reference(PLAIN));
    let names = [("digest", &by_tag["RepoDigests"][0]), ("id", &by_tag["Id"])];
    // Podman shows the tag even where a digest or an id was asked for: nobody can tell there.
    let names = names.into_iter().filter(|_| !world.lab.is_podman);
    let ids: Vec<(&str, Value)> = names
        .map(|(name, image)| {
            let id = world.create(name, image.as_str().unwrap_or_default(), &json!({}));
            world.lab.docker.start(&id);
            (name, json!(id))
        })
        .collect();
    // The tag moves on here alone, nothing is pulled: that counts as well.
    let tagged = world.create("tagged", &world.lab.reference(PLAIN), &json!({}));
    world.lab.docker.start(&tagged);
    world.lab.publish(PLAIN, &plain("v2"));
    world.lab.pull(PLAIN);
    let program = world
        .lab
        .program("plain", &[("IMAGEWATCH_SETTLE", "300ms")]);
    let (_, report) = program.refresh("");
    assert_eq!(
        report["recreated"],
        json!([world.lab.name("tagged")]),
        "{report}"
    );
    for (name, id) in ids {
        assert_eq!(world.lab.inspect(name)["Id"], id, "{name}");
    }
}
