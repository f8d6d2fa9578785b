//! Rejoin: a container lives in another one that its owner has replaced since. Such a container still runs, but could
//! not be started again. So before the update, the container is recreated with the image it runs, and joins
//! the replacement. This recreation cannot be rolled back, because the old container could not be started. The update
//! that follows can be rolled back.

use super::Outcome;
use super::Part;
use super::Swap;
use super::needs::Join;
use super::record::is_up;
use super::successor::Moved;
use super::take_over;
use super::undo;
use super::undo::Pair;
use std::time::Instant;

impl Swap<'_> {
    /// Recreates these parts with the images they run, joined to the containers that are there now. If this process is
    /// killed, a recovery finishes that.
    #[must_use]
    pub fn rejoin(&self, parts: &[Part], joins: &[Join]) -> Outcome {
        let moved: Vec<Moved> = joins.iter().map(Join::moved).collect();
        let files = match self.files_of(parts) {
            Ok(files) => files,
            Err(outcome) => return outcome,
        };
        let members = match self.prepare(parts, &files, &moved) {
            Ok(members) => members,
            Err(error) => {
                let reason = error.to_string();
                return Outcome::NotBegun { reason };
            }
        };
        let steps = self.steps();
        let begun = Instant::now();
        let pairs: Vec<Pair> = members.iter().map(|member| member.pair.clone()).collect();
        let mut running = members.iter().rev().filter(|member| is_up(member.old));
        let outcome = running
            .try_for_each(|member| steps.suspend_policy(member.old))
            .and_then(|()| take_over::finish(steps, &pairs, None));
        match outcome {
            Ok(_) => Outcome::Recreated {
                downtime: Some(begun.elapsed()),
            },
            Err(error) => {
                let reason = format!("recreating it with its old image failed: {error}");
                match undo::down(steps, &pairs) {
                    down if down.is_empty() => Outcome::NotBegun { reason },
                    parts => Outcome::Down { reason, parts },
                }
            }
        }
    }
}
