//! The refreshes that a round begins, and their results at its end.

use super::Backend;
use super::Pending;
use super::followed::Followed;
use super::round::Round;
use crate::journal::Standing;
use crate::journal::Verdict;
use crate::reference::Digest;

/// A refresh that was begun in this round.
pub(super) struct UnderWay<'a> {
    followed: &'a mut Followed,
    digest: Digest,
    /// The names of the only containers that the refresh is about. `None` means all of the reference.
    only: Option<Vec<String>>,
    pending: Pending,
}

impl<'a, H: Backend> Round<'a, H> {
    /// Begins a refresh, of all containers of the reference or of `only` some. Does not wait for the end.
    pub(super) fn refresh(
        &mut self,
        followed: &'a mut Followed,
        digest: Digest,
        only: Option<Vec<String>>,
    ) {
        let target = &followed.target;
        self.board.update(&target.reference, |entry| {
            entry.state = Standing::Refreshing;
        });
        let pending = self.backend.refresh(target, &digest, only.clone());
        self.under_way.push(UnderWay {
            followed,
            digest,
            only,
            pending,
        });
    }

    /// Waits until all refreshes of this round are over.
    pub(super) fn wait_for_refreshes(&mut self) {
        for begun in std::mem::take(&mut self.under_way) {
            let followed = begun.followed;
            match (begun.pending)() {
                Ok(verdict) => {
                    let digest = begun.digest.clone();
                    let is_over = self.apply(followed, begun.digest, verdict);
                    match begun.only {
                        _ if !is_over => {}
                        None => followed.refreshed(),
                        Some(only) => followed.updated(&digest, only),
                    }
                }
                // Without a verdict, the board would still show the state `refreshing`.
                Err(reason) => {
                    let verdict = Verdict::Retry(reason);
                    self.board.apply(&followed.target, &verdict, None);
                }
            }
        }
    }

    /// Applies a verdict to the next rounds. The board shows the verdict already. Returns whether nothing is left to
    /// do for this digest.
    fn apply(&self, followed: &mut Followed, digest: Digest, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Retry(_) | Verdict::NotYet(_) | Verdict::Unverified(_) => return false,
            Verdict::Stale(reason) | Verdict::Later(reason) | Verdict::Waits(reason) => {
                if followed.waits.put_off(digest) {
                    log::warn!("{}: {reason}; tried again later", followed.target.name);
                }
                return false;
            }
            Verdict::Rejected(reason) => followed.say_rejected(&digest, &reason),
            Verdict::Local => self.leave_local(followed),
            Verdict::Done | Verdict::Noticed => {}
        }
        followed.done();
        true
    }
}
