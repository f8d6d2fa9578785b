//! Containers that need another one in order to start, and what its owner does with that.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use serde_json::Value;
use serde_json::json;

/// A container that needs container `provider`, and one that needs nobody, of the same image.
fn household(lab: &Lab, host: &Value) -> String {
    for runtime in ["hermes", "tenant"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    run_provider(lab);
    let body = json!({"Image": lab.reference("tenant"), "HostConfig": host});
    let tenant = lab.docker.run(&lab.name("tenant"), &body);
    lab.workspace("single", "tenant");
    tenant
}

fn run_provider(lab: &Lab) -> String {
    let shared = json!({"Image": lab.reference("hermes"), "HostConfig": {"IpcMode": "shareable"}});
    lab.docker.run(&lab.name("provider"), &shared)
}

fn remove_all(lab: &Lab) {
    for name in lab.names().iter().rev() {
        lab.docker.remove(&lab.name(name));
    }
}

/// In which ways a container can need `provider`.
fn ways(lab: &Lab) -> Vec<Value> {
    let shared = format!("container:{}", lab.name("provider"));
    let mut ways = vec![json!({"NetworkMode": shared}), json!({"IpcMode": shared})];
    if !lab.is_podman {
        ways.push(json!({"Links": [format!("{}:alias", lab.name("provider"))]}));
    }
    ways
}

#[test]
fn who_could_not_be_started_again_is_left_alone_until_he_can() {
    let Some(lab) = Lab::new() else { return };
    for host in ways(&lab) {
        let tenant = household(&lab, &host);
        lab.docker.stop(&lab.name("provider"));
        assert_eq!(lab.inspect("tenant")["State"]["Running"], true, "{host}");
        lab.publish("tenant", &good("v2"));
        let program = lab.program("tenant", &[]);
        for expected in ["recreated", "unchanged"] {
            let (_, report) = program.refresh("");
            assert_eq!(names(&report, "skipped"), [lab.name("tenant")], "{report}");
            let reason = report["skipped"][0]["reason"].as_str().expect("a reason");
            let provider = lab.name("provider");
            assert!(
                reason.contains(&provider) && reason.contains("start it"),
                "{reason}"
            );
            assert_eq!(names(&report, expected), [lab.name("single")], "{report}");
        }
        let said = program.log().matches("left alone container=").count();
        assert_eq!(said, 1, "{}", program.log());
        assert_eq!(lab.inspect("tenant")["Id"], json!(tenant));
        assert_eq!(lab.inspect("tenant")["State"]["Running"], true);
        let (_, status) = program.ask("GET", "/admin/status");
        assert_eq!(status["rejected"], json!([]));
        lab.docker.start(&lab.name("provider"));
        let (_, report) = program.refresh("");
        assert_eq!(
            names(&report, "recreated"),
            [lab.name("tenant")],
            "{report}"
        );
        remove_all(&lab);
    }
}

#[test]
fn who_needs_what_its_owner_replaced_joins_the_new_one() {
    let Some(lab) = Lab::new() else { return };
    joins_the_new_one(&lab, true);
}

/// The Engine remembers 256 events, in which others' must leave room.
#[test]
fn so_does_who_was_not_seen_before() {
    let Some(lab) = Lab::alone() else { return };
    joins_the_new_one(&lab, false);
}

fn joins_the_new_one(lab: &Lab, is_seen_before: bool) {
    if lab.leaves_out("removes nothing that others need") {
        return;
    }
    for host in ways(lab) {
        household(lab, &host);
        lab.docker.remove(&lab.name("single"));
        let start = || lab.program("tenant", &[]);
        let watching = is_seen_before.then(|| {
            let program = start();
            program.refresh("");
            program
        });
        lab.docker.remove(&lab.name("provider"));
        lab.publish("tenant", &good("bad").with("Cmd", json!(["/bin/false"])));
        let program = watching.unwrap_or_else(start);
        let (_, report) = program.refresh("");
        assert!(
            names(&report, "skipped").contains(&lab.name("tenant")),
            "{report}"
        );
        let reason = report["skipped"].to_string();
        assert!(
            reason.contains("provider") && reason.contains("was removed"),
            "{reason}"
        );

        let provider = run_provider(lab);
        let (_, report) = program.refresh("?force=true");
        assert!(!names(&report, "rolled_back").is_empty(), "{report}");
        let tenant = lab.inspect("tenant");
        assert_eq!(tenant["State"]["Running"], true, "{}", program.log());
        assert_eq!(lab.version("tenant"), "v1");

        lab.publish("tenant", &good("v2"));
        let (_, report) = program.refresh("");
        assert!(
            names(&report, "recreated").contains(&lab.name("tenant")),
            "{report}"
        );
        let tenant = lab.inspect("tenant");
        assert_eq!(tenant["State"]["Running"], true);
        assert_eq!(lab.version("tenant"), "v2");
        for key in ["NetworkMode", "IpcMode"] {
            if host[key].is_string() {
                let joined = format!("container:{provider}");
                assert_eq!(tenant["HostConfig"][key], json!(joined));
            }
        }
        let again = format!("/containers/{}/restart?t=1", lab.name("tenant"));
        assert_eq!(lab.docker.ask("POST", &again, b"").0, 204, "{host}");
        assert_eq!(lab.names(), ["provider", "tenant"]);
        remove_all(lab);
    }
}
