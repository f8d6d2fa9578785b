//! The record of one followed reference: the facts that a round leaves to the next rounds.

use super::complaint::Complaint;
use super::put_off::Waits;
use super::waiting::Delayed;
use crate::logging::debug;
use crate::reference::Digest;
use crate::reference::Target;
use crate::update::Seen;
use std::collections::HashSet;

/// One followed reference. The board has the facts that the status shows, so these are not repeated here.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) target: Target,
    /// The managed containers of the reference at the last look.
    pub(super) containers: Vec<Seen>,
    /// Whether the containers changed since the last survey. A survey costs questions, so not each round makes one.
    pub(super) has_changed: bool,
    /// The names of containers that started since the first look, and of containers in mode notify that are behind.
    /// They stay here until they are updated or reported.
    pub(super) started: HashSet<String>,
    pub(super) waits: Waits,
    /// The digest that not every container may be updated to yet.
    pub(super) delayed: Option<Delayed>,
    /// The last complaint about the look-up.
    pub(super) complaint: Complaint,
    /// The last complaint about the first survey, which may fail while look-ups succeed.
    pub(super) survey_complaint: Complaint,
    /// Whether this process has not remembered a digest yet. An earlier process may have.
    pub(super) is_new: bool,
    /// Whether the image was built here, so that there is nothing to look up. The state on the board is not enough:
    /// a refresh for a caller changes that state too.
    pub(super) is_local: bool,
    /// Whether the last look-up failed. It is done last then.
    pub(super) is_failing: bool,
    /// Whether the Engine left the last question unanswered. The reference is handled last then.
    pub(super) is_unanswered: bool,
}

impl Followed {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            containers: Vec::new(),
            has_changed: false,
            started: HashSet::new(),
            waits: Waits::default(),
            delayed: None,
            complaint: Complaint::default(),
            survey_complaint: Complaint::default(),
            is_new: true,
            is_local: false,
            is_failing: false,
            is_unanswered: false,
        }
    }

    /// Takes over the containers of this look, and compares them with those of the last one. `ran` has the ids of all
    /// containers that ran at the last look. Without it, this is the first look.
    pub(super) fn look(&mut self, now: Vec<Seen>, ran: Option<&HashSet<String>>) {
        if let Some(ran) = ran {
            let before = self.containers.iter().map(facts);
            self.has_changed |= !before.eq(now.iter().map(facts));
            let started = now
                .iter()
                .filter(|one| is_running(one) && !ran.contains(&one.id));
            self.started.extend(started.map(|one| one.name.clone()));
        }
        self.containers = now;
    }

    /// The ids of the containers that ran at the last look.
    pub(super) fn running(&self) -> impl Iterator<Item = &String> {
        let running = self.containers.iter().filter(|one| is_running(one));
        running.map(|one| &one.id)
    }

    /// Whether to let this round pass, because the last try of this digest failed. Counts the round.
    pub(super) fn skips_round(&mut self, digest: &Digest) -> bool {
        let skips = self.waits.skips_round(digest);
        if skips {
            debug(format_args!("{}: not tried again yet", self.target.name));
        }
        skips
    }

    pub(super) fn say_rejected(&self, digest: &Digest, reason: &str) {
        log::error!(
            "image-auto-refresh: {} {} is rejected until the tag moves on: {reason}",
            self.target.name,
            digest.short()
        );
    }

    /// Ends the work on the reference, because nothing is left to do for its digest.
    pub(super) fn done(&mut self) {
        self.waits.done();
        self.has_changed = false;
        self.started.clear();
    }

    /// Ends a refresh of some containers, while others wait for their time.
    pub(super) fn updated(&mut self, digest: &Digest, names: Vec<String>) {
        let delayed = self.delayed.as_mut();
        if let Some(delayed) = delayed.filter(|delayed| delayed.digest == *digest) {
            delayed.done.extend(names);
        }
    }

    /// Ends a refresh of all containers. A container that was down meanwhile was passed over, and looks at the next
    /// look as if it had always run. So each container that runs then counts as started.
    pub(super) fn refreshed(&mut self) {
        for container in &mut self.containers {
            container.state.clear();
        }
    }
}

fn is_running(container: &Seen) -> bool {
    matches!(&*container.state, "running" | "restarting" | "paused")
}

/// The facts that decide whether a container is behind.
fn facts(container: &Seen) -> (&str, &str, bool, bool) {
    let Seen { id, image_id, .. } = container;
    (id, image_id, is_running(container), container.has_lost_tag)
}
