//! A container that the Engine cannot show.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::engine::swap::dependencies::in_network_of;
use crate::support::engine_proxy::EngineProxy;
use serde_json::Value;
use serde_json::json;

/// Has no call about this container as it is get through.
fn hide(between: &EngineProxy, id: &Value) {
    let id = id.as_str().expect("an id");
    between.bar(Some(format!("/containers/{id}/json")));
}

#[test]
fn it_keeps_nobody_else_from_being_renewed() {
    let Some(lab) = Lab::parted() else { return };
    for runtime in ["hermes", "crewai"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    // Older and younger ones, of the same image and of another.
    for (name, runtime) in [
        ("1", "hermes"),
        ("2-hidden", "hermes"),
        ("3", "crewai"),
        ("4", "hermes"),
    ] {
        lab.workspace(name, runtime);
    }
    let hidden = lab.inspect("2-hidden")["Id"].clone();
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    hide(&between, &hidden);
    for runtime in ["hermes", "crewai"] {
        lab.publish(runtime, &good("v2"));
    }
    let program = lab.program("hermes,crewai", &[("DOCKER_HOST", &between.host())]);
    let (status, report) = program.refresh("");
    assert_eq!(status, 200, "{report}");
    let mut recreated = names(&report, "recreated");
    recreated.sort();
    assert_eq!(
        recreated,
        ["1", "3", "4"].map(|name| lab.name(name)),
        "{report}"
    );
    assert_eq!(
        names(&report, "skipped"),
        [lab.name("2-hidden")],
        "{report}"
    );
    let reason = report["skipped"][0]["reason"].as_str();
    assert!(
        reason.is_some_and(|it| it.contains("409 made to fail")),
        "{report}"
    );
    assert_eq!(lab.inspect("2-hidden")["Id"], hidden);
    between.bar(None);
    let (_, report) = program.refresh("");
    assert_eq!(
        names(&report, "recreated"),
        [lab.name("2-hidden")],
        "{report}"
    );
}

#[test]
fn it_holds_back_what_it_lives_in() {
    let Some(lab) = Lab::parted() else { return };
    for runtime in ["hermes", "tenant"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    lab.workspace("other", "hermes");
    let provider = lab.workspace("provider", "hermes");
    let body = in_network_of(&provider, &lab.reference("tenant"));
    let tenant = lab.docker.run(&lab.name("tenant"), &body);
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    hide(&between, &json!(tenant));
    lab.publish("hermes", &good("v2"));
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated"), [lab.name("other")], "{report}");
    assert!(
        names(&report, "skipped").contains(&lab.name("provider")),
        "{report}"
    );
    assert_eq!(lab.inspect("provider")["Id"], json!(provider));
    assert_eq!(lab.inspect("tenant")["State"]["Running"], true);
    between.bar(None);
    let (_, report) = program.refresh("");
    assert!(
        names(&report, "recreated").contains(&lab.name("tenant")),
        "{report}"
    );
}
