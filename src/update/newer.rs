//! Newer versions of an image under other tags of its repository. They are told, and never applied.
//!
//! The label `imagewatch.newer` of a container asks for that. Each repository is asked for its tags once a day.

use super::Refresher;
use super::select::Seen;
use crate::error::Error;
use crate::error::Result;
use crate::journal::Board;
use crate::journal::Event;
use crate::journal::Step;
use crate::logging::debug;
use crate::reference::Reference;
use crate::version::Level;
use crate::version::Newest;
use std::time::Duration;
use std::time::Instant;

/// The time between two looks at the tags of a repository, and the most that chance adds. So a fleet does not ask at
/// the same moment each day.
const DAY: Duration = Duration::from_secs(86_400);
const JITTER: Duration = Duration::from_secs(7_200);
/// The pause after a look that failed for a reason that may pass.
const RETRY: Duration = Duration::from_secs(3600);
/// The most repositories that are asked in one round. The others follow in the next rounds.
const MOST: usize = 4;

/// A reference whose newer versions somebody wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    reference: Reference,
    /// The widest level of all containers of the reference.
    level: Level,
    /// The id of an image that such a container runs.
    image_id: String,
}

/// Returns the wishes of these containers, one for each reference.
#[must_use]
pub fn wishes(seen: &[Seen]) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    for one in seen.iter().filter(|one| !one.stays_stopped) {
        let (Some(level), Ok(reference)) = (one.newer, &one.made_from) else {
            continue;
        };
        match wishes.iter_mut().find(|wish| wish.reference == *reference) {
            Some(wish) => wish.level = wish.level.max(level),
            None => wishes.push(Wish {
                reference: reference.clone(),
                level,
                image_id: one.image_id.clone(),
            }),
        }
    }
    wishes
}

/// The newest version of an image under another tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    /// The version in use.
    pub running: String,
    /// The tag of the newest version.
    pub newest: String,
}

/// The newer versions that were found, and when each repository is asked again.
#[derive(Debug, Default)]
pub struct NewerTags {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    wish: Wish,
    found: Option<Newer>,
    due: Instant,
    /// The newest tag that was told.
    told: Option<String>,
}

impl NewerTags {
    /// Asks the repositories whose day has come, shows the newer versions on the board, and returns an event for each
    /// one that was not told yet. Any number will do for `random`.
    pub fn look(
        &mut self,
        refresher: &Refresher,
        board: &Board,
        wishes: &[Wish],
        random: u64,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        if wishes.is_empty() && self.known.is_empty() {
            return steps;
        }
        let now = Instant::now();
        self.follow(wishes, now);
        for _ in 0..MOST {
            if !self.ask_next(refresher, now, random) {
                break;
            }
        }
        let mut shown = Vec::new();
        for known in &mut self.known {
            let Some(Newer { running, newest }) = &known.found else {
                continue;
            };
            let name = known.wish.reference.to_string();
            if known.told.as_ref() != Some(newest) {
                known.told = Some(newest.clone());
                steps.push(Step::Outcome(Event::newer(&name, running, newest)));
            }
            shown.push((name, newest));
        }
        board.update_each(&mut |entry| {
            let mut shown = shown.iter();
            let found = shown.find(|(name, _)| *name == entry.reference);
            entry.newer = found.map(|(_, newest)| (*newest).clone());
        });
        steps
    }

    /// Takes over the wishes of this round. A wish that changed is due at once.
    fn follow(&mut self, wishes: &[Wish], now: Instant) {
        let is_of = |known: &Known, wish: &Wish| known.wish.reference == wish.reference;
        self.known
            .retain(|known| wishes.iter().any(|wish| is_of(known, wish)));
        for wish in wishes {
            match self.known.iter_mut().find(|known| is_of(known, wish)) {
                Some(known) if known.wish == *wish => {}
                Some(known) => {
                    known.wish = wish.clone();
                    (known.found, known.due) = (None, now);
                }
                None => self.known.push(Known {
                    wish: wish.clone(),
                    found: None,
                    due: now,
                    told: None,
                }),
            }
        }
    }

    /// Asks the next repository whose time has come. Returns whether there was one.
    #[cold]
    fn ask_next(&mut self, refresher: &Refresher, now: Instant, random: u64) -> bool {
        let Some(due) = self.known.iter().find(|known| known.due <= now) else {
            return false;
        };
        let reference = due.wish.reference.clone();
        let outcome = self.search(refresher, &reference);
        let (wait, is_silent) = match &outcome {
            Ok(()) => {
                let share = u32::try_from(random % 1000).unwrap_or(0);
                (DAY + JITTER / 1000 * share, false)
            }
            Err(error) if is_lasting(error) => (DAY, false),
            Err(error) => (RETRY, error.is_unreachable()),
        };
        if let Err(error) = outcome {
            debug(format_args!("{}: tags: {error}", reference.name()));
        }
        for known in &mut self.known {
            // Each further question to a silent registry could cost a deadline.
            let is_of_silent = is_silent && known.wish.reference.registry() == reference.registry();
            if is_of_silent || is_of_repository(known, &reference) {
                known.due = now + wait;
            }
        }
        true
    }

    /// Finds the newest version for each wish about one repository.
    fn search(&mut self, refresher: &Refresher, reference: &Reference) -> Result<()> {
        let mut running = Vec::new();
        for (place, known) in self.known.iter().enumerate() {
            if is_of_repository(known, reference)
                && let Some((version, is_tag)) = refresher.running_version(&known.wish)?
            {
                running.push((place, version, is_tag));
            }
        }
        let mut searches = Vec::new();
        for (place, version, is_tag) in &running {
            let level = self.known[*place].wish.level;
            let newest = match is_tag {
                true => Newest::after_tag(version, level),
                false => Newest::after_label(version, level),
            };
            searches.extend(newest.map(|newest| (*place, version, newest)));
        }
        if !searches.is_empty() {
            refresher.registry.tags(reference, &mut |tag| {
                for (_, _, newest) in &mut searches {
                    newest.offer(tag);
                }
            })?;
        }
        for known in &mut self.known {
            if is_of_repository(known, reference) {
                known.found = None;
            }
        }
        for (place, version, newest) in searches {
            self.known[place].found = newest.found().map(|newest| Newer {
                running: version.clone(),
                newest,
            });
        }
        Ok(())
    }
}

fn is_of_repository(known: &Known, reference: &Reference) -> bool {
    let other = &known.wish.reference;
    other.registry() == reference.registry() && other.repository() == reference.repository()
}

/// Whether another try within the day would end in the same way.
fn is_lasting(error: &Error) -> bool {
    let may_pass = |status| matches!(status, 408 | 425 | 429 | 500..);
    error.status().is_some_and(|status| !may_pass(status))
}

impl Refresher {
    /// Asks for the newer versions that these wishes are about, at once. A failure is no trouble.
    #[must_use]
    pub fn newer_now(&self, wishes: &[Wish]) -> Vec<(Reference, Newer)> {
        let (mut tags, now) = (NewerTags::default(), Instant::now());
        tags.follow(wishes, now);
        while tags.ask_next(self, now, 0) {}
        let mut found = Vec::new();
        for known in tags.known {
            found.extend(known.found.map(|newer| (known.wish.reference, newer)));
        }
        found
    }

    /// Returns the version in use, and whether the version is the tag. Otherwise the image tells it.
    fn running_version(&self, wish: &Wish) -> Result<Option<(String, bool)>> {
        let reference = &wish.reference;
        let is_version = |text: &str| Newest::after_tag(text, wish.level).is_some();
        if let Some(tag) = reference.tag().filter(|tag| is_version(tag)) {
            return Ok(Some((tag.to_owned(), true)));
        }
        let image = self.engine.find_image(&wish.image_id)?;
        let version = image.and_then(|image| image.provenance().version);
        let version = version.filter(|version| is_version(version));
        if version.is_none() {
            debug(format_args!(
                "{reference}: neither its tag nor its image tells a version, so no newer one is looked for"
            ));
        }
        Ok(version.map(|version| (version, false)))
    }
}
