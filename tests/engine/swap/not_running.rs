//! Containers that are not simply running: each has an answer.

use crate::engine::lab::Lab;
use crate::engine::lab::STOPPED_TOO;
use crate::engine::lab::good;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::eventually;
use crate::support::images::ImageSpec;
use crate::support::tidy;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// A workspace of v1, with v2 published.
fn moved_on(lab: &Lab, host: Value) -> String {
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let body = json!({"Image": lab.reference("hermes"), "HostConfig": host});
    let id = lab.docker.create(&lab.name("1"), &body);
    lab.publish("hermes", &good("v2"));
    id
}

/// What the report says of the only container, and why.
#[track_caller]
fn only(report: &Value, list: &str) -> String {
    let entries = report[list].as_array().expect("a list");
    let [entry] = entries.as_slice() else {
        panic!("not one {list}: {report}");
    };
    entry["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_container_that_removes_itself_is_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let id = moved_on(&lab, json!({"AutoRemove": true}));
    lab.docker.start(&id);
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert!(only(&report, "skipped").contains("--rm"), "{report}");
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    assert_eq!(lab.inspect("1")["State"]["Running"], true);
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn a_paused_container_is_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let id = moved_on(&lab, json!({}));
    lab.docker.start(&id);
    lab.docker
        .ask("POST", &format!("/containers/{id}/pause"), b"");
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(only(&report, "skipped"), "paused");
    assert_eq!(lab.inspect("1")["State"]["Paused"], true);
    lab.docker
        .ask("POST", &format!("/containers/{id}/unpause"), b"");
}

#[test]
fn a_container_in_a_crash_loop_gets_the_image_that_mends_it() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1").with("Cmd", json!(["/bin/false"])));
    lab.pull("hermes");
    let host = json!({"RestartPolicy": {"Name": "always"}});
    let body = json!({"Image": lab.reference("hermes"), "HostConfig": host});
    lab.docker.run(&lab.name("1"), &body);
    lab.publish("hermes", &good("v2"));
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    let now = lab.inspect("1");
    assert_eq!(now["State"]["Running"], true);
    assert_eq!(now["HostConfig"]["RestartPolicy"]["Name"], "always");
    assert_eq!(lab.names(), ["1"]);
}

/// The id of a container in a crash loop whose next image is no better.
fn crash_loop(lab: &Lab) -> String {
    let bad = |version| good(version).with("Cmd", json!(["/bin/false"]));
    lab.publish("hermes", &bad("v1"));
    lab.pull("hermes");
    let host = json!({"RestartPolicy": {"Name": "always"}});
    let body = json!({"Image": lab.reference("hermes"), "HostConfig": host});
    let old = lab.docker.run(&lab.name("1"), &body);
    lab.publish("hermes", &bad("v2"));
    old
}

/// It was rolled back, and is started again and again.
#[track_caller]
fn goes_on(lab: &Lab, old: &str, report: &Value) {
    assert!(
        only(report, "rolled_back").contains("it exited"),
        "{report}"
    );
    let now = lab.inspect("1");
    assert_eq!(now["Id"], json!(old));
    assert_eq!(now["HostConfig"]["RestartPolicy"]["Name"], "always");
    assert_eq!(lab.names(), ["1"]);
    eventually("it is started again and again", || {
        let later = lab.inspect("1");
        (later["State"]["StartedAt"] != now["State"]["StartedAt"]).then_some(())
    });
}

#[test]
fn a_crash_loop_that_goes_on_is_rolled_back_to_the_old_one() {
    let Some(lab) = Lab::new() else { return };
    let old = crash_loop(&lab);
    let (_, report) = lab.program("hermes", &[]).refresh("");
    goes_on(&lab, &old, &report);
}

/// As it does if its clean-up after a run without the policy is late, and meets the next run.
#[test]
fn a_crash_loop_that_podman_gives_up_is_started_again() {
    let Some(lab) = Lab::parted() else { return };
    if !lab.is_podman {
        return;
    }
    let old = crash_loop(&lab);
    let set_policy = {
        let (docker, path) = (lab.docker.clone(), format!("/containers/{old}/update"));
        let body = |policy| json!({"RestartPolicy": {"Name": policy}});
        move |policy| docker.json("POST", &path, &body(policy)).0
    };
    if set_policy("always") == 404 {
        println!("left out before Podman 5.1: it cannot take a policy away");
        return;
    }
    let between = Arc::new(EngineProxy::part(&lab.docker, &lab.name("")));
    let ended = {
        let (docker, old) = (lab.docker.clone(), old.clone());
        move || {
            eventually("it ended", || {
                (docker.inspect(&old)["State"]["Running"] == false).then_some(())
            })
        }
    };
    let give_up = {
        let ended = ended.clone();
        move || {
            assert_eq!(set_policy("no"), 200);
            ended();
            assert_eq!(set_policy("always"), 200);
        }
    };
    let restored = Place::Exactly("POST /containers/#2/update".to_owned(), 2);
    let started = Place::Exactly("POST /containers/#2/start".to_owned(), 2);
    let (happened, outer) = (Arc::new(AtomicBool::new(false)), Arc::downgrade(&between));
    let seen = Arc::clone(&happened);
    between.at(restored, Action::First(Arc::new(ended)), move |_| {
        let outer = outer.upgrade().expect("the test goes on");
        outer.at(started, Action::Then(Arc::new(give_up)), move |_| {
            seen.store(true, Ordering::SeqCst)
        });
    });
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    let (_, report) = program.refresh("");
    goes_on(&lab, &old, &report);
    assert!(happened.load(Ordering::SeqCst), "{:#?}", between.lines());
}

#[test]
fn an_image_without_a_command_costs_nothing() {
    let Some(lab) = Lab::new() else { return };
    let id = lab.first_workspace("hermes");
    lab.publish("hermes", &good("v2").with("Cmd", Value::Null));
    let (_, report) = lab.program("hermes", &[]).refresh("");
    let reason = only(&report, "skipped");
    assert!(reason.to_lowercase().contains("command"), "{reason}");
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    assert_eq!(lab.inspect("1")["State"]["Running"], true);
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn a_missing_network_keeps_a_stopped_container_as_it_was() {
    let Some(lab) = Lab::new() else { return };
    let network = lab.name("net");
    let (status, answer) = lab
        .docker
        .json("POST", "/networks/create", &json!({"Name": network}));
    assert_eq!(status, 201, "{answer}");
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let body = json!({"Image": lab.reference("hermes"), "HostConfig": {"NetworkMode": network}});
    lab.docker.create(&lab.name("1"), &body);
    let before = lab.inspect("1");
    lab.docker
        .ask("DELETE", &format!("/networks/{network}"), b"");
    lab.publish("hermes", &good("v2"));
    let (_, report) = lab.program("hermes", &[STOPPED_TOO]).refresh("");
    // Engines differ in when they look for the network; none may lose the container.
    let now = lab.inspect("1");
    assert_eq!(now["State"]["Status"], "created", "{report}");
    assert_eq!(
        now["HostConfig"]["NetworkMode"],
        before["HostConfig"]["NetworkMode"]
    );
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn without_the_old_image_everything_is_kept() {
    let Some(lab) = Lab::new() else { return };
    if lab.leaves_out("removes an image only together with its containers") {
        return;
    }
    // An image that no other test uses, or it could not be removed.
    let mark = lab.name("v1");
    lab.publish("hermes", &good(&mark));
    lab.pull("hermes");
    let body = json!({"Image": lab.reference("hermes"), "Env": ["MINE=1"]});
    lab.docker.create(&lab.name("1"), &body);
    let image = lab.inspect("1")["Image"]
        .as_str()
        .expect("an id")
        .to_owned();
    lab.publish("hermes", &good("v2"));
    lab.pull("hermes");
    let (status, answer) = lab
        .docker
        .ask("DELETE", &format!("/images/{image}?force=1"), b"");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let program = lab.program("hermes", &[STOPPED_TOO]);
    let (_, report) = program.refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    assert!(
        program.log().contains("its old image is gone"),
        "{}",
        program.log()
    );
    let config = lab.inspect("1")["Config"].clone();
    let env: Vec<&str> = config["Env"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        env.contains(&"MINE=1") && env.contains(&&*format!("VERSION={mark}")),
        "{env:?}"
    );
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn a_platform_that_its_owner_chose_is_kept() {
    let Some(lab) = Lab::new() else { return };
    let foreign = |mark: &str| ImageSpec {
        arch: "arm64",
        ..good(mark)
    };
    let image = |lab: &Lab| {
        lab.docker
            .image(lab.inspect("1")["Image"].as_str().expect("an id"))
    };
    lab.publish("hermes", &foreign("v1"));
    lab.pull_for("hermes", "linux/arm64");
    let body = json!({"Image": lab.reference("hermes")});
    let path = format!(
        "/containers/create?name={}&platform=linux%2Farm64",
        lab.name("1")
    );
    let (status, answer) = lab.docker.json("POST", &path, &body);
    assert_eq!(status, 201, "{answer}");
    lab.docker.start(&lab.name("1"));
    lab.publish("hermes", &foreign("v2"));
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
    assert_eq!(lab.version("1"), "v2");
    assert_eq!(image(&lab)["Architecture"], "arm64");
    assert_eq!(lab.names(), ["1"]);
}

#[test]
fn the_first_roll_back_ends_it_for_that_image_and_no_other() {
    let Some(lab) = Lab::new() else { return };
    for runtime in ["good", "bad"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    for (name, runtime) in [("1", "bad"), ("2", "bad"), ("3", "good"), ("4", "bad")] {
        lab.workspace(name, runtime);
    }
    lab.publish("good", &good("v2"));
    lab.publish("bad", &good("v2").with("Cmd", json!(["/bin/false"])));
    let (_, report) = lab.program("good,bad", &[]).refresh("");
    assert!(only(&report, "rolled_back").contains("exited"), "{report}");
    assert_eq!(report["recreated"], json!([lab.name("3")]));
    let skipped: Vec<&str> = report["skipped"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(skipped, [lab.name("2"), lab.name("4")]);
    let reason = report["skipped"][0]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains(&format!("{} was rolled back", lab.name("1"))),
        "{reason}"
    );
}

#[test]
fn half_done_swaps_of_a_killed_process_are_settled_before_anything_else() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    // As it is left after both renames: the successor was never started.
    let old = lab.workspace("1", "hermes");
    lab.docker.stop(&old);
    let mark = &old[..8];
    let label = json!({"v": 1, "name": lab.name("1"), "old": old, "was": "running",
                       "restart": {"Name": "always", "MaximumRetryCount": 0}});
    let body = json!({"Image": lab.reference("hermes"), "Labels": {"io.imagewatch.txn": label.to_string()}});
    let aside = lab.name(&format!("1.iw-old-{mark}"));
    lab.docker.ask(
        "POST",
        &format!("/containers/{old}/rename?name={aside}"),
        b"",
    );
    lab.docker.create(&lab.name("1"), &body);
    // And one put aside whose successor is gone.
    let orphan = lab.workspace("2", "hermes");
    lab.docker.stop(&orphan);
    let aside = lab.name(&format!("2.iw-old-{}", &orphan[..8]));
    lab.docker.ask(
        "POST",
        &format!("/containers/{orphan}/rename?name={aside}"),
        b"",
    );
    let program = lab.program("hermes", &[]);
    program.await_line(&format!(
        "{}: a swap was found half done and is undone now",
        lab.name("1")
    ));
    program.await_line("was put aside by a swap, put back");
    assert_eq!(lab.names(), ["1", "2"]);
    for (name, id) in [("1", old), ("2", orphan)] {
        assert_eq!(lab.inspect(name)["Id"], json!(id));
        assert_eq!(lab.inspect(name)["State"]["Running"], true);
    }
    let policy = lab.inspect("1")["HostConfig"]["RestartPolicy"]["Name"].clone();
    let path = format!("/containers/{}/update", lab.name("1"));
    let can_be_set = || lab.docker.json("POST", &path, &json!({})).0 != 404;
    // Podman before 5.1 can set no policy, and so takes none away.
    assert!(policy == "always" || !can_be_set(), "{policy}");
}

/// Podman's, gone with the test.
struct Pod<'l> {
    lab: &'l Lab,
    name: String,
}

impl<'l> Pod<'l> {
    fn new(lab: &'l Lab) -> Self {
        let name = lab.name("pod");
        let body = json!({"name": name, "no_infra": true});
        let (status, answer) = lab.docker.json("POST", "/v4.0.0/libpod/pods/create", &body);
        assert_eq!(status, 201, "{answer}");
        Self { lab, name }
    }

    /// The id of a new member of it, which runs.
    fn member(&self, name: &str, image: &str) -> String {
        let body = json!({"name": name, "image": image, "pod": self.name});
        let path = "/v4.0.0/libpod/containers/create";
        let (status, answer) = self.lab.docker.json("POST", path, &body);
        assert_eq!(status, 201, "{answer}");
        let id = answer["Id"].as_str().expect("an id").to_owned();
        self.lab.docker.start(&id);
        id
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        let path = format!("/v4.0.0/libpod/pods/{}?force=true", self.name);
        tidy(|| drop(self.lab.docker.ask("DELETE", &path, b"")));
    }
}

#[test]
fn a_member_of_a_pod_is_left_alone_and_what_may_be_one() {
    let Some(lab) = Lab::new() else { return };
    if !lab.is_podman {
        return;
    }
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let pod = Pod::new(&lab);
    let id = pod.member(&lab.name("1"), &lab.reference("hermes"));
    lab.publish("hermes", &good("v2"));
    let between = EngineProxy::part(&lab.docker, &lab.prefix);
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    let (_, report) = program.refresh("");
    assert!(only(&report, "skipped").contains("its pod"), "{report}");
    // The first time it is asked for; later it would fail in the course of a swap.
    let refuse = Action::Refuse(500);
    between.at(Place::Holding("/libpod/containers/", 2), refuse, |_| ());
    let (_, report) = program.refresh("");
    assert!(only(&report, "skipped").contains("500"), "{report}");
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    assert_eq!(lab.names(), ["1"]);
}
