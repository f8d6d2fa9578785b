//! Containers that need each other.

use crate::engine::lab::Lab;
use crate::engine::lab::STOPPED_TOO;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::docker::Docker;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::eventually;
use crate::support::images::agent;
use serde_json::Value;
use serde_json::json;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

pub(crate) fn in_network_of(provider: &str, image: &str) -> Value {
    json!({"Image": image, "HostConfig": {"NetworkMode": format!("container:{provider}"),
                                          "RestartPolicy": {"Name": "always"}}})
}

/// A provider, a running and a stopped container that live in its network; all of v1.
fn household(lab: &Lab) -> String {
    for runtime in ["hermes", "tenant"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    let provider = lab.workspace("provider", "hermes");
    let body = in_network_of(&provider, &lab.reference("tenant"));
    lab.docker.run(&lab.name("tenant"), &body);
    lab.docker.create(&lab.name("asleep"), &body);
    provider
}

#[track_caller]
fn lives_in(lab: &Lab, name: &str, provider: &str) {
    let mode = lab.inspect(name)["HostConfig"]["NetworkMode"].clone();
    assert_eq!(mode, json!(format!("container:{provider}")), "{name}");
}

/// Only the provider is said to be, and it runs as before.
#[track_caller]
fn assert_rolled_back(lab: &Lab, report: &Value, old: &str) {
    let rolled_back = names(report, "rolled_back");
    assert_eq!(rolled_back, [lab.name("provider")], "{report}");
    let provider = lab.inspect("provider");
    assert_eq!(provider["Id"], json!(old));
    assert_eq!(provider["State"]["Running"], true);
}

#[test]
fn who_lives_in_a_container_is_recreated_with_it_and_keeps_its_image() {
    let Some(lab) = Lab::new() else { return };
    let old = household(&lab);
    lab.publish("hermes", &good("v2"));
    // Pulled by somebody, but no reason to touch a container nobody asked about.
    lab.publish("tenant", &good("v2"));
    lab.pull("tenant");
    let program = lab.program("hermes", &[]);
    let (status, report) = program.refresh("");
    assert_eq!(status, 200);
    let mut recreated = names(&report, "recreated");
    recreated.sort();
    assert_eq!(
        recreated,
        ["asleep", "provider", "tenant"].map(|name| lab.name(name)),
        "{report}"
    );
    let new = lab.inspect("provider")["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_ne!(new, old);
    lives_in(&lab, "tenant", &new);
    lives_in(&lab, "asleep", &new);
    assert_eq!(
        [lab.version("provider"), lab.version("tenant")],
        ["v2", "v1"]
    );
    assert_eq!(lab.inspect("tenant")["State"]["Running"], true);
    assert_eq!(
        lab.inspect("tenant")["HostConfig"]["RestartPolicy"]["Name"],
        "always"
    );
    assert_eq!(lab.inspect("asleep")["State"]["Status"], "created");
    assert_eq!(lab.names(), ["asleep", "provider", "tenant"]);
    // It can be restarted: its network is really that of the new one.
    let (status, answer) = lab.docker.json(
        "POST",
        &format!("/containers/{}/restart?t=1", lab.name("tenant")),
        &Value::Null,
    );
    assert_eq!(status, 204, "{answer}");
}

#[test]
fn who_kept_an_image_that_its_tag_means_no_more_is_followed_all_the_same() {
    let Some(lab) = Lab::new() else { return };
    household(&lab);
    lab.publish("hermes", &good("v2"));
    lab.publish("tenant", &good("v2"));
    lab.pull("tenant");
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(lab.version("tenant"), "v1", "{report}");
    // Moved along once more, and then on its own.
    lab.publish("hermes", &good("v3"));
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(lab.version("provider"), "v3", "{report}");
    assert_eq!(lab.version("tenant"), "v1", "{report}");
    let program = lab.program("hermes,tenant", &[STOPPED_TOO]);
    let (_, report) = program.refresh("");
    for name in ["tenant", "asleep"] {
        assert_eq!(lab.version(name), "v2", "{name}: {report}");
        let config = lab.inspect(name)["Config"].clone();
        assert_eq!(config["Image"], lab.reference("tenant"));
        assert_eq!(config["Labels"]["io.imagewatch.image"], Value::Null);
    }
}

#[test]
fn who_is_due_as_well_gets_its_own_newest_image() {
    let Some(lab) = Lab::new() else { return };
    household(&lab);
    lab.publish("hermes", &good("v2"));
    lab.publish("tenant", &good("v2"));
    let program = lab.program("hermes,tenant", &[]);
    let (_, report) = program.refresh("");
    let mut recreated = names(&report, "recreated");
    recreated.sort();
    assert_eq!(
        recreated,
        ["asleep", "provider", "tenant"].map(|name| lab.name(name)),
        "{report}"
    );
    assert_eq!(
        [lab.version("provider"), lab.version("tenant")],
        ["v2", "v2"]
    );
    let new = lab.inspect("provider")["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    lives_in(&lab, "tenant", &new);
    // Nobody sees what becomes of an image in one that is stopped.
    assert_eq!(lab.version("asleep"), "v1");
    assert_eq!(lab.names(), ["asleep", "provider", "tenant"]);
}

#[test]
fn whose_owner_only_wants_to_know_keeps_his_image_all_the_same() {
    let Some(lab) = Lab::new() else { return };
    let provider = household(&lab);
    let mut body = in_network_of(&provider, &lab.reference("tenant"));
    for (name, label) in [
        ("told", "imagewatch.mode=notify"),
        ("never", "imagewatch.enable=false"),
    ] {
        let (key, value) = label.split_once('=').expect("a label");
        body["Labels"] = json!({key: value});
        lab.docker.run(&lab.name(name), &body);
    }
    lab.publish("hermes", &good("v2"));
    lab.publish("tenant", &good("v2"));
    let program = lab.program("hermes,tenant", &[]);
    let (_, report) = program.refresh("");
    let new = lab.inspect("provider")["Id"].clone();
    let new = new.as_str().expect("an id");
    for (name, version) in [("tenant", "v2"), ("told", "v1"), ("never", "v1")] {
        lives_in(&lab, name, new);
        assert_eq!(lab.version(name), version, "{name}: {report}");
    }
    assert_eq!(names(&report, "skipped"), [lab.name("told")], "{report}");
}

#[test]
fn a_roll_back_brings_all_of_them_back() {
    let Some(lab) = Lab::new() else { return };
    let old = household(&lab);
    let tenant = lab.inspect("tenant")["Id"].clone();
    lab.publish("hermes", &good("v2").with("Cmd", json!(["/bin/false"])));
    let program = lab.program("hermes", &[]);
    let (_, report) = program.refresh("");
    assert_rolled_back(&lab, &report, &old);
    assert_eq!(lab.inspect("tenant")["Id"], tenant);
    assert_eq!(lab.inspect("tenant")["State"]["Running"], true);
    lives_in(&lab, "tenant", &old);
    assert_eq!(
        lab.inspect("tenant")["HostConfig"]["RestartPolicy"]["Name"],
        "always"
    );
    assert_eq!(lab.names(), ["asleep", "provider", "tenant"]);
}

/// By the time its tenant is to join it, it has ended, or is between two runs.
#[test]
fn a_provider_that_ends_at_once_is_rejected_and_not_its_tenants_start() {
    let Some(lab) = Lab::new() else { return };
    for runtime in ["hermes", "tenant"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    let old = lab.docker.run(
        &lab.name("provider"),
        &json!({"Image": lab.reference("hermes"),
                "HostConfig": {"RestartPolicy": {"Name": "always"}}}),
    );
    let body = in_network_of(&old, &lab.reference("tenant"));
    let tenant = lab.docker.run(&lab.name("tenant"), &body);
    lab.publish("hermes", &good("v2").with("Cmd", json!(["/bin/false"])));
    let program = lab.program("hermes", &[]);
    let (_, report) = program.refresh("");
    assert_rolled_back(&lab, &report, &old);
    let reason = report["rolled_back"][0]["reason"].as_str();
    assert!(reason.is_some_and(|it| it.contains("exited")), "{report}");
    assert_eq!(lab.inspect("tenant")["Id"], json!(tenant));
    let (_, report) = program.refresh("");
    let reason = report["skipped"][0]["reason"].as_str();
    let rejected = reason.is_some_and(|it| it.contains("rejected"));
    assert!(rejected, "{report}\n{}", program.log());
}

#[test]
fn who_is_removed_in_a_swap_that_fails_is_made_again_and_takes_nobody_with_it() {
    let Some(lab) = Lab::parted() else { return };
    let old = household(&lab);
    let tenant = lab.inspect("tenant")["Id"].clone();
    lab.publish("hermes", &good("v2").with("Cmd", json!(["/bin/false"])));
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    let docker = lab.docker.clone();
    let act = Action::First(Arc::new(move || {
        let path = format!("/containers/{}?force=1", tenant.as_str().expect("an id"));
        docker.ask("DELETE", &path, b"");
    }));
    // The first start is that of the provider's successor.
    between.at(Place::Holding("/start ", 1), act, |_| ());
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    let (_, report) = program.refresh("");
    assert_rolled_back(&lab, &report, &old);
    let expected = ["asleep", "provider", "tenant"];
    assert_eq!(lab.names(), expected, "{}", program.log());
    lives_in(&lab, "tenant", &old);
    assert_eq!(lab.inspect("tenant")["State"]["Running"], true);
}

/// Replaces the tenant as its owner does.
fn replace_tenant(docker: &Docker, name: &str, provider: &str, image: &str) {
    docker.remove(name);
    docker.run(name, &in_network_of(provider, image));
}

#[test]
fn who_is_replaced_by_his_owner_in_mid_swap_bars_nobody_after_a_kill() {
    let Some(lab) = Lab::parted() else { return };
    household(&lab);
    lab.docker.remove(&lab.name("asleep"));
    lab.publish("hermes", &good("v2"));
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    let host = between.host();
    let mut program = lab.program("hermes", &[("DOCKER_HOST", &host)]);
    let (pid, docker, image) = (program.pid(), lab.docker.clone(), lab.reference("tenant"));
    let (tenant, provider) = (lab.name("tenant"), lab.name("provider"));
    let act = Action::First(Arc::new(move || {
        replace_tenant(&docker, &tenant, &provider, &image);
        let killed = Command::new("kill")
            .args(["-s", "KILL", &pid.to_string()])
            .status();
        assert!(killed.expect("kill").success());
    }));
    // The second start is that of the tenant's successor.
    let (tell, called) = channel();
    between.at(Place::Holding("/start ", 2), act, move |_| {
        let _ = tell.send(());
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let url = format!("http://{}/v1/update", program.host());
            let _ = agent().post(url).send_empty();
        });
        called
            .recv_timeout(Duration::from_secs(60))
            .expect("a second start");
    });
    program.kill();
    let owners = lab.inspect("tenant")["Id"].clone();
    let aside = |names: &[String]| names.iter().any(|name| name.starts_with("tenant.iw-old-"));
    assert!(aside(&lab.names()), "{:?}", lab.names());

    let program = lab.program("hermes", &[("DOCKER_HOST", &host)]);
    program.await_line("a swap was found half done and is finished now");
    eventually("its claim is given back", || {
        (lab.names() == ["provider", "tenant"]).then_some(())
    });
    assert_eq!(lab.inspect("tenant")["Id"], owners);
    lab.publish("hermes", &good("v3"));
    let (_, report) = program.refresh("");
    assert_eq!(lab.version("provider"), "v3", "{report}");
    let new = lab.inspect("provider")["Id"].clone();
    lives_in(&lab, "tenant", new.as_str().expect("an id"));
    assert_eq!(lab.names(), ["provider", "tenant"], "{}", program.log());
}

/// The provider's owner replaces it right before this call of its swap; then the program is killed, or not, and maybe
/// its next life too, as soon as that has begun to make the tenant again. Answers what the program said at last.
#[track_caller]
fn replace_provider(lab: &Lab, before: &'static str, kills: usize) -> String {
    let is_killed = kills > 0;
    household(lab);
    lab.docker.remove(&lab.name("asleep"));
    lab.publish("hermes", &good("v2"));
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    let host = between.host();
    let mut program = lab.program("hermes", &[("DOCKER_HOST", &host)]);
    let (pid, docker) = (program.pid(), lab.docker.clone());
    let (provider, image) = (lab.name("provider"), lab.reference("hermes"));
    let act = Action::First(Arc::new(move || {
        docker.remove(&provider);
        let labels = json!({"owner": "again"});
        docker.run(&provider, &json!({"Image": image, "Labels": labels}));
        if is_killed {
            let killed = Command::new("kill")
                .args(["-s", "KILL", &pid.to_string()])
                .status();
            assert!(killed.expect("kill").success());
        }
    }));
    let (tell, called) = channel();
    between.at(Place::Holding(before, 1), act, move |_| {
        let _ = tell.send(());
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let url = format!("http://{}/v1/update", program.host());
            let _ = agent().post(url).send_empty();
        });
        let patience = Duration::from_secs(60);
        called.recv_timeout(patience).expect("the call");
    });
    if kills == 2 {
        program.kill();
        let (tell, called) = channel();
        let made = Place::Holding("/create?name=tenant.iw-old-", 1);
        between.at(made, Action::HoldAfter, move |_| {
            let _ = tell.send(());
        });
        program = lab.spawn("hermes", &[("DOCKER_HOST", &host)]);
        let patience = Duration::from_secs(60);
        called.recv_timeout(patience).expect("it is made again");
    }
    if is_killed {
        program.kill();
        program = lab.program("hermes", &[("DOCKER_HOST", &host)]);
        program.await_line("a swap was found half done and is over");
    }
    eventually("its claim is given back", || {
        let names = lab.names();
        names
            .iter()
            .all(|name| !name.contains("claim"))
            .then_some(())
    });
    program.log()
}

#[test]
fn who_lives_in_what_its_owner_replaces_in_mid_swap_joins_the_new_one() {
    for before in ["/stop ", "rename?name=provider.iw-old-", "/start "] {
        for kills in 0..=2 {
            let Some(lab) = Lab::parted() else { return };
            if lab.leaves_out("removes nothing that others need") {
                return;
            }
            let log = replace_provider(&lab, before, kills);
            let told = format!("before {before} kills: {kills}\n{log}");
            let provider = lab.inspect("provider");
            assert_eq!(provider["Config"]["Labels"]["owner"], "again", "{told}");
            let new = provider["Id"].as_str().expect("an id");
            assert_eq!(lab.inspect("tenant")["State"]["Running"], true, "{told}");
            let mode = &lab.inspect("tenant")["HostConfig"]["NetworkMode"];
            assert_eq!(*mode, json!(format!("container:{new}")), "{told}");
            for name in lab.names() {
                let runs = lab.inspect(&name)["State"]["Running"] == true;
                let is_aside = name.contains(".iw-");
                assert_ne!(runs, is_aside, "{name} {told}");
            }
        }
    }
}

#[test]
fn what_its_owner_replaced_is_left_over_and_bars_nobody() {
    let Some(lab) = Lab::parted() else { return };
    let provider = household(&lab);
    let body = in_network_of(&provider, &lab.reference("tenant"));
    lab.docker
        .create(&lab.name("tenant.iw-old-0123abcd"), &body);
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    let host = between.host();
    let program = lab.watcher("hermes,tenant", &[("DOCKER_HOST", &host)]);
    program.await_lines(": seeded with", 2);
    lab.publish("hermes", &good("v2"));
    program.await_line("recreated container=");
    assert_eq!(lab.version("provider"), "v2", "{}", program.log());
    let before = program.log().matches(": unchanged").count();
    program.await_lines(": unchanged", before + 6);
    let log = program.log();
    assert_eq!(log.matches("left over from a swap").count(), 1, "{log}");
    assert_eq!(log.matches("pulled image=").count(), 1, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    // What it lived in is gone.
    assert_eq!(lab.names(), ["asleep", "provider", "tenant"], "{log}");
}

#[test]
fn who_runs_is_not_stopped_for_what_it_needs_and_is_stopped() {
    let Some(lab) = Lab::new() else { return };
    let old = household(&lab);
    lab.publish("hermes", &good("v2"));
    lab.docker.stop(&lab.name("provider"));
    if lab.inspect("tenant")["State"]["Running"] != true {
        // Podman stops who lives in it as well.
        return;
    }
    let (_, report) = lab.program("hermes", &[STOPPED_TOO]).refresh("");
    assert_eq!(
        names(&report, "skipped"),
        [lab.name("provider")],
        "{report}"
    );
    assert_eq!(lab.inspect("provider")["Id"], json!(old));
    assert_eq!(lab.inspect("tenant")["State"]["Running"], true);
    assert_eq!(lab.names(), ["asleep", "provider", "tenant"]);
}

#[test]
fn a_bad_image_of_who_lives_in_it_is_not_laid_to_the_providers_charge() {
    let Some(lab) = Lab::new() else { return };
    let old = household(&lab);
    let bad = good("bad").with("Cmd", json!(["/bin/false"]));
    lab.publish("hermes", &good("v2"));
    lab.publish("tenant", &bad);
    let program = lab.program("hermes,tenant", &[]);
    let (_, report) = program.refresh("");
    assert_eq!(
        names(&report, "rolled_back"),
        [lab.name("tenant")],
        "{report}"
    );
    assert!(names(&report, "skipped").contains(&lab.name("provider")));
    assert_eq!(lab.inspect("provider")["Id"], json!(old));
    let (_, status) = program.ask("GET", "/admin/status");
    let rejected = status["rejected"].as_array().expect("a list");
    assert_eq!(rejected.len(), 1, "{status}");
    assert_eq!(rejected[0]["reference"], lab.reference("tenant"));

    // The next one takes the provider's new image, and for the other one the old.
    let (_, report) = program.refresh("");
    assert!(names(&report, "recreated").contains(&lab.name("provider")));
    assert!(names(&report, "rolled_back").is_empty(), "{report}");
    assert_eq!(
        [lab.version("provider"), lab.version("tenant")],
        ["v2", "v1"]
    );
    assert_eq!(lab.inspect("tenant")["State"]["Running"], true);
    let new = lab.inspect("provider")["Id"].clone();
    lives_in(&lab, "tenant", new.as_str().expect("an id"));
    assert_eq!(lab.names(), ["asleep", "provider", "tenant"]);
}

#[test]
fn what_is_depended_on_goes_first_and_only_who_says_so_is_restarted() {
    let Some(lab) = Lab::new() else { return };
    for runtime in ["front", "zdata", "plain"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    let labels = |service: &str, depends: &str| {
        json!({"com.docker.compose.project": lab.prefix, "com.docker.compose.service": service,
               "com.docker.compose.depends_on": depends})
    };
    for (name, runtime, depends) in [
        ("front", "front", "zdata:service_started:false"),
        ("zdata", "zdata", ""),
        ("with", "plain", "zdata:service_started:true"),
        ("without", "plain", "zdata:service_started:false"),
    ] {
        let body = json!({"Image": lab.reference(runtime), "Labels": labels(name, depends)});
        lab.docker.run(&lab.name(name), &body);
    }
    let started = |name: &str| lab.inspect(name)["State"]["StartedAt"].clone();
    let before = (started("with"), started("without"));
    lab.publish("front", &good("v2"));
    lab.publish("zdata", &good("v2"));
    let program = lab.program("front,zdata", &[]);
    let (_, report) = program.refresh("");
    assert_eq!(
        names(&report, "recreated"),
        [lab.name("zdata"), lab.name("front")],
        "{report}"
    );
    assert_ne!(started("with"), before.0);
    assert_eq!(started("without"), before.1);
    assert!(
        program
            .log()
            .contains(&format!("restarted container={}", lab.name("with")))
    );
}

#[test]
fn a_links_consumer_follows() {
    let Some(lab) = Lab::new() else { return };
    if lab.leaves_out("knows no links") {
        return;
    }
    for runtime in ["hermes", "consumer"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    lab.workspace("db", "hermes");
    let link = format!("{}:alias", lab.name("db"));
    let body = json!({"Image": lab.reference("consumer"), "HostConfig": {"Links": [link]}});
    lab.docker.run(&lab.name("consumer"), &body);
    lab.publish("hermes", &good("v2"));
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(
        names(&report, "recreated"),
        [lab.name("db"), lab.name("consumer")],
        "{report}"
    );
    let links = lab.inspect("consumer")["HostConfig"]["Links"].clone();
    assert_eq!(
        links,
        json!([format!(
            "/{}:/{}/alias",
            lab.name("db"),
            lab.name("consumer")
        )])
    );
    let (status, answer) = lab.docker.json(
        "POST",
        &format!("/containers/{}/restart?t=1", lab.name("consumer")),
        &Value::Null,
    );
    assert_eq!(status, 204, "{answer}");
}
