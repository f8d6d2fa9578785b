//! How often the Engine is asked for one update.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::engine_proxy::EngineProxy;
use serde_json::json;

/// From the first list to the last. Podman's own API is asked besides.
const MOST: usize = 20;

#[test]
fn one_update_takes_few_engine_calls() {
    let Some(lab) = Lab::alone() else { return };
    if lab.leaves_out("asks its own API besides") {
        return;
    }
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let policy = json!({"RestartPolicy": {"Name": "unless-stopped"}});
    let body = json!({"Image": lab.reference("hermes"), "HostConfig": policy});
    lab.docker.run(&lab.name("1"), &body);
    let between = EngineProxy::whole(&lab.docker);
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    program.refresh("");
    lab.publish("hermes", &good("v2"));
    let before = between.lines();
    let list = "GET /containers/json?all=1";
    // A call that repeats the one before it is not counted again.
    assert_eq!(before.last().map(String::as_str), Some(list));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    let mut calls = vec![list.to_owned()];
    calls.extend_from_slice(&between.lines()[before.len()..]);
    assert_eq!(calls.last().map(String::as_str), Some(list));
    assert!(calls.len() <= MOST, "{}: {calls:#?}", calls.len());
}
