//! Tries whether the Engine lets through all calls of a swap, before the first swap begins. A proxy that
//! allows stopping a container but not starting one would leave the container down.

use super::Recreate;
use super::Refresher;
use super::round::Round;
use crate::journal::Verdict;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// The calls of a swap, and of a roll-back, that change something.
const CALLS: [&str; 6] = [
    "POST /containers/create",
    "POST /containers/{id}/start",
    "POST /containers/{id}/stop",
    "POST /containers/{id}/rename",
    "POST /containers/{id}/update",
    "DELETE /containers/{id}",
];

/// Whether an earlier try found that all calls are allowed.
#[derive(Debug, Default)]
pub struct Permissions {
    are_given: AtomicBool,
}

impl Permissions {
    /// Makes the next refresh try again.
    pub(super) fn forget(&self) {
        self.are_given.store(false, Ordering::Relaxed);
    }
}

impl Refresher {
    /// Whether swaps may begin. If not, the whole round is put off with the reason. A positive result is kept.
    pub(super) fn may_swap(&self, round: &mut Round) -> bool {
        let given = &self.permissions.are_given;
        if self.recreate == Recreate::Remove || given.load(Ordering::Relaxed) {
            return true;
        }
        for rule in CALLS {
            let Err(error) = self.engine.try_out(rule) else {
                continue;
            };
            let reason = if error.to_string().contains(rule) {
                error.to_string()
            } else {
                format!("{error} (allow {rule})")
            };
            if self.is_news_of("", &reason) {
                log::warn!("nothing is recreated: {reason}");
            }
            let verdict = if error.is_denied() {
                Verdict::Later
            } else {
                Verdict::Retry
            };
            round.put_off_as(
                verdict,
                &format!("not begun, because the swap could not be finished: {reason}"),
            );
            return false;
        }
        given.store(true, Ordering::Relaxed);
        true
    }
}
