//! Built-in runtimes: nothing is asked about those that this box does not have.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::patiently;
use crate::support::program::Program;
use crate::support::program::run;
use serde_json::Value;

/// The names of the references in the status.
fn watched(program: &Program) -> Vec<String> {
    let (_, status) = program.ask("GET", "/admin/status");
    names(&status, "references")
}

fn await_watched(program: &Program, wanted: &[&str]) {
    patiently(&format!("{wanted:?} in the status"), || {
        (watched(program) == wanted).then_some(())
    });
}

#[test]
fn a_built_in_runtime_is_watched_once_its_image_is_here() {
    let Some(lab) = Lab::new() else { return };
    let asked = |runtime: &str| {
        let lines = lab.proxy.lines();
        lines.iter().filter(|line| line.contains(runtime)).count()
    };
    let program = lab.watcher("", &[]);
    program.await_line("image-auto-refresh: started (interval=1s, runtimes=8)");
    program.await_line("watching 0 containers, 0 images");
    assert_eq!(watched(&program), Vec::<String>::new());
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    await_watched(&program, &["hermes"]);
    program.await_line("hermes: seeded");
    // Followed like a named one: the image is pulled although nothing runs it.
    lab.publish("hermes", &good("v2"));
    program.await_line("pulled image=");
    assert_eq!(asked("crewai"), 0);
    // The platform's endpoint pulls them all.
    let (_, report) = program.refresh("");
    assert_eq!(report["pulled"], serde_json::json!(["hermes"]));
    assert_eq!(report["failed"].as_array().map(Vec::len), Some(7));
    assert_eq!(watched(&program), ["hermes"]);
    let image = format!("/images/{}?force=1", lab.reference("hermes"));
    lab.docker.json("DELETE", &image, &Value::Null);
    await_watched(&program, &[]);
}

#[test]
fn a_built_in_runtime_is_checked_once_a_workspace_runs_it() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("crewai");
    let (host, image) = (
        lab.docker_host(),
        format!("{}/acme/{{runtime}}:latest", lab.proxy.host()),
    );
    let vars = [
        ("DOCKER_HOST", &*host),
        ("IMAGEWATCH_IMAGE", &image),
        ("IMAGEWATCH_PREFIX", &lab.prefix),
        ("IMAGEWATCH_SELECT", "workspaces"),
    ];
    let (code, table, errors) = run(&["check", "--json"], &vars);
    assert_eq!(code, Some(0), "{errors}");
    let table: Value = serde_json::from_str(&table).expect("JSON");
    assert_eq!(names(&table, "references"), ["crewai"]);
    // Without a watcher, the status lists the same ones, and those that a refresh pulled.
    let program = lab.program("", &[]);
    await_watched(&program, &["crewai"]);
    lab.publish("hermes", &good("v1"));
    program.refresh("?runtime=hermes");
    await_watched(&program, &["crewai", "hermes"]);
}
