//! The image that was looked up is the image that is pulled, and its tag moves only for a swap.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::images::ImageSpec;
use crate::support::program::Program;
use serde_json::json;
use std::sync::Arc;

/// An image that exits at once.
fn bad(mark: &str) -> ImageSpec {
    ImageSpec::new(mark).with("Cmd", json!(["/bin/busybox", "sh", "-c", "exit 3"]))
}

/// The id of the image that the tag means here.
fn tagged(lab: &Lab) -> String {
    let image = lab.docker.image(&lab.reference("hermes"));
    image["Id"].as_str().expect("an id").to_owned()
}

/// The id of the image that a workspace runs.
fn running(lab: &Lab, name: &str) -> String {
    let image = lab.inspect(name)["Image"].clone();
    image.as_str().expect("an id").to_owned()
}

fn with_workspaces(lab: &Lab, names: &[&str]) {
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    for name in names {
        lab.workspace(name, "hermes");
    }
}

/// Has the program refresh the workspace. Just before its pull, the tag moves on to `v3`.
#[track_caller]
pub(crate) fn refresh_while_its_tag_moves(lab: &Lab, between: &EngineProxy, program: &Program) {
    std::thread::scope(|scope| {
        // Held until the tag has moved on.
        let (inlet, outlet) = std::sync::mpsc::channel();
        let (moved, is_moved) = std::sync::mpsc::channel();
        let is_moved = std::sync::Mutex::new(is_moved);
        let wait = Arc::new(move || {
            let _ = inlet.send(());
            let _ = is_moved.lock().expect("no panic").recv();
        });
        let pull = Place::Holding("/images/create", 1);
        between.at(pull, Action::First(wait), drop);
        scope.spawn(move || {
            outlet.recv().expect("a pull");
            lab.publish("hermes", &good(&lab.name("v3")));
            moved.send(()).expect("somebody waits");
        });
        let (_, report) = program.refresh("");
        assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    });
}

#[test]
fn a_tag_that_moves_before_the_pull_changes_nothing_of_what_is_pulled() {
    let Some(lab) = Lab::parted() else { return };
    with_workspaces(&lab, &["1"]);
    let between = EngineProxy::part(&lab.docker, &lab.prefix);
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    lab.publish("hermes", &good(&lab.name("v2")));
    refresh_while_its_tag_moves(&lab, &between, &program);
    assert_eq!(lab.version("1"), lab.name("v2"));
    assert_eq!(tagged(&lab), running(&lab, "1"));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(lab.version("1"), lab.name("v3"));
}

#[test]
fn a_roll_back_gives_the_tag_back_and_the_image_is_not_tried_again() {
    let Some(lab) = Lab::new() else { return };
    with_workspaces(&lab, &["1"]);
    let old = running(&lab, "1");
    let program = lab.program("hermes", &[]);
    lab.publish("hermes", &bad(&lab.name("v2")));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "rolled_back"), [lab.name("1")], "{report}");
    assert_eq!(
        (running(&lab, "1"), tagged(&lab)),
        (old.clone(), old.clone())
    );
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "skipped"), [lab.name("1")], "{report}");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["references"][0]["state"], "rejected", "{status}");
    assert_eq!(tagged(&lab), old);
    // A forced try ends the same.
    let (_, report) = program.refresh("?force=true");
    assert_eq!(names(&report, "rolled_back"), [lab.name("1")], "{report}");
    assert_eq!(tagged(&lab), old);
    lab.publish("hermes", &good(&lab.name("v3")));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(tagged(&lab), running(&lab, "1"));
}

#[test]
fn a_roll_back_of_the_second_container_gives_the_tag_back_too() {
    let Some(lab) = Lab::new() else { return };
    with_workspaces(&lab, &["1"]);
    let old = running(&lab, "1");
    // It comes up where there is no volume, so the second one fails.
    let picky = "[ ! -e /data ] || exit 3; exec /bin/busybox sleep 9999";
    let body = json!({"Image": lab.reference("hermes"), "Volumes": {"/data": {}}});
    lab.docker.run(&lab.name("2"), &body);
    let image = ImageSpec::new(&lab.name("v2"));
    let image = image.with("Cmd", json!(["/bin/busybox", "sh", "-c", picky]));
    lab.publish("hermes", &image);
    let program = lab.program("hermes", &[]);
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(names(&report, "rolled_back"), [lab.name("2")], "{report}");
    assert_eq!((running(&lab, "2"), tagged(&lab)), (old.clone(), old));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "unchanged"), [lab.name("1")], "{report}");
    assert_eq!(names(&report, "skipped"), [lab.name("2")], "{report}");
}

#[test]
fn a_swap_that_does_not_begin_leaves_the_tag() {
    let Some(lab) = Lab::parted() else { return };
    with_workspaces(&lab, &["1"]);
    let old = running(&lab, "1");
    lab.publish("hermes", &good(&lab.name("v2")));
    let between = EngineProxy::part(&lab.docker, &lab.prefix);
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    let create = Place::Holding("/containers/create?name=", 2);
    between.at(create, Action::Refuse(500), drop);
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "skipped"), [lab.name("1")], "{report}");
    assert_eq!((running(&lab, "1"), tagged(&lab)), (old.clone(), old));
}

#[test]
fn a_pull_without_updates_moves_the_tag_at_once() {
    let Some(lab) = Lab::new() else { return };
    with_workspaces(&lab, &["1"]);
    lab.publish("hermes", &good(&lab.name("v2")));
    let program = lab.program("hermes", &[]);
    let (_, report) = program.refresh("?recreate=false");
    assert_eq!(names(&report, "pulled"), ["hermes"], "{report}");
    assert_ne!(tagged(&lab), running(&lab, "1"));
    // Later there is nothing to pull.
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(tagged(&lab), running(&lab, "1"));
}

#[test]
fn an_image_without_containers_gets_its_tag() {
    let Some(lab) = Lab::new() else { return };
    with_workspaces(&lab, &[]);
    let old = tagged(&lab);
    lab.publish("hermes", &good(&lab.name("v2")));
    let program = lab.program("hermes", &[]);
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "pulled"), ["hermes"], "{report}");
    assert_ne!(tagged(&lab), old);
}

#[test]
fn where_tags_may_not_be_moved_images_are_pulled_by_their_tags() {
    let Some(lab) = Lab::parted() else { return };
    with_workspaces(&lab, &["1"]);
    let between = EngineProxy::part(&lab.docker, &lab.prefix);
    between.deny("/tag");
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    lab.publish("hermes", &good(&lab.name("v2")));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(tagged(&lab), running(&lab, "1"));
    program.await_line("images are pulled by their tags");
    lab.publish("hermes", &bad(&lab.name("v3")));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "rolled_back"), [lab.name("1")], "{report}");
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "skipped"), [lab.name("1")], "{report}");
}
