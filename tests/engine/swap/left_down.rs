//! A container that cannot be started again, as nobody could have known.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::engine_proxy::EngineProxy;
use crate::support::eventually;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

/// A few tries of each step on a busy machine; not the minutes for which an Engine that is away is waited for.
const AT_ONCE: Duration = Duration::from_secs(25);
/// The second, and what a busy machine adds.
const SOON: Duration = Duration::from_secs(3);

#[test]
fn a_container_that_is_down_is_told_of_at_once_and_holds_up_nobody() {
    let Some(lab) = Lab::parted() else { return };
    for runtime in ["hermes", "crewai"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    let policy = json!({"RestartPolicy": {"Name": "always"}});
    let body = json!({"Image": lab.reference("hermes"), "HostConfig": policy});
    let old = lab.docker.run(&lab.name("web"), &body);
    lab.workspace("other", "crewai");
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    between.deny(&format!("/containers/{old}/start"));
    let host = between.host();
    let mut program = lab.program("hermes,crewai", &[("DOCKER_HOST", &host)]);

    lab.publish("hermes", &good("v2").with("Cmd", json!(["/bin/false"])));
    let begun = Instant::now();
    let (_, report) = program.refresh("");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(names(&report, "rolled_back"), [lab.name("web")], "{report}");
    let reason = report["rolled_back"][0]["reason"]
        .as_str()
        .expect("a reason");
    assert!(reason.contains("403"), "{reason}");
    let (status, health) = program.ask("GET", "/health");
    let words = health["error"].as_str().unwrap_or_default();
    assert!(
        status == 503 && words.contains(&lab.name("web")),
        "{health}"
    );
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(
        status["down"][0]["name"],
        json!(lab.name("web")),
        "{status}"
    );
    let one_of = |list: &str, key: &str, value: Value| {
        let mut all = status[list].as_array().expect("a list").iter();
        all.find(|one| one[key] == value).expect("it").clone()
    };
    let container = one_of("containers", "name", json!(lab.name("web")));
    assert_eq!(container["behind"], true, "{status}");
    let reference = one_of("references", "reference", json!(lab.reference("hermes")));
    assert_eq!(reference["state"], "outdated", "{status}");
    assert_eq!(
        status["rejected"],
        json!([]),
        "it was not shown to be the image's fault"
    );
    assert!(program.has_said(&format!("down container={}", lab.name("web"))));
    let (_, _, page) = program.ask_text("GET", "/metrics");
    assert!(page.contains("imagewatch_containers_down 1\n"), "{page}");

    lab.publish("crewai", &good("v2"));
    let begun = Instant::now();
    let (_, report) = program.refresh("?runtime=crewai");
    assert_eq!(names(&report, "recreated"), [lab.name("other")], "{report}");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());

    program.signal("TERM");
    let (_, took) = program.await_exit();
    assert!(took < SOON, "{took:?}");

    let program = lab.program("hermes,crewai", &[("DOCKER_HOST", &host)]);
    eventually("its next start finds it down as well", || {
        (program.ask("GET", "/health").0 == 503).then_some(())
    });
    between.bar(None);
    program.await_line(&format!("back container={}", lab.name("web")));
    eventually("it is well again", || {
        (program.ask("GET", "/health").0 == 200).then_some(())
    });
    let web = lab.inspect("web");
    assert_eq!(web["Id"], json!(old));
    assert_eq!(web["State"]["Running"], true);
    assert_eq!(web["HostConfig"]["RestartPolicy"]["Name"], "always");
    eventually("nothing is left over", || {
        (lab.names() == ["other", "web"]).then_some(())
    });
}

/// Its provider is back, and was rolled back all the same.
#[test]
fn a_dependent_that_is_down_does_not_take_its_provider_out_of_the_report() {
    let Some(lab) = Lab::parted() else { return };
    if lab.leaves_out("stops and removes dependents together with their provider") {
        return;
    }
    for runtime in ["hermes", "crewai"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    let home = lab.docker.run(
        &lab.name("home"),
        &json!({"Image": lab.reference("hermes")}),
    );
    let mode = format!("container:{home}");
    let body = json!({"Image": lab.reference("crewai"), "HostConfig": {"NetworkMode": mode}});
    let dependent = lab.docker.run(&lab.name("dependent"), &body);
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    between.deny(&format!("/containers/{dependent}/start"));
    let program = lab.program("hermes,crewai", &[("DOCKER_HOST", &between.host())]);
    lab.publish("hermes", &good("v2").with("Cmd", json!(["/bin/false"])));
    let (_, report) = program.refresh("");
    let mut rolled_back = names(&report, "rolled_back");
    rolled_back.sort();
    let both = ["dependent", "home"].map(|name| lab.name(name));
    assert_eq!(rolled_back, both, "{report}");
    let (_, status) = program.ask("GET", "/admin/status");
    let down = status["down"].as_array().expect("a list");
    assert_eq!(down.len(), 1, "{status}");
    assert_eq!(down[0]["name"], json!(lab.name("dependent")), "{status}");
    let reason = down[0]["reason"].as_str().expect("a reason");
    assert!(!reason.contains('\n'), "{reason}");
    assert_eq!(lab.inspect("home")["State"]["Running"], true);
}

#[test]
fn what_is_forbidden_keeps_a_swap_from_being_begun() {
    let Some(lab) = Lab::parted() else { return };
    let old = lab.first_workspace("hermes");
    lab.publish("hermes", &good("v2"));
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    program.await_line("preflight: done");
    for call in ["start", "stop", "rename", "update", "create"] {
        between.deny(&format!("/{call}"));
        let pulls = if call == "create" {
            // An image that is here would not be pulled.
            lab.publish("hermes", &good("v3"));
            "failed"
        } else {
            "skipped"
        };
        let (_, report) = program.refresh("");
        let said = report[pulls].to_string();
        assert!(!names(&report, pulls).is_empty(), "{call}: {report}");
        assert!(
            call == "create" || said.contains(&format!("/containers/{{id}}/{call}")),
            "{said}"
        );
        let web = lab.inspect("1");
        assert!(
            web["Id"] == json!(old) && web["State"]["Running"] == true,
            "{call}"
        );
    }
    let is_change = |line: &&String| line.contains("/stop") && !line.contains("_imagewatch");
    assert_eq!(between.lines().iter().find(is_change), None);
    between.bar(None);
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
}
