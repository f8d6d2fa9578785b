//! Whose fault it is that a successor cannot be started.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::images::ImageSpec;
use crate::support::program::Program;
use serde_json::json;

fn rejected(program: &Program) -> usize {
    let (_, status) = program.ask("GET", "/admin/status");
    status["rejected"].as_array().expect("a list").len()
}

#[test]
fn an_image_whose_command_cannot_be_executed_is_rejected() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("hermes");
    let program = lab.program("hermes", &[]);
    let command = |path: &str| good(path).with("Cmd", json!([path]));
    let images: [(&str, ImageSpec); 4] = [
        ("no such file", command("/nosuch")),
        ("not in PATH", command("nosuch")),
        (
            "not executable",
            command("/plain").with_file("plain", 0o644, b"#!/bin/sh\n"),
        ),
        ("no such user", good("user").with("User", json!("nosuch"))),
    ];
    for (count, (what, image)) in images.into_iter().enumerate() {
        lab.publish("hermes", &image);
        let (_, report) = program.refresh("");
        assert_eq!(
            names(&report, "rolled_back"),
            [lab.name("1")],
            "{what}: {report}"
        );
        assert_eq!(rejected(&program), 1, "{what} ({count}): {report}");
        assert_eq!(lab.version("1"), "v1");
        assert_eq!(lab.inspect("1")["State"]["Running"], true);
        let (_, report) = program.refresh("");
        assert_eq!(
            names(&report, "skipped"),
            [lab.name("1")],
            "{what}: {report}"
        );
    }
}

#[test]
fn an_image_is_not_rejected_for_what_its_owner_mounts() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let mount = json!([{"Type": "tmpfs", "Target": "/m"}]);
    let image = lab.reference("hermes");
    let body = json!({"Image": image, "HostConfig": {"Mounts": mount}});
    lab.docker.run(&lab.name("1"), &body);
    lab.workspace("2", "hermes");
    // A file is there, on which no folder can be mounted.
    lab.publish("hermes", &good("v2").with_file("m", 0o644, b""));
    let program = lab.program("hermes", &[]);
    for expected in ["recreated", "unchanged"] {
        let (_, report) = program.refresh("");
        assert_eq!(names(&report, "rolled_back"), [lab.name("1")], "{report}");
        assert_eq!(names(&report, expected), [lab.name("2")], "{report}");
        assert_eq!(rejected(&program), 0, "{report}");
        assert_eq!(lab.version("1"), "v1");
        assert_eq!(lab.inspect("1")["State"]["Running"], true);
    }
    lab.publish("hermes", &good("v3"));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated").len(), 2, "{report}");
    assert_eq!(lab.names(), ["1", "2"]);
}

/// The claim is made from an image, and the Engine makes nothing of some.
#[test]
fn an_image_that_nothing_can_be_created_from_holds_up_nobody_else() {
    let Some(lab) = Lab::new() else { return };
    for runtime in ["hermes", "crewai"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
        lab.workspace(runtime, runtime);
    }
    let program = lab.program("hermes,crewai", &[]);
    for (key, value) in [
        ("WorkingDir", json!("/bin/busybox")),
        ("Volumes", json!({"/data/": {}, "/data": {}})),
        ("Volumes", json!({"relative": {}})),
    ] {
        let mark = lab.name(key);
        lab.publish("hermes", &good(&mark).with(key, value));
        lab.publish("crewai", &good(&mark));
        let (_, report) = program.refresh("");
        let recreated = names(&report, "recreated");
        assert!(recreated.contains(&lab.name("crewai")), "{report}");
        assert_eq!(lab.version("crewai"), mark, "{report}");
        assert_eq!(lab.inspect("hermes")["State"]["Running"], true);
        lab.publish("crewai", &good("v1"));
        program.refresh("");
    }
}
