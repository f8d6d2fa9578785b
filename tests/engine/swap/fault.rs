//! Any call to the Engine may fail, in any way, and somebody else may be at work.

use crate::engine::lab::Lab;
use crate::engine::swap::every_moment::from_start_on;
use crate::engine::swap::every_moment::moments;
use crate::engine::swap::every_moment::share;
use crate::engine::swap::every_moment::side_by_side;
use crate::engine::swap::workspace::Next;
use crate::engine::swap::workspace::Workspace;
use crate::support::docker::Docker;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::eventually;
use serde_json::Value;
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::time::Instant;

/// How many workspaces are disturbed side by side.
const WORKSPACES: usize = 4;
/// How soon after its start it answers.
const COMING_UP: Duration = Duration::from_secs(5);
/// How soon after the report all is well again.
const SOON: Duration = Duration::from_secs(2);
/// How long a stolen port is kept.
const THEFT: Duration = Duration::from_secs(12);
/// What a refresh may leave to the next one takes no longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// How many workspaces wait for a call that hangs, side by side. With sixty, Podman 4.3 takes half a
/// minute to list the containers.
const HANGING: usize = 12;

/// Whether a report says that the workspace was recreated.
fn is_recreated(report: &Value, workspace: &Workspace) -> bool {
    let recreated = report["recreated"].as_array();
    recreated.is_some_and(|list| list.iter().any(|name| *name == workspace.name()))
}

/// Lets every call of a swap to such an image fail in every way, one at a time.
fn fail_every_call(next: Next) {
    let Some(lab) = Lab::parted() else { return };
    let mut workspaces: Vec<_> = (0..WORKSPACES)
        .map(|_| Workspace::new(&lab, true))
        .collect();
    let lines = workspaces[0].undisturbed(next);
    let before = [500, 404, 409].map(Action::Refuse);
    let before = [&before[..], &[Action::CloseBefore]].concat();
    let after = [Action::FailAfter, Action::CloseAfter];
    let mut moments = moments(&lines, &before, &after);
    // An old image that is gone is no failure; what it set is kept then.
    moments.retain(|moment| {
        !(moment.line.contains("/images/sha256:") && matches!(moment.action, Action::Refuse(404)))
    });
    if next == Next::Exits {
        moments = from_start_on(moments);
    }
    side_by_side(workspaces, share(moments), |workspace, moment| {
        let old = workspace.mark();
        let new = workspace.publish(next);
        let mut run = workspace.run(Some(moment.plan()));
        let (_, report) = run.await_report();
        let recreated = is_recreated(&report, workspace);
        match workspace.wait_well(SOON) {
            Ok(mark) => assert_eq!(mark, *if recreated { &new } else { &old }, "{report}"),
            Err(trouble) => {
                eprintln!("{moment}: left to the next refresh: {trouble}");
                run.ask();
                run.await_report();
                workspace.await_well(PATIENCE);
            }
        }
        let mark = workspace.settle(SOON);
        assert!(next == Next::Good || mark == old, "{mark}: {report}");
    });
}

#[test]
fn any_single_call_may_fail() {
    fail_every_call(Next::Good);
}

#[test]
fn any_single_call_of_a_roll_back_may_fail() {
    fail_every_call(Next::Exits);
}

#[test]
fn any_single_call_may_hang() {
    let Some(lab) = Lab::parted() else { return };
    let mut first = Workspace::new(&lab, true);
    let lines = first.undisturbed(Next::Good);
    let mut moments = moments(&lines, &[Action::HoldBefore], &[Action::HoldAfter]);
    // A pull may be silent for longer than this test has.
    moments.retain(|moment| !moment.line.contains("/images/create"));
    let moments = share(moments);
    // They take their time, so many take it at once.
    let mut workspaces = vec![first];
    let count = moments.len().clamp(1, HANGING);
    workspaces.resize_with(count, || Workspace::new(&lab, true));
    side_by_side(workspaces, moments, |workspace, moment| {
        workspace.publish(Next::Good);
        let mut run = workspace.run(Some(moment.plan()));
        let (_, report) = run.await_report();
        if let Err(trouble) = workspace.wait_well(SOON) {
            eprintln!("{moment}: left to the next refresh: {trouble} {report}");
            run.ask();
            run.await_report();
            workspace.await_well(PATIENCE);
        }
        workspace.settle(SOON);
    });
}

/// A swap in which somebody else does something right before this call.
fn meddled(
    workspace: &Workspace,
    before: &'static str,
    act: impl Fn(&Docker) + Send + Sync + 'static,
) -> (Value, String) {
    let docker = workspace.lab.docker.clone();
    let act = Action::First(Arc::new(move || act(&docker)));
    let mut run = workspace.run(Some((Place::Holding(before, 1), act)));
    let (status, report) = run.await_report();
    assert_eq!(status, 200, "{report}");
    (report, run.program.log())
}

/// How many lines of a log are no mere talk.
fn warnings(log: &str) -> Vec<&str> {
    let is_warning = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    log.lines().filter(is_warning).collect()
}

#[test]
fn a_stranger_who_takes_the_name_is_never_touched() {
    let Some(lab) = Lab::parted() else { return };
    let mut workspace = Workspace::new(&lab, true);
    let (old, name) = (workspace.id(), workspace.name());
    workspace.publish(Next::Good);
    let (stranger, image) = (name.clone(), workspace.image());
    let (report, log) = meddled(&workspace, "rename?name=w ", move |docker| {
        docker.run(
            &stranger,
            &json!({"Image": image, "Labels": {"owner": "stranger"}}),
        );
    });
    println!("{report}\n{:?}", warnings(&log));
    let seen = lab.docker.inspect(&name);
    assert_eq!(seen["Config"]["Labels"]["owner"], "stranger");
    assert_eq!(seen["State"]["Running"], true);
    let old = lab.docker.inspect(&old);
    assert_eq!(old["State"]["Running"], true, "the old container runs on");
    assert_eq!(old["HostConfig"]["RestartPolicy"]["Name"], "always");
    let aside = old["Name"].as_str().expect("a name");
    assert!(aside.contains(".iw-old-"), "{aside}");
    let reason = report["rolled_back"][0]["reason"]
        .as_str()
        .expect("a reason");
    assert!(
        reason.contains("name") && reason.contains(&name),
        "{reason}"
    );

    // Once the stranger is gone, the name is given back.
    lab.docker.remove(&name);
    workspace.recover();
}

#[test]
fn a_port_taken_in_mid_swap_costs_nothing_once_it_is_free_again() {
    let Some(lab) = Lab::parted() else { return };
    let mut workspace = Workspace::new(&lab, true);
    let (old, port) = (workspace.mark(), workspace.port());
    let new = workspace.publish(Next::Good);
    let (report, log) = meddled(&workspace, "/start", move |_| {
        let thief = eventually("the old one gives its port back", || {
            TcpListener::bind(("127.0.0.1", port)).ok()
        });
        // For longer than the successor's start is tried.
        std::thread::spawn(move || {
            std::thread::sleep(THEFT);
            drop(thief);
        });
    });
    // Engines try for some time themselves; then the successor may come up after all.
    let mark = workspace.settle(THEFT + SOON);
    if is_recreated(&report, &workspace) {
        return assert_eq!(mark, new, "{log}");
    }
    assert_eq!(mark, old, "{log}");
    let reason = report["rolled_back"][0]["reason"].as_str();
    let reason = reason.unwrap_or_else(|| panic!("{report}\n{log}"));
    assert!(reason.contains(&port.to_string()), "{reason}");
}

/// The calls of a swap from the moment on that it touches the old container.
const CALLS: [&str; 5] = [
    "/update",
    "/stop",
    "rename?name=w.iw-old-",
    "rename?name=w ",
    "/start",
];

#[test]
fn a_container_removed_in_mid_swap_is_replaced_all_the_same() {
    let Some(lab) = Lab::parted() else { return };
    for before in CALLS {
        let mut workspace = Workspace::new(&lab, true);
        let old = workspace.id();
        let mark = workspace.publish(Next::Good);
        // Its volumes stay, as with a plain `docker rm -f`.
        let (report, log) = meddled(&workspace, before, move |docker| {
            docker.ask("DELETE", &format!("/containers/{old}?force=1"), b"");
        });
        println!("before {before}: {report}\n{:?}", warnings(&log));
        assert_eq!(
            workspace.settle(SOON),
            mark,
            "before {before}: {report}\n{log}"
        );
    }
}

#[test]
fn a_container_that_its_owner_recreates_in_mid_swap_is_his_and_nothing_runs_beside_it() {
    // What its owner removes leaves volumes, and other tests look for what is left over.
    let Some(lab) = Lab::alone() else { return };
    // Before the successor gets the name nobody has it, and whoever takes it then has replaced nothing.
    for before in CALLS.iter().filter(|call| **call != "rename?name=w ") {
        let mut workspace = Workspace::new(&lab, true);
        workspace.publish(Next::Good);
        let (name, image) = (workspace.name(), workspace.image());
        let (report, log) = meddled(&workspace, before, move |docker| {
            docker.remove(&name);
            let labels = json!({"owner": "again"});
            docker.run(&name, &json!({"Image": image, "Labels": labels}));
        });
        let told = format!("before {before}: {report}\n{log}");
        let seen = lab.docker.inspect(&workspace.name());
        assert_eq!(seen["Config"]["Labels"]["owner"], "again", "{told}");
        assert_eq!(seen["State"]["Running"], true, "{told}");
        for other in lab.docker.names(&workspace.name()) {
            let runs = lab.docker.inspect(&other)["State"]["Running"] == true;
            assert_eq!(runs, other == workspace.name(), "{other} {told}");
        }
        assert_eq!(report["rolled_back"], json!([]), "{told}");
        workspace.renew();
    }
}

#[test]
fn a_container_that_cannot_be_put_back_yet_is_not_swapped_again() {
    let Some(lab) = Lab::parted() else { return };
    let mut workspace = Workspace::new(&lab, true);
    let old = workspace.id();
    let between = EngineProxy::part(&lab.docker, workspace.key());
    between.bar(Some(format!("/containers/{old}/start")));
    let program = workspace.spawn(&between.host());
    program.await_line("listening on http://");
    workspace.publish(Next::Exits);
    let (_, report) = program.refresh("");
    let reason = report["rolled_back"][0]["reason"].as_str();
    let failed = "putting the old container back failed";
    assert!(reason.is_some_and(|it| it.contains(failed)), "{report}");

    let new = workspace.publish(Next::Good);
    let (_, report) = program.refresh("");
    let reason = report["skipped"][0]["reason"].as_str();
    let unsettled = "an earlier swap of it is not settled";
    assert!(reason.is_some_and(|it| it.contains(unsettled)), "{report}");
    let seen = lab.docker.inspect(&old);
    assert_eq!(seen["Id"], json!(old), "{}", program.log());

    between.bar(None);
    let (_, report) = program.refresh("");
    assert!(is_recreated(&report, &workspace), "{report}");
    assert_eq!(workspace.settle(SOON), new);
}

#[test]
fn an_old_container_removed_while_it_is_put_back_is_made_again() {
    let Some(lab) = Lab::parted() else { return };
    let mut workspace = Workspace::new(&lab, true);
    let (old, mark) = (workspace.id(), workspace.mark());
    workspace.publish(Next::Exits);
    let (docker, removed) = (lab.docker.clone(), format!("/containers/{old}?force=1"));
    let act = Action::First(Arc::new(move || drop(docker.ask("DELETE", &removed, b""))));
    // The old one is stopped first.
    let mut run = workspace.run(Some((Place::Holding("/stop ", 2), act)));
    let (_, report) = run.await_report();
    let log = run.program.log();
    let reason = report["rolled_back"][0]["reason"].as_str();
    assert!(
        reason.is_some_and(|it| it.contains("so it was made again")),
        "{report}\n{log}"
    );
    assert_eq!(workspace.settle(PATIENCE), mark, "{report}\n{log}");
    assert_ne!(workspace.id(), old);
}

#[test]
fn a_container_stopped_before_its_swap_stays_stopped() {
    let Some(lab) = Lab::parted() else { return };
    let mut workspace = Workspace::new(&lab, true);
    let old = workspace.id();
    workspace.publish(Next::Good);
    let (name, stopped) = (workspace.name(), old.clone());
    let (report, log) = meddled(&workspace, "create?name=w.iw-new-", move |docker| {
        docker.stop(&stopped);
    });
    let reason = report["skipped"][0]["reason"].as_str();
    assert!(
        reason.is_some_and(|it| it.contains("stopped")),
        "{report} {log}"
    );
    let seen = lab.docker.inspect(&name);
    assert_eq!(seen["Id"], json!(old));
    assert_eq!(seen["State"]["Running"], false);
    assert_eq!(seen["HostConfig"]["RestartPolicy"]["Name"], "always");
    assert_eq!(lab.docker.names(workspace.key()).len(), 2, "{log}");
    lab.docker.start(&old);
    workspace.settle(COMING_UP);
}

#[test]
fn a_policy_is_given_back_once_no_stop_can_be_under_way() {
    let Some(lab) = Lab::parted() else { return };
    let mut workspace = Workspace::new(&lab, true);
    workspace.publish(Next::Good);
    let hold = (Place::Holding("/stop ", 1), Action::HoldBefore);
    let mut run = workspace.run(Some(hold));
    run.await_call().expect("a stop");
    run.program.kill();
    drop(run);
    let policy = &lab.docker.inspect(&workspace.name())["HostConfig"]["RestartPolicy"];
    if policy["Name"] == "always" {
        // Podman before 5.1 cannot take it away.
        workspace.recover();
        return;
    }
    let between = EngineProxy::part(&lab.docker, workspace.key());
    let (tell, called) = channel();
    let nothing = Action::First(Arc::new(|| ()));
    between.at(Place::Holding("/update ", 1), nothing, move |_| {
        let _ = tell.send(Instant::now());
    });
    let begun = Instant::now();
    let _program = workspace.spawn(&between.host());
    let at = called.recv_timeout(PATIENCE).expect("a policy");
    // What it may take to stop, and two seconds more.
    assert!(at - begun >= Duration::from_secs(3), "{:?}", at - begun);
    workspace.settle(COMING_UP);
}

#[test]
fn a_container_renamed_in_mid_swap_is_not_lost() {
    let Some(lab) = Lab::parted() else { return };
    for before in CALLS {
        let mut workspace = Workspace::new(&lab, true);
        let old = workspace.id();
        workspace.publish(Next::Good);
        let other = format!("{}-mine", workspace.name());
        let (report, log) = meddled(&workspace, before, move |docker| {
            let path = format!("/containers/{old}/rename?name={other}");
            docker.ask("POST", &path, b"");
        });
        println!("before {before}: {report}\n{:?}", warnings(&log));
        workspace.settle(SOON);
    }
}
