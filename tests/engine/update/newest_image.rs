//! Whether a container runs the newest image: decided by what runs, never by whether a pull brought
//! something.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::images::ImageSpec;
use serde_json::Value;
use serde_json::json;

fn list<'r>(report: &'r Value, name: &str) -> Vec<&'r str> {
    let list = report[name].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

/// An image of this machine's architecture, and one of another.
fn pair(lab: &Lab, ours: &str, other: &str) -> [ImageSpec; 2] {
    let mut other = good(&lab.name(other));
    other.arch = "riscv64";
    [good(&lab.name(ours)), other]
}

#[test]
fn of_two_containers_that_share_an_image_only_the_older_is_recreated() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    lab.publish("hermes", &good(&lab.name("v2")));
    lab.pull("hermes");
    let second = lab.workspace("2", "hermes");
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(list(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(list(&report, "unchanged"), [lab.name("2")], "{report}");
    assert_eq!(lab.inspect("2")["Id"], json!(second));
}

#[test]
fn an_image_that_somebody_else_pulled_is_as_new_as_one_of_ours() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let program = lab.watcher("hermes", &[("IMAGEWATCH_CATCH_UP", "true")]);
    program.await_line("hermes: seeded");
    // Faster than we are, or while we look.
    lab.publish("hermes", &good(&lab.name("v2")));
    lab.pull("hermes");
    program.await_line("INFO  recreated container=");
    assert_eq!(lab.version("1"), lab.name("v2"));
    drop(program);
    // And while we were away.
    lab.publish("hermes", &good(&lab.name("v3")));
    lab.pull("hermes");
    let program = lab.watcher("hermes", &[("IMAGEWATCH_CATCH_UP", "true")]);
    program.await_line("hermes is behind");
    program.await_line("INFO  recreated container=");
    assert_eq!(lab.version("1"), lab.name("v3"));
}

#[test]
fn an_index_that_moves_for_another_architecture_costs_nobody_a_restart() {
    let Some(lab) = Lab::new() else { return };
    let publish = |ours, other| {
        let pair = pair(&lab, ours, other);
        lab.registry.publish_index("acme/hermes", "latest", &pair)
    };
    publish("v1", "other-1");
    lab.pull("hermes");
    let first = lab.workspace("1", "hermes");
    let program = lab.watcher("hermes", &[("IMAGEWATCH_CATCH_UP", "true")]);
    program.await_line("hermes: seeded");
    publish("v1", "other-2");
    program.await_line("digest moved");
    program.await_line("hermes: unchanged");
    assert_eq!(lab.inspect("1")["Id"], json!(first), "{}", program.log());
    let newest = publish("v2", "other-2");
    program.await_line("INFO  recreated container=");
    assert_eq!(lab.version("1"), lab.name("v2"));
    program.await_lines("hermes: unchanged", 2);
    let (_, status) = program.ask("GET", "/admin/status");
    let entry = &status["references"][0];
    assert_eq!(entry["state"], "current", "{entry}");
    assert_eq!(entry["registry_digest"], json!(newest), "{entry}");
    drop(program);
    // Nothing is behind after a restart.
    let program = lab.watcher("hermes", &[("IMAGEWATCH_CATCH_UP", "true")]);
    program.await_line("hermes: seeded");
    assert!(!program.has_said("hermes is behind"), "{}", program.log());
}

#[test]
fn an_image_with_several_names_is_newest_under_its_own() {
    let Some(lab) = Lab::new() else { return };
    // The same image under two names: it has two digests of repositories.
    let image = good(&lab.name("v1"));
    for runtime in ["hermes", "crewai"] {
        lab.publish(runtime, &image);
        lab.pull(runtime);
    }
    lab.workspace("1", "hermes");
    lab.workspace("2", "crewai");
    let vars = [("IMAGEWATCH_CATCH_UP", "true")];
    let program = lab.watcher("hermes,crewai", &vars);
    program.await_line("hermes: seeded");
    program.await_line("crewai: seeded");
    drop(program);
    // One of them moves on; the other is not behind for that.
    lab.publish("crewai", &good(&lab.name("v2")));
    let program = lab.watcher("hermes,crewai", &vars);
    program.await_line("crewai is behind");
    program.await_line("INFO  recreated container=");
    program.await_line("hermes: seeded");
    assert_eq!(lab.version("1"), lab.name("v1"));
    assert_eq!(lab.version("2"), lab.name("v2"));
}

#[test]
fn what_runs_an_image_that_lost_its_name_is_caught_up_with() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    // With a second name it only loses the first.
    let name = lab.reference("hermes");
    let other = name.replace("/hermes", "/kept").replace(":latest", "");
    let tag = format!("/images/{name}/tag?repo={other}&tag=latest");
    for (method, path) in [("POST", &*tag), ("DELETE", &*format!("/images/{name}"))] {
        let (status, answer) = lab.docker.ask(method, path, b"");
        let answer = String::from_utf8_lossy(&answer);
        assert!((200..300).contains(&status), "{method} {path}: {answer}");
    }
    lab.publish("hermes", &good(&lab.name("v2")));
    let program = lab.watcher("hermes", &[("IMAGEWATCH_CATCH_UP", "true")]);
    program.await_line("hermes is behind");
    program.await_line("INFO  recreated container=");
    assert_eq!(lab.version("1"), lab.name("v2"));
}
