//! Several containers that are updated at the same time.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::engine_proxy::EngineProxy;
use crate::support::eventually;
use crate::support::program::Program;
use serde_json::Value;
use serde_json::json;

/// Each with one container, and an image of its own.
const EIGHT: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const FOUR: [&str; 4] = ["a", "b", "c", "d"];

/// Longer than all exchanges together take, on a loaded machine too.
const LONG: (&str, &str) = ("IMAGEWATCH_SETTLE", "45s");
const QUITE_LONG: (&str, &str) = ("IMAGEWATCH_SETTLE", "10s");

fn run_all(lab: &Lab, runtimes: &[&str]) {
    for runtime in runtimes {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
        lab.workspace(runtime, runtime);
    }
}

fn publish_all(lab: &Lab, runtimes: &[&str], mark: &str) {
    for runtime in runtimes {
        lab.publish(runtime, &good(mark));
    }
}

/// Has the program refresh everything, and does not wait for that.
fn order(program: &Program) {
    let (status, _) = program.ask("POST", "/admin/workspace-images/refresh?wait=false");
    assert_eq!(status, 202);
}

/// Waits until each successor runs, while each old container is still there.
fn await_all_in_acceptance(lab: &Lab, mark: &str) {
    eventually("all wait to be accepted", || {
        let runs = |runtime: &&str| {
            lab.version(runtime) == mark && lab.inspect(runtime)["State"]["Running"] == true
        };
        (lab.names().len() == 2 * EIGHT.len() && EIGHT.iter().all(runs)).then_some(())
    });
}

fn all_are_at(lab: &Lab, runtimes: &[&str], mark: &str) -> bool {
    let is_at = |runtime: &str| {
        lab.version(runtime) == mark && lab.inspect(runtime)["State"]["Running"] == true
    };
    lab.names() == runtimes && runtimes.iter().all(|runtime| is_at(runtime))
}

#[test]
fn containers_that_share_nothing_do_not_wait_until_others_are_accepted() {
    let Some(lab) = Lab::alone() else { return };
    run_all(&lab, &FOUR);
    let between = EngineProxy::whole(&lab.docker);
    let vars = [("DOCKER_HOST", &*between.host()), QUITE_LONG];
    let program = lab.program(&FOUR.join(","), &vars);
    publish_all(&lab, &FOUR, "v2");
    let (_, report) = program.refresh("");
    let mut recreated = names(&report, "recreated");
    recreated.sort();
    assert_eq!(recreated, FOUR.map(|name| lab.name(name)), "{report}");
    let calls = between.lines();
    let ends =
        |line: &&String, end: &str| line.starts_with("POST /containers/#") && line.ends_with(end);
    // Only one container at a time is stopped.
    let steps: Vec<&str> = (calls.iter())
        .filter_map(|line| ["/stop", "/start"].into_iter().find(|end| ends(&line, end)))
        .collect();
    assert_eq!(steps, ["/stop", "/start"].repeat(FOUR.len()), "{calls:#?}");
    let last_start = calls.iter().rposition(|line| ends(&line, "/start"));
    let first_removal = calls
        .iter()
        .position(|line| line.starts_with("DELETE /containers/#"));
    assert!(last_start < first_removal, "{calls:#?}");
    assert!(all_are_at(&lab, &FOUR, "v2"));
}

#[test]
fn no_more_than_the_owner_wants_wait_to_be_accepted() {
    let Some(lab) = Lab::alone() else { return };
    run_all(&lab, &FOUR);
    let between = EngineProxy::whole(&lab.docker);
    let vars = [
        ("DOCKER_HOST", &*between.host()),
        ("IMAGEWATCH_PARALLEL", "2"),
    ];
    let program = lab.program(&FOUR.join(","), &vars);
    publish_all(&lab, &FOUR, "v2");
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "recreated").len(), FOUR.len(), "{report}");
    let (mut now, mut most) = (0_i32, 0);
    for line in between.lines() {
        now += i32::from(line.starts_with("POST") && line.ends_with("/stop"));
        now -= i32::from(line.starts_with("DELETE") && line.ends_with("?force=0&v=0"));
        most = most.max(now);
    }
    assert_eq!((now, most), (0, 2), "{:#?}", between.lines());
}

#[test]
fn a_bad_image_among_many_is_rolled_back_while_the_others_wait() {
    let Some(lab) = Lab::alone() else { return };
    run_all(&lab, &FOUR);
    publish_all(&lab, &FOUR, "v2");
    lab.publish("c", &good("bad").with("Cmd", json!(["/bin/false"])));
    let program = lab.program(&FOUR.join(","), &[QUITE_LONG]);
    order(&program);
    // It is told before any other one is accepted.
    program.await_line(&format!("rolled back container={}", lab.name("c")));
    assert!(
        !program.has_said("recreated container="),
        "{}",
        program.log()
    );
    eventually("all others are accepted", || {
        (lab.names() == FOUR).then_some(())
    });
    for runtime in FOUR {
        let expected = if runtime == "c" { "v1" } else { "v2" };
        assert_eq!(lab.version(runtime), expected);
        assert_eq!(lab.inspect(runtime)["State"]["Running"], true);
    }
}

#[test]
fn eight_that_wait_to_be_accepted_survive_a_kill_and_end_well() {
    let Some(lab) = Lab::alone() else { return };
    run_all(&lab, &EIGHT);
    let mut program = lab.program(&EIGHT.join(","), &[LONG]);
    publish_all(&lab, &EIGHT, "v2");
    order(&program);
    await_all_in_acceptance(&lab, "v2");
    program.kill();
    let mut program = lab.program(&EIGHT.join(","), &[]);
    eventually("all swaps are finished", || {
        all_are_at(&lab, &EIGHT, "v2").then_some(())
    });
    program.signal("TERM");
    program.await_exit();

    if lab.leaves_out("runs no health check without systemd") {
        return;
    }
    let mut program = lab.program(&EIGHT.join(","), &[LONG]);
    let second = 1_000_000_000_u64;
    let sick = json!({"Test": ["CMD", "/bin/false"], "Interval": second, "Retries": 1,
                      "StartPeriod": 15 * second});
    for runtime in EIGHT {
        lab.publish(runtime, &good("sick").with("Healthcheck", sick.clone()));
    }
    order(&program);
    await_all_in_acceptance(&lab, "sick");
    program.kill();
    let _program = lab.program(&EIGHT.join(","), &[]);
    eventually("all swaps are undone", || {
        all_are_at(&lab, &EIGHT, "v2").then_some(())
    });
}

#[test]
fn a_stop_waits_for_all_that_have_begun() {
    let Some(lab) = Lab::alone() else { return };
    run_all(&lab, &FOUR);
    let vars = [QUITE_LONG, ("IMAGEWATCH_PARALLEL", "8")];
    let mut program = lab.program(&FOUR.join(","), &vars);
    publish_all(&lab, &FOUR, "v2");
    order(&program);
    eventually("some wait to be accepted", || {
        (lab.names()
            .iter()
            .filter(|name| name.contains(".iw-old-"))
            .count()
            > 2)
        .then_some(())
    });
    program.signal("TERM");
    let (status, _) = program.await_exit();
    assert!(status.success(), "{}", program.log());
    assert_eq!(lab.names(), FOUR, "{}", program.log());
    let versions: Vec<String> = FOUR.iter().map(|name| lab.version(name)).collect();
    let recreated = program.log().matches("recreated container=").count();
    assert_eq!(
        versions.iter().filter(|one| *one == "v2").count(),
        recreated
    );
    assert!(recreated > 1, "{}", program.log());
    let running = |name: &&str| lab.inspect(name)["State"]["Running"] == Value::Bool(true);
    assert!(FOUR.iter().all(running));
}

/// All eight begun swaps go on to their end.
#[test]
fn a_stop_with_eight_in_acceptance_finishes_all_of_them() {
    let Some(lab) = Lab::new() else { return };
    run_all(&lab, &EIGHT);
    let mut program = lab.program(&EIGHT.join(","), &[LONG]);
    publish_all(&lab, &EIGHT, "v2");
    order(&program);
    await_all_in_acceptance(&lab, "v2");
    program.signal("TERM");
    let (status, _) = program.await_exit();
    assert!(status.success(), "{}", program.log());
    assert!(all_are_at(&lab, &EIGHT, "v2"), "{}", program.log());
    assert_eq!(
        program.log().matches("recreated container=").count(),
        EIGHT.len()
    );
}

/// The Engine's restart ends every container. Those that it starts again are taken for good, or put back.
#[test]
fn a_restart_of_the_engine_with_several_in_acceptance_loses_none() {
    let Some(lab) = Lab::in_charge() else { return };
    for runtime in FOUR {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
        let body = json!({"Image": lab.reference(runtime),
                          "HostConfig": {"RestartPolicy": {"Name": "always"}}});
        lab.docker.run(&lab.name(runtime), &body);
    }
    let program = lab.program(&FOUR.join(","), &[LONG]);
    publish_all(&lab, &FOUR, "v2");
    order(&program);
    eventually("all wait to be accepted", || {
        let runs = |runtime: &&str| {
            lab.version(runtime) == "v2" && lab.inspect(runtime)["State"]["Running"] == true
        };
        (lab.names().len() == 2 * FOUR.len() && FOUR.iter().all(runs)).then_some(())
    });
    lab.do_to_engine("restart");
    eventually("each runs under its name, and nothing is left", || {
        let runs = |runtime: &&str| lab.inspect(runtime)["State"]["Running"] == true;
        (lab.names() == FOUR && FOUR.iter().all(runs)).then_some(())
    });
    let versions = FOUR.map(|runtime| lab.version(runtime));
    assert!(versions.iter().all(|one| one == "v1" || one == "v2"));
    assert!(!program.log().contains("rolled back"), "{}", program.log());
    for runtime in FOUR {
        let policy = &lab.inspect(runtime)["HostConfig"]["RestartPolicy"]["Name"];
        assert_eq!(policy, "always", "{runtime}");
    }
    assert_eq!(program.ask("GET", "/health").0, 200);
}
