//! Somebody prunes in mid-swap: of what a swap stops, whatever does not run is gone. It is made again.
//!
//! A prune leaves the volumes of what it removes, and other tests look for what is left over; so each of these has
//! the Engine to itself.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::swap::every_moment::is_change;
use crate::engine::swap::every_moment::moments;
use crate::engine::swap::every_moment::share;
use crate::engine::swap::every_moment::side_by_side;
use crate::engine::swap::workspace::Next;
use crate::engine::swap::workspace::Workspace;
use crate::support::docker::Docker;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::images::ImageSpec;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How many workspaces are disturbed side by side.
const WORKSPACES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(90);

/// `docker container prune`, of this part of the Engine.
fn prune(docker: &Docker, prefix: &str) {
    // Podman removes none that another one lives in.
    for _ in 0..2 {
        for name in docker.names(prefix) {
            let state = docker.inspect(&name)["State"].clone();
            if state["Running"] != true {
                docker.ask("DELETE", &format!("/containers/{name}"), b"");
            }
        }
    }
}

/// Prunes before each call of a swap to such an image that changes anything.
fn prune_at_each_moment(next: Next) {
    let Some(lab) = Lab::alone() else { return };
    let mut workspaces: Vec<_> = (0..WORKSPACES)
        .map(|_| Workspace::new(&lab, true))
        .collect();
    let lines = workspaces[0].undisturbed(next);
    let lines = moments(&lines, &[Action::HoldBefore], &[]);
    let lines = lines.into_iter().filter(|moment| is_change(&moment.line));
    side_by_side(workspaces, share(lines.collect()), |workspace, moment| {
        let old = workspace.mark();
        let new = workspace.publish(next);
        let (docker, key) = (lab.docker.clone(), workspace.key().to_owned());
        let (place, _) = moment.plan();
        let act = Action::First(Arc::new(move || prune(&docker, &key)));
        let mut run = workspace.run(Some((place, act)));
        let (_, report) = run.await_report();
        let log = run.program.log();
        let names = |list: &str| report[list].as_array().map_or(0, Vec::len);
        let expected = match next {
            Next::Good => ("recreated", new),
            Next::Exits => ("rolled_back", old),
        };
        assert_eq!(names(expected.0), 1, "{report}\n{log}");
        assert_eq!(
            workspace.await_well(PATIENCE),
            expected.1,
            "{report}\n{log}"
        );
        workspace.take_as_it_is();
    });
}

#[test]
fn a_prune_at_any_moment_of_a_swap_loses_nothing() {
    prune_at_each_moment(Next::Good);
}

#[test]
fn a_prune_at_any_moment_of_a_roll_back_loses_nothing() {
    prune_at_each_moment(Next::Exits);
}

#[test]
fn a_prune_while_a_killed_swap_is_undone_loses_nothing() {
    let Some(lab) = Lab::alone() else { return };
    let mut workspace = Workspace::new(&lab, true);
    let old = workspace.mark();
    workspace.publish(Next::Good);
    let hold = (Place::Holding("/start ", 1), Action::HoldBefore);
    let mut run = workspace.run(Some(hold));
    run.await_call().expect("the call");
    run.program.kill();
    drop(run);
    let between = EngineProxy::part(&lab.docker, workspace.key());
    let (docker, key) = (lab.docker.clone(), workspace.key().to_owned());
    let act = Action::First(Arc::new(move || prune(&docker, &key)));
    between.at(Place::Holding("/rename", 1), act, |_| ());
    let program = workspace.spawn(&between.host());
    assert_eq!(workspace.await_well(PATIENCE), old, "{}", program.log());
    workspace.take_as_it_is();
}

/// A workspace whose image nobody else runs, for which there is a bad one, and what prunes its old container and
/// image right before the bad one is started.
fn without_old_image(workspace: &mut Workspace, is_cut_off: bool) -> (Place, Action) {
    workspace.undisturbed(Next::Good);
    workspace.publish(Next::Exits);
    let (docker, rules) = (
        workspace.lab.docker.clone(),
        Arc::clone(&workspace.lab.rules),
    );
    let (key, image) = (workspace.key().to_owned(), workspace.image());
    let act = Action::Then(Arc::new(move || {
        prune(&docker, &key);
        let (status, words) = docker.ask("DELETE", &format!("/images/{image}?force=1"), b"");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&words));
        rules.set_cut_off(is_cut_off);
    }));
    (Place::Holding("/start ", 1), act)
}

#[test]
fn an_old_image_that_is_pruned_as_well_is_fetched_again() {
    let Some(lab) = Lab::alone() else { return };
    let mut workspace = Workspace::new(&lab, true);
    let plan = without_old_image(&mut workspace, false);
    let old = workspace.mark();
    let mut run = workspace.run(Some(plan));
    let (_, report) = run.await_report();
    let log = run.program.log();
    let rolled_back = report["rolled_back"].as_array().map(Vec::len);
    assert_eq!(rolled_back, Some(1), "{report}\n{log}");
    assert_eq!(workspace.await_well(PATIENCE), old, "{report}\n{log}");
}

/// As `docker system prune --all` does that takes its time.
#[test]
fn an_image_that_is_pruned_while_its_container_is_made_again_is_fetched_again() {
    let Some(lab) = Lab::alone() else { return };
    if lab.leaves_out("removes an image's containers with it") {
        return;
    }
    let mut workspace = Workspace::new(&lab, true);
    // So that the bystander runs another image than both halves.
    workspace.undisturbed(Next::Good);
    let new = workspace.publish(Next::Good);
    let between = Arc::new(EngineProxy::part(&lab.docker, workspace.key()));
    let (docker, image) = (lab.docker.clone(), workspace.reference());
    let untag = Action::Then(Arc::new(move || {
        docker.ask("DELETE", &format!("/images/{image}?force=1"), b"");
    }));
    let (docker, key) = (lab.docker.clone(), workspace.key().to_owned());
    let act = Action::First(Arc::new(move || prune(&docker, &key)));
    let next = Arc::clone(&between);
    between.at(Place::Holding("rename?name=w ", 1), act, move |_| {
        next.at(Place::Holding("create?name=w.iw-new-", 2), untag, |_| ());
    });
    let program = workspace.spawn(&between.host());
    program.await_line("listening on http://");
    let (_, report) = program.refresh("");
    let log = program.log();
    assert_eq!(
        report["recreated"].as_array().map(Vec::len),
        Some(1),
        "{report}\n{log}"
    );
    assert_eq!(workspace.await_well(PATIENCE), new, "{log}");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(
        status["references"][0]["state"], "current",
        "{status}\n{log}"
    );
    assert_eq!(status["containers"][0]["behind"], false, "{status}\n{log}");
    workspace.take_as_it_is();
}

#[test]
fn where_nothing_else_is_left_the_new_one_stays_and_is_said_to_have_failed() {
    let Some(lab) = Lab::alone() else { return };
    let mut workspace = Workspace::new(&lab, true);
    let plan = without_old_image(&mut workspace, true);
    let old = workspace.mark();
    let mut run = workspace.run(Some(plan));
    let (_, report) = run.await_report();
    lab.rules.set_cut_off(false);
    let reason = report["rolled_back"][0]["reason"].as_str();
    let said = reason
        .is_some_and(|it| it.contains("the new one stays") || it.contains("on its new image"));
    assert!(said, "{report}\n{}", run.program.log());
    let seen = lab.docker.inspect(&workspace.name());
    assert!(seen["Id"].is_string(), "{report}\n{}", run.program.log());
    assert_ne!(seen["Config"]["Labels"]["version"], json!(old));
    workspace.renew();
}

fn tenants(lab: &Lab) -> Vec<String> {
    let names = lab.names();
    names
        .into_iter()
        .filter(|name| !name.contains("imagewatch.claim"))
        .collect()
}

/// Prunes as soon as the provider's successor is started, while its dependent waits for its health.
fn prune_a_dependent(next: &ImageSpec) -> Option<(Lab, Value, Value)> {
    let lab = Lab::alone()?;
    for runtime in ["hermes", "tenant"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    let labels = |service: &str, depends: &str| {
        json!({"com.docker.compose.project": lab.prefix, "com.docker.compose.service": service,
               "com.docker.compose.depends_on": depends})
    };
    let body = json!({"Image": lab.reference("hermes"), "Labels": labels("provider", "")});
    let old = lab.docker.run(&lab.name("provider"), &body);
    let host =
        json!({"NetworkMode": format!("container:{old}"), "RestartPolicy": {"Name": "always"}});
    let labels = labels("tenant", "provider:service_healthy:false");
    let body = json!({"Image": lab.reference("tenant"), "Labels": labels, "HostConfig": host,
                      "Volumes": {"/data": {}}});
    lab.docker.run(&lab.name("tenant"), &body);
    lab.docker.exec(
        &lab.name("tenant"),
        &["/bin/sh", "-c", "echo mine > /data/file"],
    );
    lab.publish("hermes", next);
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    let (docker, prefix) = (lab.docker.clone(), lab.name(""));
    let act = Action::Then(Arc::new(move || prune(&docker, &prefix)));
    between.at(Place::Holding("/start ", 1), act, |_| ());
    let program = lab.program("hermes", &[("DOCKER_HOST", &between.host())]);
    let (_, report) = program.refresh("");
    assert_eq!(
        tenants(&lab),
        ["provider", "tenant"],
        "{report}\n{}",
        program.log()
    );
    let tenant = lab.inspect("tenant");
    assert_eq!(tenant["State"]["Running"], true, "{report}");
    assert_eq!(tenant["HostConfig"]["RestartPolicy"]["Name"], "always");
    let provider = lab.inspect("provider")["Id"].clone();
    let home = format!("container:{}", provider.as_str().expect("an id"));
    assert_eq!(tenant["HostConfig"]["NetworkMode"], json!(home), "{report}");
    let data = lab
        .docker
        .exec(&lab.name("tenant"), &["/bin/cat", "/data/file"]);
    assert!(data.contains("mine"), "{data:?}");
    Some((lab, report, json!(old)))
}

fn checked(spec: ImageSpec) -> ImageSpec {
    let check = json!({"Test": ["CMD-SHELL", "sleep 1"], "Interval": 1_000_000_000_u64,
                       "Timeout": 3_000_000_000_u64});
    spec.with("Healthcheck", check)
}

#[test]
fn a_dependent_that_is_pruned_while_it_waits_is_made_again() {
    let Some((lab, report, old)) = prune_a_dependent(&checked(good("v2"))) else {
        return;
    };
    let recreated = report["recreated"].as_array().map(Vec::len);
    assert_eq!(recreated, Some(2), "{report}");
    assert_ne!(lab.inspect("provider")["Id"], old);
}

#[test]
fn a_dependent_that_is_pruned_before_a_roll_back_is_made_again() {
    let bad = checked(good("v2")).with("Cmd", json!(["/bin/false"]));
    let Some((lab, report, _)) = prune_a_dependent(&bad) else {
        return;
    };
    let name = &report["rolled_back"][0]["name"];
    assert_eq!(name, &json!(lab.name("provider")), "{report}");
    assert_eq!(lab.version("provider"), "v1");
}
