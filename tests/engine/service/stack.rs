//! `contrib/imagewatch-stack.yml`, deployed by the Docker CLI: imagewatch as a service of the swarm.

use super::Swarm;
use crate::engine::lab::good;
use crate::engine::program_in_container::image;
use crate::support::Folder;
use crate::support::patiently;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Debian's own, which comes with docker-20.10.
const CLI: &str = "/usr/bin/docker";

/// The stack file, with the lab's image and socket, and with short times.
fn stack_file(image: &str, socket: &str) -> String {
    let text = include_str!("../../../contrib/imagewatch-stack.yml");
    let quick = "environment:\n      IMAGEWATCH_INTERVAL: 2s\n      IMAGEWATCH_SETTLE: 1s\n      \
                 IMAGEWATCH_LOG: debug\n";
    // The registry listens on the host's loopback address only.
    let host = "networks:\n  outside:\n    external: true\n    name: host\n";
    let changed = text
        .replace("image: imagewatch:latest", &format!("image: {image}"))
        .replace("- /var/run/docker.sock:", &format!("- {socket}:"))
        .replace("environment:\n", quick)
        .replace("    deploy:\n", "    networks: [outside]\n    deploy:\n")
        + host;
    assert!(changed.contains(image) && changed.contains(socket));
    changed
}

#[test]
fn the_stack_file_runs_imagewatch_which_updates_itself_first_and_then_the_others() {
    let Some(swarm) = Swarm::new() else { return };
    let lab = &swarm.lab;
    let name = std::env::var("LAB_ENGINE_NAME").unwrap_or_default();
    if name != "docker-20.10" || !Path::new(CLI).exists() {
        println!("left out: the Docker CLI of docker-20.10 speaks with that Engine only");
        return;
    }
    swarm.create("web", "v1", &|_| ());
    let program = |mark: &str| image().with("Labels", json!({"version": mark}));
    lab.publish("own", &program("v1"));
    let socket = std::env::var("LAB_ENGINE").expect("an Engine");
    let folder = Folder::new();
    let file = folder.write("stack.yml", stack_file(&lab.reference("own"), &socket));
    let stack = lab.name("s");
    let output = Command::new(CLI)
        .env_clear()
        .env("HOME", folder.path())
        .env("DOCKER_HOST", format!("unix://{socket}"))
        .args(["stack", "deploy", "-c", &file, &stack])
        .output()
        .expect("the Docker CLI");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let log = || {
        let path = format!("/services/{stack}_imagewatch/logs?stdout=1&stderr=1");
        let (_, log) = swarm.api.ask("GET", &path, b"");
        String::from_utf8_lossy(&log).into_owned()
    };
    let await_line = |text: &str| {
        patiently(text, || log().contains(text).then_some(()));
    };
    await_line("watching 2 containers");
    let own = || {
        let path = format!("/services/{stack}_imagewatch");
        swarm.api.json("GET", &path, &Value::Null).1
    };
    let image_of =
        |service: &Value| service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"].to_string();
    // Both tags move while imagewatch looks away, so that one round sees both.
    let second = lab.publish("own", &program("v2"));
    let web = lab.publish("web", &good("v2"));
    patiently(&format!("its own service is written: {}", log()), || {
        image_of(&own()).contains(&second).then_some(())
    });
    patiently("the others follow", || {
        (swarm.running("web", &web) == 2).then_some(())
    });
    let (own, other) = (own(), swarm.service("web"));
    let written = |service: &Value| {
        let marker = &service["Spec"]["Labels"]["io.imagewatch.update"];
        let marker: Value = serde_json::from_str(marker.as_str().expect("a label")).expect("JSON");
        marker["at"].as_str().expect("a time").to_owned()
    };
    assert!(written(&own) <= written(&other), "{own} {other}");
    // Docker's own label of the stack is as it was.
    let label = &own["Spec"]["Labels"]["com.docker.stack.image"];
    assert_eq!(label, &json!(lab.reference("own")));
    await_line(&format!("updated service={stack}_imagewatch"));
}
