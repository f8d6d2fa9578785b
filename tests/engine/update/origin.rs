//! Images that were built here, and images that only look so.

use crate::engine::commands::run;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::images::agent;
use serde_json::json;

/// Has the Engine import an image under the name of a runtime's, and runs it.
#[track_caller]
fn import(lab: &Lab, runtime: &str, container: &str) {
    let image = good("built");
    let command = image.config["Cmd"].to_string();
    let reference = lab.reference(runtime);
    let (name, tag) = reference.rsplit_once(':').expect("a tag");
    let encoded = |text: &str| {
        text.replace('%', "%25")
            .replace('/', "%2F")
            .replace('&', "%26")
    };
    let path = format!(
        "/images/create?fromSrc=-&repo={}&tag={tag}&changes={}",
        encoded(name),
        encoded(&format!("CMD {command}"))
            .replace(' ', "%20")
            .replace('"', "%22")
            .replace(';', "%3B")
            .replace('$', "%24")
    );
    let (status, answer) = lab.docker.ask("POST", &path, &image.layer());
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        status == 200 && !answer.contains("errorDetail"),
        "{status} {answer}"
    );
    lab.workspace(container, runtime);
}

/// As registries do with what no tag names.
#[track_caller]
fn delete(lab: &Lab, runtime: &str, digest: &str) {
    let url = format!(
        "http://{}/v2/{}/manifests/{digest}",
        lab.registry.host(),
        Lab::repository(runtime)
    );
    let answer = agent().delete(url).call().expect("the registry answers");
    assert_eq!(answer.status(), 202);
}

#[test]
fn what_was_built_here_is_left_alone_until_somebody_names_it() {
    let Some(lab) = Lab::new() else { return };
    import(&lab, "hermes", "1");
    let before = lab.inspect("1")["Id"].clone();
    let left_alone = |what: &str| {
        let (code, table, _) = run(&lab, "hermes", &["check"]);
        assert_eq!(code, Some(0), "{what}: {table}");
        assert!(table.contains("  local\n"), "{what}: {table}");
        let (code, text, log) = run(&lab, "hermes", &["refresh", "--json"]);
        assert_eq!(code, Some(0), "{what}: {text} {log}");
        let report = serde_json::from_str(&text).expect("JSON");
        assert_eq!(names(&report, "skipped"), [lab.name("1")], "{what}: {text}");
        assert_eq!(report["failed"], json!([]), "{what}: {text}");
        assert_eq!(report["pulled"], json!([]), "{what}: {text}");
        assert_eq!(lab.inspect("1")["Id"], before, "{what}");
    };
    left_alone("no registry has it");
    lab.publish("hermes", &good("v2"));
    left_alone("somebody pushed something under its name");
    let program = lab.watcher("hermes", &[("IMAGEWATCH_CATCH_UP", "true")]);
    program.await_line("built here, so it is left alone");
    let (_, report) = program.refresh("?force=true");
    assert_eq!(names(&report, "skipped"), [lab.name("1")], "{report}");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["references"][0]["state"], "local", "{status}");
    assert_eq!(lab.inspect("1")["Id"], before);
    // Its owner's word. From then on it is the registry's.
    let (_, report) = program.refresh("?runtime=hermes");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(lab.version("1"), "v2");
    lab.publish("hermes", &good("v3"));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "failed"), [""; 0], "{report}");
    assert_eq!(lab.version("1"), "v3", "{report}");
}

#[test]
fn a_container_of_what_was_built_here_is_replaced_by_its_name() {
    let Some(lab) = Lab::new() else { return };
    import(&lab, "hermes", "1");
    lab.publish("hermes", &good("v2"));
    let (code, text, log) = run(&lab, "none", &["refresh", &lab.name("1")]);
    assert_eq!(code, Some(0), "{text} {log}");
    assert_eq!(lab.version("1"), "v2", "{text}");
}

#[test]
fn what_was_pulled_is_no_less_so_once_its_registry_has_deleted_it() {
    let Some(lab) = Lab::new() else { return };
    let first = lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    lab.publish("hermes", &good(&lab.name("v2")));
    delete(&lab, "hermes", &first);
    let (code, table, _) = run(&lab, "hermes", &["check"]);
    assert_eq!(code, Some(10), "{table}");
    let (code, text, log) = run(&lab, "hermes", &["refresh"]);
    assert_eq!(code, Some(0), "{text} {log}");
    assert_eq!(lab.version("1"), lab.name("v2"), "{text}");
}
