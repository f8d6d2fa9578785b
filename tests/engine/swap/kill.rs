//! Killed at any moment, it leaves nothing that its next start does not put right.

use crate::engine::first_evening::sample;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::swap::every_moment::Moment;
use crate::engine::swap::every_moment::from_start_on;
use crate::engine::swap::every_moment::moments;
use crate::engine::swap::every_moment::share;
use crate::engine::swap::every_moment::side_by_side;
use crate::engine::swap::workspace::Next;
use crate::engine::swap::workspace::Workspace;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::eventually;
use std::fmt;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How many workspaces are disturbed side by side.
const WORKSPACES: usize = 4;

/// Kills the program at every moment of a swap to such an image; its next start puts all right.
fn kill_at_every_moment(running: bool, next: Next) {
    let Some(lab) = Lab::parted() else { return };
    let mut workspaces: Vec<_> = (0..WORKSPACES)
        .map(|_| Workspace::new(&lab, running))
        .collect();
    let lines = workspaces[0].undisturbed(next);
    let mut moments = moments(&lines, &[Action::HoldBefore], &[Action::HoldAfter]);
    if next == Next::Exits {
        moments = from_start_on(moments);
    }
    side_by_side(workspaces, share(moments), |workspace, moment| {
        let old = workspace.mark();
        let new = workspace.publish(next);
        let done = kill(workspace, moment);
        let mark = workspace.recover();
        let is_kept = next == Next::Good && has_taken_over(&done, running);
        assert_eq!(mark, if is_kept { new } else { old }, "{done:?}");
        // The tag moves just before the successor is created. Without the successor, nothing tells of that move.
        if done.iter().any(|line| line.contains(".iw-new-")) {
            workspace.assert_tag_is_what_runs(&done);
        }
    });
}

/// Whether the successor may be kept after these calls.
fn has_taken_over(done: &[String], running: bool) -> bool {
    // The workspace is called `w`.
    let end = if running { "/start" } else { "rename?name=w" };
    done.iter().any(|line| line.ends_with(end))
}

/// Has the program refresh, kills it, and answers the calls that the Engine did before. Some reads
/// come in some runs only; then it is killed when it is done.
#[track_caller]
fn kill(workspace: &Workspace, moment: &Moment) -> Vec<String> {
    let mut run = workspace.run(Some(moment.plan()));
    let came = run.await_call();
    let all = || run.between.lines();
    assert!(
        came.is_some() || !moment.is_certain(),
        "no such call: {moment} in {:#?}",
        all()
    );
    run.program.kill();
    let mut done = run.between.lines();
    if came.is_some() && matches!(moment.action, Action::HoldBefore) {
        done.pop();
    }
    done
}

#[test]
fn a_kill_before_or_after_any_call_loses_nothing() {
    kill_at_every_moment(true, Next::Good);
}

#[test]
fn a_kill_before_or_after_any_call_of_a_roll_back_loses_nothing() {
    kill_at_every_moment(true, Next::Exits);
}

#[test]
fn a_kill_before_or_after_any_call_leaves_a_stopped_container_stopped() {
    kill_at_every_moment(false, Next::Good);
}

/// What is cut short is a recovery: of a swap killed after this call, to such an image.
struct HalfDone {
    after: &'static str,
    next: Next,
}

const HALF_DONE: [HalfDone; 5] = [
    HalfDone {
        after: "/update",
        next: Next::Good,
    },
    HalfDone {
        after: "/stop",
        next: Next::Good,
    },
    HalfDone {
        after: "rename?name=w.iw-old-",
        next: Next::Good,
    },
    HalfDone {
        after: "/start",
        next: Next::Good,
    },
    HalfDone {
        after: "/start",
        next: Next::Exits,
    },
];

impl HalfDone {
    /// Leaves a swap so, and answers the new image's mark.
    #[track_caller]
    fn make(&self, workspace: &mut Workspace) -> String {
        let mark = workspace.publish(self.next);
        let mut run = workspace.run(Some((Place::Holding(self.after, 1), Action::HoldAfter)));
        run.await_call().expect("the call");
        run.program.kill();
        mark
    }
}

#[test]
fn a_recovery_may_be_killed_as_well() {
    let Some(lab) = Lab::parted() else { return };
    let mut workspaces: Vec<_> = (0..WORKSPACES)
        .map(|_| Workspace::new(&lab, true))
        .collect();
    let mut jobs = Vec::new();
    for half_done in &HALF_DONE {
        half_done.make(&mut workspaces[0]);
        let lines = workspaces[0].recover_calls();
        // What the Engine shows is the same before any read.
        let moments = moments(&lines, &[], &[Action::HoldBefore, Action::HoldAfter]);
        jobs.extend(moments.into_iter().map(|moment| Job { half_done, moment }));
    }
    side_by_side(workspaces, share(jobs), |workspace, job| {
        let old = workspace.mark();
        job.half_done.make(workspace);
        workspace.cut_recovery_short(&job.moment);
        let mark = workspace.recover();
        assert!(job.half_done.next == Next::Good || mark == old, "{mark}");
    });
}

#[test]
fn what_came_of_a_half_done_swap_stands_in_the_history() {
    let Some(lab) = Lab::parted() else { return };
    for (after, next, outcome) in [
        ("/start", Next::Good, "recreated"),
        ("/stop", Next::Good, "skipped"),
        ("/start", Next::Exits, "skipped"),
    ] {
        let mut workspace = Workspace::new(&lab, true);
        let old = workspace.image();
        HalfDone { after, next }.make(&mut workspace);
        let between = EngineProxy::part(&lab.docker, workspace.key());
        let program = workspace.spawn(&between.host());
        let told = eventually("an outcome", || {
            program.has_said("listening on").then_some(())?;
            let (_, status) = program.ask("GET", "/admin/status");
            let history = status["history"].as_array().cloned().unwrap_or_default();
            (!history.is_empty()).then_some(history)
        });
        let (_, _, page) = program.ask_text("GET", "/metrics");
        drop(program);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["outcome"], outcome, "{told:?}");
        assert_eq!(told[0]["container"], workspace.name());
        workspace.settle(Duration::from_secs(5));
        if outcome == "recreated" {
            assert_eq!(told[0]["old"], old);
            assert_eq!(told[0]["new"], workspace.image());
            assert_eq!(
                sample(&page, "imagewatch_swaps_total{outcome=\"recreated\"}"),
                1.0
            );
        } else {
            let reason = told[0]["reason"].as_str().unwrap_or_default();
            assert!(
                reason.starts_with("its swap was found half done, and undone"),
                "{reason}"
            );
        }
    }
}

#[test]
fn an_outcome_is_told_before_the_old_container_is_gone() {
    let Some(lab) = Lab::parted() else { return };
    let mut workspace = Workspace::new(&lab, true);
    workspace.publish(Next::Good);
    let mut run = workspace.run(Some((Place::Holding("DELETE ", 1), Action::HoldBefore)));
    let line = run.await_call().expect("a removal");
    let (_, status) = run.program.ask("GET", "/admin/status");
    assert_eq!(status["history"][0]["outcome"], "recreated", "{line}");
    run.program.kill();
    workspace.recover();
}

#[test]
fn what_is_undone_is_caught_up_with_all_the_same() {
    let Some(lab) = Lab::parted() else { return };
    let mut workspace = Workspace::new(&lab, true);
    // The successor has the name and was never started: it looks as if all were done, and is undone.
    let half_done = HalfDone {
        after: "rename?name=w ",
        next: Next::Good,
    };
    let new = half_done.make(&mut workspace);
    let between = EngineProxy::part(&lab.docker, workspace.key());
    let vars = [
        ("IMAGE_AUTO_REFRESH", "true"),
        ("IMAGEWATCH_CATCH_UP", "true"),
    ];
    let program = workspace.spawn_with(&between.host(), &vars);
    program.await_line("found half done");
    let right_now = Duration::ZERO;
    eventually("it runs the newest", || {
        (workspace.wait_well(right_now).as_ref() == Ok(&new)).then_some(())
    });
}

struct Job<'h> {
    half_done: &'h HalfDone,
    moment: Moment,
}

impl fmt::Display for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HalfDone { after, next } = self.half_done;
        write!(f, "{next:?} {after}, then {}", self.moment)
    }
}

#[test]
fn a_kill_and_a_restart_of_the_engine_lose_nothing() {
    let Some(lab) = Lab::in_charge() else { return };
    let mut workspace = Workspace::new(&lab, true);
    for after in [
        "/update",
        "/stop",
        "rename?name=w.iw-old-",
        "rename?name=w ",
        "/start",
    ] {
        let half_done = HalfDone {
            after,
            next: Next::Good,
        };
        half_done.make(&mut workspace);
        lab.do_to_engine("restart");
        workspace.restart_bystander();
        let mark = workspace.recover();
        println!("killed after {after}, then restarted: runs {mark}");
    }
}

/// As a prune does that came before the old container was stopped.
#[test]
fn what_was_put_aside_is_put_back_as_it_was_without_the_successor_that_tells_of_it() {
    let Some(lab) = Lab::parted() else { return };
    for is_running in [true, false] {
        for before in ["rename?name=w ", "/start "] {
            if !is_running && before == "/start " {
                continue;
            }
            let mut workspace = Workspace::new(&lab, is_running);
            let old = workspace.mark();
            workspace.publish(Next::Good);
            let hold = (Place::Holding(before, 1), Action::HoldBefore);
            let mut run = workspace.run(Some(hold));
            run.await_call().expect("the call");
            for name in lab.docker.names(&workspace.name()) {
                if !name.contains(".iw-old-") {
                    lab.docker.remove(&name);
                }
            }
            run.program.kill();
            drop(run);
            assert_eq!(workspace.recover(), old, "before {before}");
        }
    }
}

#[test]
fn two_programs_on_one_engine_and_kills_at_random_leave_the_newest() {
    let Some(lab) = Lab::shared() else { return };
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let names = ["1", "2", "3"];
    for name in names {
        lab.workspace(name, "hermes");
    }
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random(seed);
    let steady = lab.watcher("hermes", &[]);
    steady.await_line("seeded");
    let between = EngineProxy::whole(&lab.docker);
    let host = between.host();
    let start = || {
        lab.watcher(
            "hermes",
            &[("DOCKER_HOST", &*host), ("IMAGEWATCH_CATCH_UP", "true")],
        )
    };
    let mut unlucky = start();
    for mark in ["v2", "v3", "v4"] {
        let mut kills = 0;
        let (tell, calls) = channel();
        let arm = |call: usize| {
            let tell = tell.clone();
            let nth = between.lines().len() + call;
            between.at(Place::Any(nth), Action::HoldAfter, move |line| {
                let _ = tell.send(line);
            });
        };
        arm(random.up_to(40));
        lab.publish("hermes", &good(mark));
        eventually(&format!("all run {mark}"), || {
            if let Ok(line) = calls.try_recv() {
                println!("killed at {line}");
                unlucky.kill();
                unlucky = start();
                kills += 1;
                if kills < 3 {
                    arm(random.up_to(40));
                }
            }
            names
                .iter()
                .all(|name| lab.version(name) == mark)
                .then_some(())
        });
    }
    eventually("nothing is left over", || {
        let claims = lab.docker.names("imagewatch.claim");
        (lab.names() == names && claims.is_empty()).then_some(())
    });
    for name in names {
        assert_eq!(lab.version(name), "v4");
        assert_eq!(lab.inspect(name)["State"]["Running"], true, "{name}");
    }
}

/// A linear congruential generator (Knuth's MMIX); a seed gives the same run again.
struct Random(u64);

impl Random {
    /// From 1.
    fn up_to(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.0 >> 33).expect("31 bits");
        high % limit + 1
    }
}
