//! Killed at any moment, it leaves nothing that its next start does not put right.

use super::lab::Lab;
use super::workspace::Moment;
use super::workspace::Next;
use super::workspace::Workspace;
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
    // Once this call is done the successor may be kept, and before it is not.
    let takes_over = |line: &String| {
        if running {
            line.ends_with("/start")
        } else {
            line.ends_with("rename?name=w")
        }
    };
    let take_over = lines.iter().position(takes_over).expect("a swap") + 1;
    let moments = moments(&lines, &[Action::HoldBefore], &[Action::HoldAfter]);
    side_by_side(workspaces, moments, |workspace, moment| {
        let old = workspace.mark();
        let new = workspace.publish(next);
        kill(workspace, moment);
        let mark = workspace.recover();
        let is_done = matches!(moment.action, Action::HoldAfter);
        let is_kept = (moment.call, is_done) >= (take_over, true) && next == Next::Good;
        assert_eq!(mark, if is_kept { new } else { old });
    });
}

/// Has the program refresh and kills it.
#[track_caller]
fn kill(workspace: &Workspace, moment: &Moment) {
    let mut run = workspace.run(moment.plan());
    let line = run.await_call().expect("the call");
    run.program.kill();
    assert_eq!(line, moment.line, "the runs differ");
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
