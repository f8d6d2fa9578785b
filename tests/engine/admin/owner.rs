//! The owner decides: back by hand, hold, skip, and an update to exactly one image.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::Folder;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::program::Program;
use crate::support::program::run;
use serde_json::Value;
use serde_json::json;
use std::sync::mpsc::channel;

fn tagged(lab: &Lab) -> Value {
    lab.docker.image(&lab.reference("hermes"))["Id"].clone()
}

/// Containers on an image that was updated just now.
fn updated(lab: &Lab, program: &Program, names: &[&str]) -> (Value, String) {
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    for name in names {
        lab.workspace(name, "hermes");
    }
    let old = tagged(lab);
    program.await_line("seeded");
    let newest = lab.publish("hermes", &good("v2"));
    program.await_lines("INFO  recreated container=", names.len());
    (old, newest)
}

fn post(lab: &Lab, program: &Program, name: &str, verb: &str) -> (u16, Value) {
    program.ask(
        "POST",
        &format!("/admin/containers/{}/{verb}", lab.name(name)),
    )
}

/// Several rounds pass, and the container stays what it is.
#[track_caller]
fn stays(lab: &Lab, program: &Program, name: &str, version: &str) {
    let rounds = || program.ask("GET", "/admin/status").1["watcher"]["rounds"].as_u64();
    let begun = rounds();
    crate::support::eventually("three rounds", || {
        (rounds() > begun.map(|n| n + 3)).then_some(())
    });
    assert_eq!(lab.version(name), version, "{}", program.log());
}

#[test]
fn a_roll_back_by_hand_brings_back_image_and_tag_and_the_newer_image_is_skipped() {
    let Some(lab) = Lab::new() else { return };
    let folder = Folder::new();
    let state = folder.path().to_str().expect("UTF-8").to_owned();
    let vars = [("IMAGEWATCH_STATE", state.as_str())];
    let mut program = lab.watcher("hermes", &vars);
    let (old, newest) = updated(&lab, &program, &["1", "2"]);
    let (status, report) = post(&lab, &program, "1", "rollback");
    assert_eq!(status, 200, "{report}");
    let mut both = names(&report, "recreated");
    both.sort();
    assert_eq!(both, [lab.name("1"), lab.name("2")], "{report}");
    assert_eq!(
        (lab.version("1"), lab.version("2")),
        ("v1".into(), "v1".into())
    );
    assert_eq!(tagged(&lab), old);
    stays(&lab, &program, "1", "v1");
    let (_, status) = program.ask("GET", "/admin/status");
    assert!(status.to_string().contains("skipped by admin"), "{status}");
    let history = status["history"].as_array().expect("a list").iter();
    let restored = history.filter(|one| one["outcome"] == "restored");
    assert!(
        restored.clone().count() == 2 && restored.clone().all(|one| one["reason"] == "by admin")
    );
    // There is nothing before the first image.
    let (status, answer) = post(&lab, &program, "1", "rollback");
    assert_eq!(status, 409, "{answer}");
    // After a restart, all is as it was.
    program.kill();
    let program = lab.watcher("hermes", &vars);
    program.await_line("image-auto-refresh: started");
    stays(&lab, &program, "2", "v1");
    // The owner may want it after all.
    let path = format!(
        "/admin/images/skip?image={}&digest={newest}",
        lab.reference("hermes")
    );
    let (status, answer) = program.ask("DELETE", &path);
    assert_eq!(status, 200, "{answer}");
    program.await_lines("INFO  recreated container=", 2);
    assert_eq!(
        (lab.version("1"), lab.version("2")),
        ("v2".into(), "v2".into())
    );
}

#[test]
fn an_update_that_a_command_did_is_rolled_back_and_never_forward() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("hermes");
    let image = format!("{}/acme/{{runtime}}:latest", lab.proxy.host());
    let host = lab.docker_host();
    let vars = [
        ("DOCKER_HOST", &*host),
        ("IMAGEWATCH_IMAGE", &image),
        ("IMAGEWATCH_RUNTIMES", "hermes"),
        ("IMAGEWATCH_PREFIX", &lab.prefix),
        ("IMAGEWATCH_SELECT", "workspaces"),
        ("IMAGEWATCH_SETTLE", "1s"),
    ];
    lab.publish("hermes", &good("v2"));
    let (code, _, errors) = run(&["refresh", "hermes"], &vars);
    assert_eq!(
        (code, lab.version("1")),
        (Some(0), "v2".to_owned()),
        "{errors}"
    );
    let mut program = lab.program("hermes", &[]);
    let (status, report) = post(&lab, &program, "1", "rollback");
    assert_eq!(status, 200, "{report}");
    assert_eq!(lab.version("1"), "v1");
    // Neither this process nor the next one takes the newer image for an earlier one.
    for _ in 0..2 {
        let (status, answer) = post(&lab, &program, "1", "rollback");
        assert_eq!(status, 409, "{answer}");
        program = lab.program("hermes", &[]);
    }
    assert_eq!(lab.version("1"), "v1");
}

#[test]
fn a_roll_back_that_was_asked_for_twice_goes_back_once() {
    let Some(lab) = Lab::new() else { return };
    let program = lab.watcher("hermes", &[]);
    updated(&lab, &program, &["1"]);
    let jobs = [(); 2].map(|()| {
        let (status, answer) = post(&lab, &program, "1", "rollback?wait=false");
        assert_eq!(status, 202, "{answer}");
        format!("/admin/jobs/{}", answer["job"].as_str().expect("an id"))
    });
    let ended = jobs.map(|job| {
        crate::support::eventually("its end", || {
            let (_, answer) = program.ask("GET", &job);
            matches!(answer["state"].as_str(), Some("done" | "failed")).then_some(answer)
        })
    });
    // Equal orders may have become one run.
    let [first, second] = ended;
    assert_eq!(first["state"], "done", "{first}");
    let is_refused = second["error"]
        .to_string()
        .contains("runs another image by now");
    assert!(second["state"] == "done" || is_refused, "{second}");
    stays(&lab, &program, "1", "v1");
    let said = program.log().matches("restored container=").count();
    assert_eq!(said, 1, "{}", program.log());
}

#[test]
fn only_one_is_rolled_back_if_its_owner_says_so() {
    let Some(lab) = Lab::new() else { return };
    let program = lab.watcher("hermes", &[]);
    updated(&lab, &program, &["1", "2"]);
    let (status, report) = post(&lab, &program, "1", "rollback?only=true");
    assert_eq!(status, 200, "{report}");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    stays(&lab, &program, "1", "v1");
    assert_eq!(lab.version("2"), "v2", "{}", program.log());
    // The next image is for both again.
    lab.publish("hermes", &good("v3"));
    program.await_lines("INFO  recreated container=", 4);
    assert_eq!(
        (lab.version("1"), lab.version("2")),
        ("v3".into(), "v3".into())
    );
}

#[test]
fn an_earlier_image_that_is_gone_is_pulled_again_or_refused() {
    let Some(lab) = Lab::new() else { return };
    let program = lab.watcher("hermes", &[("IMAGEWATCH_KEEP", "0")]);
    let (old, _) = updated(&lab, &program, &["1"]);
    let path = format!("/images/{}?force=1", old.as_str().expect("an id"));
    let (status, _) = lab.docker.ask("DELETE", &path, b"");
    assert_eq!(status, 200);
    let (status, report) = post(&lab, &program, "1", "rollback");
    assert_eq!(status, 200, "{report}");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(lab.version("1"), "v1");
}

#[test]
fn an_image_that_does_not_come_up_any_more_is_no_way_back() {
    let Some(lab) = Lab::new() else { return };
    let program = lab.watcher("hermes", &[]);
    lab.publish(
        "hermes",
        &good("v1").with(
            "Cmd",
            json!([
                "/bin/busybox",
                "sh",
                "-c",
                "[ ! -e /data/new ] || exit 3; exec /bin/busybox sleep 9999"
            ]),
        ),
    );
    lab.pull("hermes");
    let body = json!({"Image": lab.reference("hermes"), "Volumes": {"/data": {}}});
    lab.docker.run(&lab.name("1"), &body);
    program.await_line("seeded");
    lab.publish(
        "hermes",
        &good("v2").with(
            "Cmd",
            json!([
                "/bin/busybox",
                "sh",
                "-c",
                "touch /data/new; exec /bin/busybox sleep 9999"
            ]),
        ),
    );
    program.await_line("INFO  recreated container=");
    let newer = tagged(&lab);
    let (status, report) = post(&lab, &program, "1", "rollback");
    assert_eq!(status, 200, "{report}");
    assert_eq!(names(&report, "rolled_back"), [lab.name("1")], "{report}");
    assert_eq!(
        (lab.inspect("1")["Image"].clone(), tagged(&lab)),
        (newer.clone(), newer)
    );
    let (_, status) = program.ask("GET", "/admin/status");
    assert!(!status.to_string().contains("skipped by admin"), "{status}");
}

#[test]
fn a_hold_keeps_a_container_where_it_is_until_it_is_released() {
    let Some(lab) = Lab::new() else { return };
    let program = lab.watcher("hermes", &[]);
    lab.first_workspace("hermes");
    program.await_line("seeded");
    let (status, answer) = post(&lab, &program, "1", "hold?for=7d");
    assert_eq!(
        (status, answer["held"]["by"].as_str()),
        (200, Some("admin")),
        "{answer}"
    );
    lab.publish("hermes", &good("v2"));
    program.await_line("digest moved");
    stays(&lab, &program, "1", "v1");
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "skipped"), [lab.name("1")], "{report}");
    let (status, answer) = post(&lab, &program, "1", "update");
    assert_eq!(status, 409, "{answer}");
    let hold = format!("/admin/containers/{}/hold", lab.name("1"));
    assert_eq!(program.ask("DELETE", &hold).0, 200);
    program.await_line("INFO  recreated container=");
    assert_eq!(lab.version("1"), "v2");
}

#[test]
fn an_update_by_name_takes_exactly_the_image_that_its_owner_saw() {
    let Some(lab) = Lab::new() else { return };
    let vars = [
        ("IMAGEWATCH_MODE", "notify"),
        ("IMAGEWATCH_MIN_AGE", "3d"),
        ("IMAGE_AUTO_REFRESH", "false"),
    ];
    let program = lab.program("hermes", &vars);
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let second = lab.publish("hermes", &good("v2"));
    let third = lab.publish("hermes", &good("v3"));
    let (status, answer) = post(&lab, &program, "1", &format!("update?digest={second}"));
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"].to_string().contains(&third), "{answer}");
    assert_eq!(lab.version("1"), "v1");
    let (status, report) = post(&lab, &program, "1", &format!("update?digest={third}"));
    assert_eq!(status, 200, "{report}");
    assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(lab.version("1"), "v3");
}

#[test]
fn a_kill_in_a_roll_back_by_hand_loses_nothing() {
    let Some(lab) = Lab::new() else { return };
    let folder = Folder::new();
    let state = folder.path().to_str().expect("UTF-8").to_owned();
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    for (line, action) in [
        ("/tag", Action::HoldAfter),
        (".iw-new-", Action::HoldAfter),
        ("/stop ", Action::HoldAfter),
        ("/start ", Action::HoldBefore),
    ] {
        let between = EngineProxy::part(&lab.docker, &lab.prefix);
        let host = between.host();
        let vars = [("IMAGEWATCH_STATE", state.as_str()), ("DOCKER_HOST", &host)];
        let mut program = lab.program("hermes", &vars);
        lab.publish("hermes", &good(&format!("v2 {line}")));
        let (_, report) = program.refresh("");
        assert_eq!(names(&report, "recreated"), [lab.name("1")], "{report}");
        let (inlet, outlet) = channel();
        between.at(Place::Holding(line, 2), action, move |_| {
            let _ = inlet.send(());
        });
        let path = format!("/admin/containers/{}/rollback?wait=false", lab.name("1"));
        assert_eq!(program.ask("POST", &path).0, 202);
        outlet.recv().expect("the call");
        program.kill();
        let program = lab.program("hermes", &[("IMAGEWATCH_STATE", state.as_str())]);
        program.await_line("listening on");
        crate::support::eventually("one container", || {
            let names = lab.names();
            (names == ["1"] && lab.inspect("1")["State"]["Running"] == true).then_some(())
        });
        drop(program);
    }
}

#[test]
fn a_rejected_image_is_tried_again_only_by_force_and_the_plan_shows_it() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("hermes");
    let bad = good("v2").with("Cmd", json!(["/no/such/command"]));
    let newest = lab.publish("hermes", &bad);
    let program = lab.program("hermes", &[]);
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "rolled_back"), [lab.name("1")], "{report}");
    // The tag means the old image again, and the plan compares with the one that was tried.
    let path = format!("/admin/containers/{}/plan", lab.name("1"));
    let (status, plan) = program.ask("GET", &path);
    assert_eq!(status, 200, "{plan}");
    assert_ne!(plan["image"]["now"], plan["image"]["then"]);
    let mut changes = plan["changes"].as_array().expect("a list").iter();
    let command = changes.find(|change| change["field"] == "Config.Cmd");
    let then = &command.expect("its change")["then"];
    assert_eq!(*then, json!(["/no/such/command"]));
    assert_eq!(
        (&plan["with"], &plan["skipped"]),
        (&json!([]), &Value::Null)
    );
    let update = format!("update?digest={newest}");
    let (_, report) = post(&lab, &program, "1", &update);
    assert!(names(&report, "rolled_back").is_empty(), "{report}");
    let (_, report) = post(&lab, &program, "1", &format!("{update}&force=true"));
    assert_eq!(names(&report, "rolled_back"), [lab.name("1")], "{report}");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["under_way"], Value::Null);
    assert_eq!(lab.version("1"), "v1");
}
