//! The refreshes that a round begins, and their results at its end.

use super::Backend;
use super::Pending;
use super::round::Round;
use crate::journal::Standing;
use crate::journal::Verdict;
use crate::reference::Digest;
use crate::reference::Target;

/// A refresh that was begun in this round.
pub(super) struct UnderWay {
    target: Target,
    digest: Digest,
    /// Whether the refresh is about all containers of the reference.
    is_of_all: bool,
    pending: Pending,
}

impl<H: Backend> Round<'_, H> {
    /// Begins a refresh, of all containers of the reference or of `only` some. Does not wait for the end.
    pub(super) fn refresh(&mut self, target: &Target, digest: Digest, only: Option<Vec<String>>) {
        self.board.update(&target.reference, |entry| {
            entry.state = Standing::Refreshing;
        });
        let is_of_all = only.is_none();
        let pending = self.backend.refresh(target, &digest, only);
        let begun = UnderWay {
            target: target.clone(),
            digest,
            is_of_all,
            pending,
        };
        self.under_way.push(begun);
    }

    /// Waits until all refreshes of this round are over.
    pub(super) fn wait_for_refreshes(&mut self) {
        for begun in std::mem::take(&mut self.under_way) {
            let UnderWay {
                target,
                digest,
                is_of_all,
                pending,
            } = begun;
            match pending() {
                Ok(verdict) => {
                    let is_over = self.apply(&target, digest, verdict);
                    if is_over && is_of_all {
                        self.runs.refreshed(&target.reference);
                    }
                }
                Err(reason) => {
                    let verdict = Verdict::Retry(reason);
                    self.board.judge(&target.reference, &verdict, None);
                }
            }
        }
    }

    /// Applies a verdict to the next rounds. The board shows the verdict already. Returns whether
    /// nothing is left to do for this digest.
    fn apply(&mut self, target: &Target, digest: Digest, verdict: Verdict) -> bool {
        let reference = &target.reference;
        match verdict {
            Verdict::Retry(_) => return false,
            Verdict::Stale(reason) | Verdict::Later(reason) | Verdict::Waits(reason) => {
                if self.waits.put_off(reference, digest) {
                    log::warn!("{}: {reason}; tried again later", target.name);
                }
                return false;
            }
            Verdict::Rejected(reason) => self.say_rejected(target, &digest, &reason),
            Verdict::Local => self.leave_local(reference),
            Verdict::Done | Verdict::Noticed => {}
        }
        self.waits.done(reference);
        self.runs.done(reference);
        true
    }

    pub(super) fn say_rejected(&self, target: &Target, digest: &Digest, reason: &str) {
        log::error!(
            "image-auto-refresh: {} {} is rejected until the tag moves on: {reason}",
            target.name,
            digest.short()
        );
    }
}
