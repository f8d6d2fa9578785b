//! Roll back: the outcome of a swap whose successor is not accepted.

use super::Blame;
use super::Failure;
use super::Member;
use super::Outcome;
use super::Swap;
use super::acceptance::Standing;
use super::steps;
use super::undo;
use super::undo::Pair;
use super::undo::Stop;
use super::undo::Undone;
use crate::engine::State;
use crate::error::Error;
use crate::error::block;
use crate::error::headline;
use std::cell::RefCell;
use std::time::Duration;
use std::time::Instant;

/// How many of a failed container's last lines are reported.
const LAST_LINES: u32 = 5;

/// How long the removal of several containers may take.
const REMOVAL: Duration = Duration::from_secs(3);

impl Swap<'_> {
    /// Puts the old containers back, and says how that ended. `part` is the place of the container that failed.
    #[cold]
    pub(super) fn roll_back(
        &self,
        members: &[Member],
        pairs: &mut [Pair],
        stop: Stop,
        part: usize,
        failure: Failure,
    ) -> Outcome {
        if failure.blame == Blame::Circumstances && self.was_taken_away(pairs, part) {
            let reason = "its owner removed it in mid-swap".to_owned();
            return Outcome::Skipped { reason };
        }
        let Failure {
            mut reason,
            mut blame,
        } = failure;
        let made_again = RefCell::new(String::new());
        let remake = |pairs: &[Pair], index: usize| {
            let remade = self.remake_old(&members[index], pairs, index)?;
            Ok(remade.map(|remade| {
                made_again.borrow_mut().push_str(&remade.words);
                remade.id
            }))
        };
        match undo(self.steps(), pairs, stop, &remake) {
            Ok(Undone::Back) => reason = amended(&reason, &made_again.take()),
            Ok(Undone::TakenOver) => match self.left_over(&pairs[0], Failure { reason, blame }) {
                Ok(_) => return Outcome::Recreated { downtime: None },
                Err(failure) => Failure { reason, blame } = failure,
            },
            Ok(Undone::ReplacedByOwner) => {
                let (why, _) = headline(&reason);
                return Outcome::Skipped {
                    reason: format!(
                        "its owner replaced it in mid-swap ({why}){}",
                        made_again.take()
                    ),
                };
            }
            Err(trouble) => return self.not_put_back(pairs, part, &reason, &trouble),
        }
        Outcome::RolledBack {
            reason,
            blame,
            part,
        }
    }

    /// The outcome of a swap whose old containers could not be put back.
    #[cold]
    fn not_put_back(&self, pairs: &[Pair], part: usize, reason: &str, trouble: &Error) -> Outcome {
        let words = format!("; and putting the old container back failed: {trouble}");
        let reason = amended(reason, &words);
        let parts = undo::down(self.steps(), pairs);
        if !parts.is_empty() {
            return Outcome::Down { reason, parts };
        }
        let name = &pairs[0].record.name;
        log::error!("{name}: could not be put back: {trouble}");
        Outcome::RolledBack {
            reason,
            // The same obstacle kept both containers from starting, so the image is not to blame.
            blame: Blame::Circumstances,
            part,
        }
    }

    /// Whether the owner removed the old container and the successor of every pair, as `docker compose down` does. Then
    /// the failed successor ran, and was killed before it was removed.
    #[cold]
    fn was_taken_away(&self, pairs: &[Pair], part: usize) -> bool {
        let begun = Instant::now();
        let is_gone = |id: &str| matches!(self.engine.find(id), Ok(None));
        let new = &pairs[part].new;
        let is_going = match self.engine.find(new) {
            Ok(Some(seen)) => seen.state() == State::Gone,
            found => found.is_ok(),
        };
        if self.about.is_podman() || !is_going {
            return false;
        }
        while !pairs
            .iter()
            .all(|pair| is_gone(&pair.new) && is_gone(&pair.record.old))
        {
            if begun.elapsed() > REMOVAL {
                return false;
            }
            std::thread::sleep(steps::PAUSE);
        }
        self.engine.was_stopped_by_hand(new).unwrap_or(false)
    }

    /// The standing of a successor that stays because the old container was removed and cannot be made again.
    fn left_over(&self, pair: &Pair, failure: Failure) -> std::result::Result<Standing, Failure> {
        log::warn!(
            "{}: somebody removed it in mid-swap, so its successor stays ({})",
            pair.record.name,
            failure.reason
        );
        let left = match failure.blame {
            Blame::Image => Err(failure),
            Blame::Circumstances if !pair.record.was_running => Ok(Standing::Up),
            Blame::Circumstances => self.accept(&pair.new).map(|accepted| accepted.standing),
        };
        left.map_err(|failure| Failure {
            reason: amended(
                &failure.reason,
                "; and somebody removed the old container, so the new one stays",
            ),
            blame: failure.blame,
        })
    }

    /// The last lines that a failed container printed.
    pub(super) fn last_words(&self, id: &str) -> String {
        match self.engine.last_lines(id, LAST_LINES) {
            Ok(text) => match block(&text) {
                words if words.is_empty() => words,
                words => format!(";\nit said:\n{words}"),
            },
            Err(_) => String::new(),
        }
    }
}

/// Adds to a reason, in front of the container's last words.
fn amended(reason: &str, more: &str) -> String {
    match headline(reason) {
        (why, "") => format!("{why}{more}"),
        (why, words) => format!("{why}{more};\n{words}"),
    }
}
