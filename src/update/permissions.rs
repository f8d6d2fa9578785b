//! Tries whether the Engine lets through all calls of a swap, before the first swap begins. A proxy that
//! allows stopping a container but not starting one would leave the container down.

use super::Recreate;
use super::Refresher;
use super::round::Round;
use crate::journal::Verdict;
use std::sync::OnceLock;
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

/// The call that moves a tag. Without it, an image is pulled by its tag.
const TAG: &str = "POST /images/{id}/tag";

/// What an earlier try found.
#[derive(Debug, Default)]
pub struct Permissions {
    are_given: AtomicBool,
    /// Whether tags may be moved, once that is known.
    tags: OnceLock<bool>,
}

impl Permissions {
    /// Makes the next refresh try again.
    pub(super) fn forget(&self) {
        self.are_given.store(false, Ordering::Relaxed);
    }
}

impl Refresher {
    /// Whether tags may be moved. A proxy may forbid that.
    pub(super) fn may_tag(&self) -> bool {
        let known = self.permissions.tags.get().copied();
        known.unwrap_or_else(|| match self.engine.try_out(TAG) {
            Ok(()) => *self.permissions.tags.get_or_init(|| true),
            Err(error) if error.is_denied() => {
                log::warn!(
                    "images are pulled by their tags, so a roll-back leaves the tag at the new image: {error}"
                );
                *self.permissions.tags.get_or_init(|| false)
            }
            Err(_) => true,
        })
    }

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
