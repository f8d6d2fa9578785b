//! Behind a real socket proxy that lets through what `docs/security.md` lists, or what its recipes
//! say, and nothing else.

use crate::docs::listed_calls;
use crate::docs::proxy_pattern;
use crate::engine::itself::Site;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::haproxy::Allowed;
use crate::support::haproxy::Haproxy;
use crate::support::program::Program;
use imagewatch::commands::CALLS;
use imagewatch::commands::Need;
use serde_json::Value;
use serde_json::json;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

/// Labels with which every call is needed that some Engine needs.
fn demanding(lab: &Lab) -> Value {
    json!({"imagewatch.pre-update": "true", "imagewatch.post-update": ": > /tmp/told",
           "com.centurylinklabs.watchtower.stop-signal": "SIGTERM",
           "com.docker.compose.project": lab.prefix, "com.docker.compose.service": "web"})
}

/// A workspace on two networks that wants all there is, and one that is restarted with it.
fn workspace(lab: &Lab) {
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    let networks = ["one", "two"].map(|network| lab.name(network));
    for network in &networks {
        let (status, answer) =
            lab.docker
                .json("POST", "/networks/create", &json!({"Name": network}));
        assert_eq!(status, 201, "{answer}");
    }
    let image = lab.reference("hermes");
    let body = json!({"Image": image, "Labels": demanding(lab), "StopTimeout": 5,
                      "HostConfig": {"NetworkMode": networks[0],
                                     "RestartPolicy": {"Name": "always"}}});
    let id = lab.docker.create(&lab.name("1"), &body);
    let join = format!("/networks/{}/connect", networks[1]);
    let (status, answer) = lab.docker.json("POST", &join, &json!({ "Container": id }));
    assert_eq!(status, 200, "{answer}");
    lab.docker.start(&id);
    let labels = json!({"com.docker.compose.project": lab.prefix,
                        "com.docker.compose.service": "other",
                        "com.docker.compose.depends_on": "web:service_started:true"});
    lab.docker.run(
        &lab.name("other"),
        &json!({"Image": image, "Labels": labels}),
    );
}

fn socket() -> PathBuf {
    std::env::var_os("LAB_ENGINE").expect("an Engine").into()
}

/// The documented calls but this one.
fn all_but(left_out: &str) -> Allowed {
    let calls = listed_calls();
    let kept = calls
        .iter()
        .filter(|(method, path)| format!("{method} {path}") != left_out);
    Allowed::calls(kept.map(|(method, path)| (&**method, &**path)))
}

/// The program, which looks after this test's workspace only.
fn program(lab: &Lab, proxy: &Haproxy, more: &[(&str, &str)]) -> Program {
    let (host, prefix) = (proxy.host(), lab.name("1"));
    let mut vars = vec![("DOCKER_HOST", &*host), ("IMAGEWATCH_PREFIX", &*prefix)];
    vars.extend(more);
    lab.program("hermes", &vars)
}

fn missing(program: &Program) -> Vec<String> {
    program.await_line("preflight: done, ");
    let log = program.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("preflight: no permission"));
    lines.map(str::to_owned).collect()
}

/// Whether this Engine, and what runs on it, needs a call.
fn is_needed(lab: &Lab, need: Need) -> bool {
    let (_, version) = lab.docker.json("GET", "/version", &Value::Null);
    let version = version["ApiVersion"].as_str().expect("a version");
    let minor: u32 = version[2..].parse().expect("1.NN");
    match need {
        Need::Networks => minor < 44,
        Need::Signal => minor < 42 || lab.is_podman,
        Need::Podman => lab.is_podman,
        Need::Docker => !lab.is_podman,
        Need::Doubt | Need::Swarm => false,
        Need::Always | Need::Swap | Need::Cleanup | Need::Restart | Need::Commands => true,
    }
}

#[test]
fn who_may_be_the_way_to_the_engine_is_left_alone() {
    let Some(lab) = Lab::shared() else { return };
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let engines = format!("{}:/var/run/docker.sock", socket().display());
    let shared = format!("{}:/proxy", lab.name("sockets"));
    for (name, binds) in [("proxy", vec![&engines, &shared]), ("user", vec![&shared])] {
        let body = json!({"Image": lab.reference("hermes"), "HostConfig": {"Binds": binds}});
        lab.docker.run(&lab.name(name), &body);
    }
    let mounts = lab.inspect("user")["Mounts"].clone();
    let folder = Path::new(mounts[0]["Source"].as_str().expect("a volume"));
    let offered = folder.join("any.sock");
    symlink(socket(), &offered).expect("a socket in the volume");
    let host = format!("unix://{}", offered.display());
    let program = lab.program("hermes", &[("DOCKER_HOST", &host)]);
    lab.publish("hermes", &good("v2"));
    let (_, report) = program.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("user")]), "{report}");
    assert_eq!(
        report["skipped"][0]["name"],
        json!(lab.name("proxy")),
        "{report}"
    );
    let reason = report["skipped"][0]["reason"].as_str();
    assert!(reason.is_some_and(|reason| reason.contains("reached through it")));
}

#[test]
fn the_documented_calls_are_enough_for_all_it_does() {
    // It takes several turns, and among many tests each of them is long in coming.
    let Some(lab) = Lab::alone() else { return };
    workspace(&lab);
    let proxy = Haproxy::start(&socket(), &all_but(""));
    let cleaning = ("IMAGEWATCH_CLEANUP", "true");
    let old = lab.inspect("1")["Image"].clone();
    let other = lab.inspect("other")["State"]["StartedAt"].clone();

    // A swap, with everything around it.
    let mut first = program(&lab, &proxy, &[cleaning]);
    first.await_line("preflight: done, may do all it needs");
    lab.publish("hermes", &good(&lab.name("v2")));
    let (_, report) = first.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    let now = lab.inspect("1");
    assert_eq!(now["Config"]["Labels"]["version"], lab.name("v2"));
    assert_eq!(now["HostConfig"]["RestartPolicy"]["Name"], "always");
    let networks = now["NetworkSettings"]["Networks"].as_object();
    assert_eq!(networks.map(serde_json::Map::len), Some(2), "{now}");
    let told = lab.docker.exec(&lab.name("1"), &["/bin/ls", "/tmp"]);
    assert!(told.contains("told"), "{told:?}");
    assert_ne!(lab.inspect("other")["State"]["StartedAt"], other);
    // The other one still runs it.
    assert!(lab.docker.image(old.as_str().expect("an id"))["Id"].is_string());

    // One that does not come up, and an image that nothing uses any more.
    let bad = good(&lab.name("v3")).with("Cmd", json!(["/bin/false"]));
    lab.publish("hermes", &bad);
    let (_, report) = first.refresh("");
    assert_eq!(
        report["rolled_back"][0]["name"],
        json!(lab.name("1")),
        "{report}"
    );
    lab.publish("hermes", &good(&lab.name("v4")));
    let (_, report) = first.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    first.await_line("which nothing uses any more");

    // Killed in the middle.
    first.kill();
    let patient = ("IMAGEWATCH_SETTLE", "10m");
    let mut second = program(
        &lab,
        &proxy,
        &[cleaning, patient, ("IMAGE_AUTO_REFRESH", "true")],
    );
    second.await_line("hermes: seeded");
    lab.publish("hermes", &good(&lab.name("v5")));
    second.await_line("waiting for it to be accepted");
    second.kill();
    assert_eq!(lab.names().len(), 3, "{:?}", lab.names());
    let third = program(&lab, &proxy, &[cleaning]);
    third.await_line("a swap was found half done and is finished now");
    assert_eq!(lab.names(), ["1", "other"]);
    assert_eq!(lab.version("1"), lab.name("v5"));
    assert_eq!(missing(&third), [""; 0]);
    for program in [first, second, third] {
        let log = program.log();
        assert!(!log.contains(" 403 "), "{log}");
    }
}

#[test]
fn a_documented_call_that_is_not_allowed_is_named() {
    let Some(lab) = Lab::shared() else { return };
    workspace(&lab);
    for (rule, need, what) in CALLS {
        let proxy = Haproxy::start(&socket(), &all_but(rule));
        let program = program(&lab, &proxy, &[("IMAGEWATCH_CLEANUP", "true")]);
        let named = missing(&program);
        if !is_needed(&lab, need) {
            assert_eq!(named, [""; 0], "{rule}");
            continue;
        }
        let [line] = &*named else {
            panic!("{rule}: {named:#?}");
        };
        for part in [
            format!("no permission to {what}: "),
            format!("allow {rule})"),
        ] {
            assert!(line.contains(&part), "{rule}: {line}");
        }
    }
    assert_eq!(lab.names(), ["1", "other"], "nothing was done");
}

/// The recipe of `docs/security.md` that has patterns.
fn by_patterns() -> Allowed {
    let mut allowed = Allowed::default();
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        allowed.pattern(method, &proxy_pattern(method).expect("a pattern"));
    }
    allowed
}

/// The one that has areas, as its proxy documents them: each opens the paths that begin with its name,
/// and `POST` every method but GET in all of them.
fn by_areas() -> Allowed {
    let mut allowed = Allowed::default();
    for area in [
        "_ping",
        "version",
        "events",
        "containers",
        "images",
        "networks",
    ] {
        allowed.condition(&format!("{{ path_reg '^(/v[0-9.]+)?/{area}' }}"));
    }
    allowed
}

#[test]
fn the_recipes_for_socket_proxies_are_enough() {
    // It takes several turns, and among many tests each of them is long in coming.
    let Some(lab) = Lab::alone() else { return };
    lab.publish("hermes", &good(&lab.name("v0")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    for (mark, allowed) in [("v1", by_patterns()), ("v2", by_areas())] {
        let proxy = Haproxy::start(&socket(), &allowed);
        let program = program(&lab, &proxy, &[]);
        let named = missing(&program);
        lab.publish("hermes", &good(&lab.name(mark)));
        let (_, report) = program.refresh("");
        if lab.is_podman {
            // They are for Docker: what Podman needs besides has to be added, and is named.
            assert_eq!(named.len(), 2, "{named:#?}");
            assert!(
                named.iter().all(|line| line.contains("/libpod/")),
                "{named:#?}"
            );
            let reason = report["skipped"][0]["reason"].as_str().unwrap_or_default();
            assert!(reason.contains("has to allow GET /libpod/"), "{report}");
            assert_eq!(lab.version("1"), lab.name("v0"));
        } else {
            assert_eq!(named, [""; 0]);
            assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
            assert_eq!(lab.version("1"), lab.name(mark));
        }
    }
    if lab.is_podman {
        let mut allowed = by_patterns();
        allowed.pattern("GET", "/v1[.][0-9]+/libpod/(containers|images)/.+/json");
        let proxy = Haproxy::start(&socket(), &allowed);
        let program = program(&lab, &proxy, &[]);
        assert_eq!(missing(&program), [""; 0]);
        let (_, report) = program.refresh("");
        assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    }
}

#[test]
fn behind_a_proxy_it_updates_itself_with_the_documented_calls() {
    let Some(lab) = Lab::parted() else { return };
    let site = Site::new(&lab, 1);
    let socket = site.between.host();
    let socket = Path::new(socket.trim_start_matches("unix://"));
    let calls = listed_calls();
    let calls = calls.iter().map(|(method, path)| (&**method, &**path));
    let proxy = Haproxy::start(socket, &Allowed::calls(calls));
    let host = format!("DOCKER_HOST={}", proxy.host());
    // Nothing but the way to the proxy is its own.
    let body = site.body(&[&host], &json!({"HostConfig": {"Binds": []}}));
    lab.docker.run(&site.name("iw"), &body);
    site.await_start();
    site.publish(&site.version("v2"));
    site.await_end("v2", &[]);
}
