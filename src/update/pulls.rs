//! Pulls several images at the same time.
//!
//! All pulls come before the first update, because a container that is stopped may be the way to a registry. Pulls that
//! make no progress are not waited for: the containers of the other images are updated meanwhile.

use super::Order;
use super::Refresher;
use super::pull::Pulled;
use crate::error::Result;
use crate::journal::Step;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;
use crate::thread::Outlet;
use crate::thread::queue;
use crate::thread::start_within;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// Pulls at the same time.
const AT_ONCE: usize = 3;
/// Pulls without progress for this time are not waited for.
const STALLED: Duration = Duration::from_secs(15);

/// The end of one pull: the place of its target, and the image. `None` stands for an image that was built here.
pub(super) type End<'o> = (usize, Result<Option<Pulled<'o>>>);

impl Refresher {
    /// Pulls all targets of an order, whose digests may be known, and passes the ends of the pulls to `take`: all at once, or what is there while the rest
    /// makes no progress.
    #[cold]
    pub(super) fn pull_all<'o>(
        &self,
        targets: &'o [Target],
        order: (&Order, &HashMap<Reference, Digest>),
        on: &(dyn Fn(&Step) + Sync),
        mut take: impl FnMut(Vec<End<'o>>),
    ) {
        let progress = Mutex::new(Instant::now());
        let on_step = |step: &Step| {
            *progress.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            on(step);
        };
        let next = AtomicUsize::new(0);
        let seen = self.labelled(order.0.images.containers());
        let pull_next = || {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let target = targets.get(place)?;
            Some((place, self.pull_for(order, &seen, target, &on_step)))
        };
        if let [_] = targets {
            return take(pull_next().into_iter().collect());
        }
        let (inlet, outlet) = queue();
        std::thread::scope(|scope| {
            for _ in 0..targets.len().min(AT_ONCE) {
                let (inlet, pull_next) = (inlet.clone(), &pull_next);
                let work = move || {
                    while let Some(end) = pull_next() {
                        inlet.push(end);
                    }
                };
                if let Err(error) = start_within(scope, "pull", Box::new(work)) {
                    log::warn!("pull: cannot start another thread ({error}), going on with fewer");
                }
            }
            drop(inlet);
            let idle = || {
                let last = *progress.lock().unwrap_or_else(PoisonError::into_inner);
                last.elapsed()
            };
            while let Some(ends) = next_batch(&outlet, idle) {
                take(ends);
            }
        });
        // Some are left only if no thread could be started.
        let mut left: Vec<End> = std::iter::from_fn(pull_next).collect();
        if !left.is_empty() {
            take(std::mem::take(&mut left));
        }
    }
}

/// Returns all ends, or those that came before nothing went on for a while. Returns nothing once all were returned.
fn next_batch<'o>(outlet: &Outlet<End<'o>>, idle: impl Fn() -> Duration) -> Option<Vec<End<'o>>> {
    let mut ends = Vec::new();
    loop {
        let wait = STALLED
            .saturating_sub(idle())
            .max(Duration::from_millis(100));
        match outlet.pop_within(wait) {
            Some(end) => {
                let place = ends.partition_point(|(place, _): &End| *place < end.0);
                ends.insert(place, end);
            }
            None if outlet.is_abandoned() => break,
            None if !ends.is_empty() && idle() >= STALLED => break,
            None => {}
        }
    }
    (!ends.is_empty()).then_some(ends)
}
