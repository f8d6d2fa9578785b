//! What an owner can ask for besides: commands before and after, old images removed, Watchtower's
//! way of ordering an update.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::program::Program;
use serde_json::Value;
use serde_json::json;

/// A workspace with these labels, for which there is a newer image.
fn due(lab: &Lab, name: &str, labels: &Value) -> String {
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    let body = json!({"Image": lab.reference("hermes"), "Labels": labels});
    let id = lab.docker.run(&lab.name(name), &body);
    lab.publish("hermes", &good(&lab.name("v2")));
    id
}

fn reason(report: &Value) -> &str {
    report["skipped"][0]["reason"].as_str().unwrap_or_default()
}

fn sh(lab: &Lab, name: &str, command: &str) -> String {
    let words = ["/bin/busybox", "sh", "-c", command];
    lab.docker.exec(&lab.name(name), &words)
}

#[test]
fn a_busy_container_is_asked_again_until_it_is_not() {
    let Some(lab) = Lab::new() else { return };
    let labels = json!({"imagewatch.pre-update": "test -e /tmp/idle || exit 75"});
    let id = due(&lab, "1", &labels);
    let program = lab.watcher("hermes", &[("IMAGEWATCH_CATCH_UP", "true")]);
    for _ in 0..2 {
        program.await_line("busy: its pre-update command says so");
    }
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    sh(&lab, "1", ": > /tmp/idle");
    program.await_line("INFO  recreated container=");
    assert_eq!(lab.version("1"), lab.name("v2"));
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn a_command_that_fails_or_hangs_keeps_its_container() {
    let Some(lab) = Lab::new() else { return };
    for (command, limit, expected) in [
        (
            "echo not on a Friday; exit 3",
            "30s",
            "exited with 3: not on a Friday",
        ),
        ("exec /bin/busybox sleep 60", "1s", "did not end within 1s"),
    ] {
        let labels = json!({"imagewatch.pre-update": command,
                            "imagewatch.pre-update-timeout": limit});
        let id = due(&lab, "1", &labels);
        let (_, report) = lab.program("hermes", &[]).refresh("");
        assert!(reason(&report).contains(expected), "{report}");
        assert_eq!(lab.inspect("1")["Id"], json!(id));
        assert_eq!(lab.inspect("1")["State"]["Running"], true);
        lab.docker.remove(&lab.name("1"));
    }
}

#[test]
fn watchtowers_lifecycle_labels_are_understood() {
    let Some(lab) = Lab::new() else { return };
    let label = |name: &str| format!("com.centurylinklabs.watchtower.lifecycle.{name}");
    let labels = json!({label("pre-update"): "true", label("post-update"): "echo new > /tmp/told"});
    due(&lab, "1", &labels);
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    assert!(sh(&lab, "1", "/bin/busybox cat /tmp/told").contains("new"));
}

#[test]
fn watchtowers_stop_signal_is_sent() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1").with("Volumes", json!({"/data": {}})));
    lab.pull("hermes");
    let script = "trap 'echo usr1 > /data/signal; exit 0' USR1; trap 'echo term > /data/signal; exit 0' TERM; \
                  while sleep 1 & wait $!; do :; done";
    let labels = json!({"com.centurylinklabs.watchtower.stop-signal": "SIGUSR1"});
    let body = json!({"Image": lab.reference("hermes"), "Labels": labels, "StopTimeout": 20,
                      "Cmd": ["/bin/busybox", "sh", "-c", script]});
    lab.docker.run(&lab.name("1"), &body);
    lab.publish("hermes", &good("v2").with("Volumes", json!({"/data": {}})));
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    let signal = sh(&lab, "1", "cat /data/signal");
    assert!(signal.contains("usr1"), "{signal:?}");
}

#[test]
fn a_replaced_image_is_removed_once_nothing_uses_it() {
    let Some(lab) = Lab::new() else { return };
    let exists = |image: &Value| lab.docker.image(image.as_str().expect("an id"))["Id"].is_string();
    let cleaning = |lab: &Lab| -> Program {
        lab.program(
            "hermes",
            &[
                ("IMAGEWATCH_CLEANUP", "true"),
                ("IMAGEWATCH_KEEP", "0"),
                ("IMAGEWATCH_PREFIX", &lab.name("1")),
            ],
        )
    };

    // Somebody else runs it still.
    due(&lab, "1", &json!({}));
    let old = lab.inspect("1")["Image"].clone();
    let other = lab.name("other");
    lab.docker.create(&other, &json!({"Image": old}));
    let program = cleaning(&lab);
    let (_, report) = program.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    assert!(exists(&old), "it is in use");
    lab.docker.remove(&other);

    // A roll-back needs it.
    let current = lab.inspect("1")["Image"].clone();
    let bad = good(&lab.name("bad")).with("Cmd", json!(["/bin/false"]));
    let bad = lab.publish("hermes", &bad);
    let (_, report) = program.refresh("");
    assert_eq!(
        report["rolled_back"][0]["name"],
        json!(lab.name("1")),
        "{report}"
    );
    assert!(exists(&current));
    let name = lab.reference("hermes").replace(":latest", "");
    let tried = lab.docker.image(&format!("{name}@{bad}"))["Id"].clone();
    assert!(exists(&tried), "it may be tried by force");

    // Nobody does, nor what was tried.
    lab.publish("hermes", &good(&lab.name("v4")));
    let (_, report) = program.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    for image in [current, tried] {
        assert!(!exists(&image), "{}", program.log());
    }
    assert!(exists(&lab.inspect("1")["Image"]));
}

#[test]
fn earlier_images_survive_cleanup_and_prune() {
    let Some(lab) = Lab::alone() else { return };
    let exists = |image: &Value| lab.docker.image(image.as_str().expect("an id"))["Id"].is_string();
    due(&lab, "1", &json!({}));
    let program = lab.program("hermes", &[("IMAGEWATCH_CLEANUP", "true")]);
    let first = lab.inspect("1")["Image"].clone();
    let (_, report) = program.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    let prune = "/images/prune?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D";
    assert_eq!(lab.docker.ask("POST", prune, b"").0, 200);
    assert!(exists(&first), "{}", program.log());
    let second = lab.inspect("1")["Image"].clone();
    lab.publish("hermes", &good(&lab.name("v3")));
    let (_, report) = program.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    assert_eq!(lab.docker.ask("POST", prune, b"").0, 200);
    assert!(exists(&second), "{}", program.log());
    assert!(!exists(&first), "{}", program.log());
    let previous = format!("{}-imagewatch-previous", lab.reference("hermes"));
    assert_eq!(lab.docker.image(&previous)["Id"], second);
}

#[test]
fn what_has_no_tag_to_follow_is_said_and_no_error() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("app", &good("v1"));
    lab.pull("app");
    let image = lab.docker.image(&lab.reference("app"));
    let id = image["Id"].as_str().expect("an id");
    let pinned = format!(
        "{}@{}",
        lab.reference("app"),
        lab.publish("app", &good("v1"))
    );
    let path = format!("/images/create?fromImage={}", pinned.replace('/', "%2F"));
    lab.docker.ask("POST", &path, b"");
    let labels = json!({"imagewatch.enable": "true"});
    for (name, image) in [
        ("by-id", id),
        ("by-short-id", &id[7..19]),
        ("pinned", &pinned),
    ] {
        let body = json!({"Image": image, "Labels": labels});
        lab.docker.create(&lab.name(name), &body);
    }
    let program = lab.watcher(
        "none",
        &[("IMAGEWATCH_SELECT", "labelled"), ("ADMIN_TOKEN", "t0ken")],
    );
    let (_, status) = program.ask("GET", "/admin/status");
    let containers = status["containers"].as_array().expect("a list");
    for name in ["by-id", "by-short-id", "pinned"] {
        let mut all = containers.iter();
        let one = all.find(|one| one["name"] == json!(lab.name(name)));
        let reason = &one.unwrap_or_else(|| panic!("{name}: {status}"))["left_alone"];
        // Podman shows a tag wherever there is one.
        assert!(reason.is_string() || lab.is_podman, "{name}: {status}");
    }
    let ours = lab.proxy.host();
    let log = program.log();
    let mut troubles = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains(&*ours));
    assert_eq!(troubles.next(), None);
}

#[test]
fn watchtowers_update_renews_every_managed_container_or_some_images() {
    let Some(lab) = Lab::new() else { return };
    for runtime in ["app", "db"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
        let labels = json!({"imagewatch.enable": "true"});
        let body = json!({"Image": lab.reference(runtime), "Labels": labels});
        lab.docker.run(&lab.name(runtime), &body);
        lab.publish(runtime, &good("v2"));
    }
    // Another test's labelled containers are none of this one's business.
    let program = lab.program(
        "none",
        &[("IMAGEWATCH_SELECT", "labelled"), ("ADMIN_TOKEN", "t0ken")],
    );
    let image = lab.reference("db");
    let image = image.trim_end_matches(":latest").replace('/', "%2F");
    let path = format!("/v1/update?image={image}");
    let (status, report) = program.ask("POST", &path);
    assert_eq!(status, 200, "{report}");
    assert_eq!(report["recreated"], json!([lab.name("db")]), "{report}");
    assert_eq!(report["pulled"], json!([lab.reference("db")]));
    assert_eq!(lab.version("app"), "v1");
    let (status, answer) = program.ask("POST", "/v1/update?image=no/such");
    assert_eq!(status, 404, "{answer}");
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(error.contains(&lab.reference("db")), "{error}");
}
