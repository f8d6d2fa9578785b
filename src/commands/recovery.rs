//! Recovers half-done swaps beside the refreshes of the server.

use crate::journal::Down;
use crate::journal::Step;
use crate::logging::debug;
use crate::swap;
use crate::swap::Recovered;
use crate::update::Refresher;
use std::time::Duration;
use std::time::Instant;

/// The first pause between two tries to recover a swap, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Recovers swaps that earlier processes left half done, before any refresh. A second pass follows a moment later,
/// because the last call of a killed process may still have been under way.
///
/// A pass also follows each refresh, in case an answer of the Engine was lost in it, and comes now and then in
/// between. A swap that cannot be recovered is tried again without end.
pub(super) struct Recovery {
    /// Whether there is a watcher, which logs when the Engine is away.
    is_watched: bool,
    passes: u32,
    complaint: String,
    /// The length and the end of the current pause, while a swap is left half done.
    pause: Option<(Duration, Instant)>,
}

impl Recovery {
    pub(super) fn new(is_watched: bool) -> Self {
        Self {
            is_watched,
            passes: 0,
            complaint: String::new(),
            pause: None,
        }
    }

    /// Makes one pass, unless a pause is on. Returns whether to call again a moment later.
    pub(super) fn is_needed_again(
        &mut self,
        refresher: &Refresher,
        down: &Down,
        note: &(dyn Fn(&Step) + Sync),
    ) -> bool {
        if self.pause.is_some_and(|(_, end)| Instant::now() < end) {
            return true;
        }
        let Refresher {
            engine,
            acceptance,
            shutdown,
            ..
        } = refresher;
        match swap::recover(engine, *acceptance, shutdown, note) {
            Ok(Recovered::All) => {
                down.keep_only(&[]);
                self.pause = None;
                self.complaint.clear();
                self.passes += 1;
                self.passes < 2
            }
            Ok(Recovered::Held) => true,
            Ok(Recovered::Left(left)) => {
                let names = left.iter().flat_map(|one| &one.down);
                down.keep_only(&names.map(String::as_str).collect::<Vec<_>>());
                let is_news = self.is_news(format!("{left:?}"));
                if is_news {
                    Recovered::Left(left).log();
                }
                let last = self.pause.map_or(FIRST_PAUSE, |(last, _)| last * 2);
                let pause = last.min(LONGEST_PAUSE);
                self.pause = Some((pause, Instant::now() + pause));
                true
            }
            Err(error) => {
                let is_denied = error.is_denied();
                let words = format!("cannot look for half-done swaps yet: {error}");
                let is_news = self.is_news(words.clone());
                // The preflight logs forbidden calls.
                if is_news && !self.is_watched && !is_denied {
                    log::warn!("{words}");
                } else if is_news {
                    debug(format_args!("{words}"));
                }
                true
            }
        }
    }

    /// Whether the complaint differs from the last one.
    fn is_news(&mut self, complaint: String) -> bool {
        let is_news = complaint != self.complaint;
        self.complaint = complaint;
        is_news
    }
}
