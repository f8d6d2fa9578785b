//! Killed at any moment, it leaves nothing that its next start does not put right.

use super::lab::Lab;
use super::workspace::Moment;
use super::workspace::Next;
use super::workspace::Workspace;
use super::workspace::is_change;
use super::workspace::moments;
use super::workspace::side_by_side;
use crate::support::between::Action;

/// How many workspaces are disturbed side by side.
const WORKSPACES: usize = 4;

/// Kills the program at every moment of a swap to such an image; its next start puts all right.
fn kill_at_every_moment(running: bool, next: Next) {
    let Some(lab) = Lab::new() else { return };
    let mut workspaces: Vec<_> = (0..WORKSPACES)
        .map(|_| Workspace::new(&lab, running))
        .collect();
    let lines = workspaces[0].undisturbed(next);
    let moments = moments(&lines, &[Action::HoldBefore], &[Action::HoldAfter]);
    side_by_side(workspaces, moments, |workspace, moment| {
        let old = workspace.mark();
        let new = workspace.publish(next);
        let done = kill(workspace, moment);
        let mark = workspace.recover();
        let is_kept = next == Next::Good && has_taken_over(&done, running);
        assert_eq!(mark, if is_kept { new } else { old }, "{done:?}");
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
    let mut run = workspace.run(moment.plan());
    let came = run.await_call();
    assert!(came.is_some() || !is_change(&moment.line), "no such call");
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
