//! `imagewatch plan`.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;
use std::process::Command;
use std::process::Output;
use std::sync::Arc;
use std::sync::Mutex;

fn plan(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = Command::new(crate::support::program::binary());
    command
        .arg("plan")
        .args(arguments)
        .env_clear()
        .env("DOCKER_HOST", lab.docker_host());
    command.output().expect("it runs")
}

#[test]
fn it_shows_what_the_swap_then_does() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let body = json!({"Image": lab.reference("hermes"), "Env": ["MINE=1"], "HostConfig": {"Memory": 33_554_432}});
    let old = lab.docker.run(&lab.name("1"), &body);
    lab.publish("hermes", &good("v2"));
    lab.pull("hermes");
    let name = lab.name("1");
    let output = plan(&lab, &["--json", &name]);
    assert!(output.status.success(), "{output:?}");
    let planned: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let fields = planned["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|change| change["field"].as_str());
    let fields: Vec<&str> = fields.flatten().collect();
    assert_eq!(
        fields,
        ["Config.Cmd", "Config.Env.VERSION", "Config.Labels.version"]
    );
    assert_eq!(planned["create"]["Env"], json!(["MINE=1"]));
    assert_eq!(planned["image"]["now"], lab.inspect("1")["Image"]);
    let output = plan(&lab, &["--full", &name]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains(r#"Config.Env.VERSION: "v1" -> "v2""#),
        "{text}"
    );
    assert!(text.contains(r#""Memory": 33554432"#), "{text}");
    assert_eq!(lab.inspect("1")["Id"], json!(old), "a plan changes nothing");
    assert_eq!(lab.names(), ["1"]);

    let created = Arc::new(Mutex::new(Vec::new()));
    let (seen_bodies, docker) = (Arc::clone(&created), lab.seen());
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let _between = Server::unix(&socket, move |seen| {
        if seen.target.contains("/containers/create") && seen.target.contains(".iw-new-") {
            seen_bodies
                .lock()
                .expect("no panic")
                .push(seen.body.clone());
        }
        docker.pass(seen)
    });
    let host = format!("unix://{}", socket.display());
    let (_, report) = lab.program("hermes", &[("DOCKER_HOST", &host)]).refresh("");
    assert_eq!(report["recreated"], json!([name]), "{report}");
    let created: Vec<Value> = created
        .lock()
        .expect("no panic")
        .iter()
        .map(|body| serde_json::from_slice(body).expect("JSON"))
        .collect();
    assert_eq!(
        created,
        [planned["create"].clone()],
        "the swap executes just that"
    );
}

#[test]
fn what_cannot_be_planned_is_said_in_one_line() {
    let Some(lab) = Lab::new() else { return };
    let output = plan(&lab, &["no-such-container"]);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.to_lowercase().contains("no such container"), "{text}");
    assert_eq!(plan(&lab, &[]).status.code(), Some(2));
    assert_eq!(plan(&lab, &["--yaml", "x"]).status.code(), Some(2));
}
