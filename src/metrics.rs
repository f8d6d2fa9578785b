//! What Prometheus is told (text format 0.0.4; `docs/metrics.md` lists it all).
//!
//! Only what nobody else remembers is counted here. The rest is read from the very sources of
//! `/admin/status` at the moment it is asked for, so that the two cannot disagree.

mod page;

use crate::error::Error;
use crate::error::Result;
use crate::progress::Step;
use crate::registry::PutOff;
use crate::status::Snapshot;
use crate::status::Standing;
use crate::status::Worst;
use page::Page;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::UNIX_EPOCH;

/// The content type of [`Metrics::render`].
pub const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Hosts that are told apart. They come from images that the owner chose, but each of them is half a dozen
/// series in somebody's database for ever.
const HOSTS: usize = 64;
/// What the others are called together.
const OTHER_HOSTS: &str = "other";
/// What can come of a look-up.
const LOOKUPS: [&str; 5] = ["ok", "refused", "unreachable", "put_off", "malformed"];
/// What can come of a swap.
const SWAPS: [&str; 3] = ["recreated", "rolled_back", "failed"];
/// Upper bounds of the histogram of downtimes: milliseconds, and the same in seconds as text.
const BUCKETS: [(u64, &str); 9] = [
    (250, "0.25"),
    (500, "0.5"),
    (1_000, "1"),
    (2_500, "2.5"),
    (5_000, "5"),
    (10_000, "10"),
    (30_000, "30"),
    (60_000, "60"),
    (120_000, "120"),
];
/// Each state a reference can be in, and what it is called.
const STATES: [(Standing, &str); 6] = [
    (Standing::Current, "current"),
    (Standing::Local, "local"),
    (Standing::Outdated, "outdated"),
    (Standing::Refreshing, "refreshing"),
    (Standing::Rejected, "rejected"),
    (Standing::Unknown, "unknown"),
];

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// By host, in alphabetical order; what came of them in the order of [`LOOKUPS`].
    lookups: Vec<(String, [u64; LOOKUPS.len()])>,
    /// In the order of [`SWAPS`].
    swaps: [u64; SWAPS.len()],
    /// Downtimes that end in each of [`BUCKETS`], and not in one before it.
    downtimes: [u64; BUCKETS.len()],
    downtime_count: u64,
    downtime_sum: Duration,
}

impl Metrics {
    /// Counts a look-up at `host`.
    pub fn looked_up<T>(&self, host: &str, outcome: &Result<T>) {
        let column = match outcome {
            Ok(_) => 0,
            Err(Error::Refused { .. }) => 1,
            Err(Error::Unreachable { .. } | Error::GivenUp { .. }) => 2,
            Err(Error::PutOff { .. }) => 3,
            Err(Error::Malformed { .. } | Error::Reference { .. }) => 4,
        };
        let mut counters = self.lock();
        let lookups = &mut counters.lookups;
        let place_of = |host: &str| lookups.binary_search_by(|(other, _)| (**other).cmp(host));
        let (place, host) = match place_of(host) {
            Err(_) if lookups.len() >= HOSTS => (place_of(OTHER_HOSTS), OTHER_HOSTS),
            place => (place, host),
        };
        let place = place.unwrap_or_else(|free| {
            lookups.insert(free, (host.to_owned(), Default::default()));
            free
        });
        lookups[place].1[column] += 1;
    }

    /// Counts a step if it ends a swap.
    pub fn note(&self, step: &Step) {
        let mut counters = self.lock();
        match step {
            Step::Recreated {
                downtime_seconds, ..
            } => {
                counters.swaps[0] += 1;
                if let Some(seconds) = downtime_seconds {
                    counters.observe(Duration::try_from_secs_f64(*seconds).unwrap_or_default());
                }
            }
            Step::RolledBack { .. } => counters.swaps[1] += 1,
            Step::Skipped { failed: true, .. } => counters.swaps[2] += 1,
            _ => {}
        }
    }

    /// Everything, as text, in alphabetical order. `rejected` is the number of rejected images.
    #[must_use]
    pub fn render(&self, snapshot: &Snapshot, put_offs: &[PutOff], rejected: usize) -> String {
        let counters = self.lock();
        let mut page = Page::default();
        page.gauge("build_info", "The version that runs; always 1.");
        page.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        counters.render_downtimes(&mut page);
        counters.render_lookups(&mut page);
        render_references(snapshot, &mut page);
        render_refreshes(snapshot, &mut page);
        render_put_offs(put_offs, &mut page);
        page.gauge(
            "rejected_digests",
            "Images that did not come up and are not tried again.",
        );
        page.sample("", &[], rejected as u64);
        page.counter("rounds_total", "Rounds of the watcher that were begun.");
        page.sample("", &[], snapshot.watcher.rounds);
        counters.render_swaps(&mut page);
        render_watcher(snapshot, &mut page);
        page.text()
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    fn observe(&mut self, downtime: Duration) {
        let millis = downtime.as_millis();
        let bucket = BUCKETS
            .iter()
            .position(|(bound, _)| millis <= u128::from(*bound));
        if let Some(bucket) = bucket {
            self.downtimes[bucket] += 1;
        }
        self.downtime_count += 1;
        self.downtime_sum = self.downtime_sum.saturating_add(downtime);
    }

    fn render_downtimes(&self, page: &mut Page) {
        page.histogram(
            "downtime_seconds",
            "How long containers were not running while they were replaced.",
        );
        let mut below = 0;
        for ((_, bound), count) in BUCKETS.iter().zip(self.downtimes) {
            below += count;
            page.sample("_bucket", &[("le", bound)], below);
        }
        page.sample("_bucket", &[("le", "+Inf")], self.downtime_count);
        page.seconds("_sum", self.downtime_sum);
        page.sample("_count", &[], self.downtime_count);
    }

    fn render_lookups(&self, page: &mut Page) {
        page.counter(
            "lookups_total",
            "Look-ups of a tag's digest, by registry host and what came of them.",
        );
        for (host, counts) in &self.lookups {
            for (outcome, count) in LOOKUPS.iter().zip(counts) {
                page.sample("", &[("host", host), ("outcome", outcome)], *count);
            }
        }
    }

    fn render_swaps(&self, page: &mut Page) {
        page.counter(
            "swaps_total",
            "Containers that were to be replaced, by what came of it.",
        );
        for (outcome, count) in SWAPS.iter().zip(self.swaps) {
            page.sample("", &[("outcome", outcome)], count);
        }
    }
}

fn render_references(snapshot: &Snapshot, page: &mut Page) {
    page.gauge(
        "reference_outdated",
        "Whether the registry has a newer image of a watched reference than is taken.",
    );
    for entry in &snapshot.references {
        // While it is tried again it is as outdated as before: no gap for an alert's patience.
        let outdated = matches!(
            entry.state,
            Standing::Outdated | Standing::Refreshing | Standing::Rejected
        );
        let labels = [("name", &*entry.name), ("reference", &*entry.reference)];
        page.sample("", &labels, u64::from(outdated));
    }
    page.gauge("references", "Watched references, by state.");
    for (standing, name) in STATES {
        let entries = snapshot.references.iter();
        let count = entries.filter(|entry| entry.state == standing).count();
        page.sample("", &[("state", name)], count as u64);
    }
}

fn render_refreshes(snapshot: &Snapshot, page: &mut Page) {
    page.counter(
        "refreshes_total",
        "Refreshes, by the worst that came of any of their images.",
    );
    for ((_, outcome), count) in Worst::ALL.iter().zip(snapshot.refreshes_by_outcome) {
        page.sample("", &[("outcome", outcome)], count);
    }
}

fn render_put_offs(put_offs: &[PutOff], page: &mut Page) {
    page.gauge(
        "registry_put_off",
        "Registry hosts that are left alone for a while; 1 for each.",
    );
    for one in put_offs {
        page.sample("", &[("host", &one.host)], 1);
    }
}

/// Only where there is a watcher: a time of 0 would look like one that stalled long ago.
fn render_watcher(snapshot: &Snapshot, page: &mut Page) {
    let watcher = &snapshot.watcher;
    if !watcher.enabled {
        return;
    }
    page.gauge(
        "watcher_interval_seconds",
        "Time between two rounds of the watcher.",
    );
    page.seconds("", watcher.clock.interval);
    let begun = watcher.clock.last_round;
    if let Some(since) = begun.and_then(|then| then.duration_since(UNIX_EPOCH).ok()) {
        page.gauge(
            "watcher_last_round_timestamp_seconds",
            "When the last round of the watcher began, in seconds since 1970.",
        );
        page.sample("", &[], since.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Board;

    fn recreated(downtime_seconds: Option<f64>) -> Step {
        Step::Recreated {
            container: "web".to_owned(),
            image: "nginx:latest".to_owned(),
            old: "sha256:1".to_owned(),
            new: "sha256:2".to_owned(),
            downtime_seconds,
        }
    }

    fn skipped(failed: bool) -> Step {
        Step::Skipped {
            container: "web".to_owned(),
            image: "nginx:latest".to_owned(),
            new: "sha256:2".to_owned(),
            reason: "no".to_owned(),
            failed,
        }
    }

    fn render(metrics: &Metrics, board: &Board) -> String {
        metrics.render(&board.snapshot(), &[], 0)
    }

    /// Fails unless the page has each of these lines.
    #[track_caller]
    fn has(page: &str, lines: &[&str]) {
        for line in lines {
            let found = page
                .lines()
                .any(|other| other == format!("imagewatch_{line}"));
            assert!(found, "no {line} in\n{page}");
        }
    }

    #[test]
    fn swaps_and_their_downtimes_are_counted() {
        let metrics = Metrics::default();
        for downtime in [Some(0.25), Some(0.7), Some(500.0), None] {
            metrics.note(&recreated(downtime));
        }
        metrics.note(&skipped(true));
        metrics.note(&skipped(false));
        metrics.note(&Step::Alive);
        has(
            &render(&metrics, &Board::default()),
            &[
                "swaps_total{outcome=\"recreated\"} 4",
                "swaps_total{outcome=\"rolled_back\"} 0",
                "swaps_total{outcome=\"failed\"} 1",
                "downtime_seconds_bucket{le=\"0.25\"} 1",
                "downtime_seconds_bucket{le=\"0.5\"} 1",
                "downtime_seconds_bucket{le=\"1\"} 2",
                "downtime_seconds_bucket{le=\"120\"} 2",
                "downtime_seconds_bucket{le=\"+Inf\"} 3",
                "downtime_seconds_sum 500.950",
                "downtime_seconds_count 3",
            ],
        );
    }

    #[test]
    fn look_ups_are_counted_by_host_and_there_is_an_end_to_hosts() {
        let metrics = Metrics::default();
        for number in 0..HOSTS + 2 {
            metrics.looked_up(&format!("{number}.example"), &Ok(()));
        }
        let error = Error::Unreachable {
            request: "HEAD x".to_owned(),
            reason: "no answer in time".to_owned(),
        };
        metrics.looked_up::<()>("0.example", &Err(error));
        let page = render(&metrics, &Board::default());
        has(
            &page,
            &[
                "lookups_total{host=\"0.example\",outcome=\"ok\"} 1",
                "lookups_total{host=\"0.example\",outcome=\"unreachable\"} 1",
                "lookups_total{host=\"0.example\",outcome=\"refused\"} 0",
                "lookups_total{host=\"other\",outcome=\"ok\"} 2",
            ],
        );
        let of_hosts = page.lines().filter(|line| line.contains("{host=")).count();
        assert_eq!(of_hosts, (HOSTS + 1) * LOOKUPS.len());
    }

    #[test]
    fn without_a_watcher_nothing_is_said_of_its_clock() {
        let board = Board::default();
        let page = render(&Metrics::default(), &board);
        has(&page, &["rounds_total 0"]);
        assert!(!page.contains("watcher_"), "{page}");
        board.watcher_started(Duration::from_millis(1500));
        board.round_started();
        let page = render(&Metrics::default(), &board);
        has(&page, &["rounds_total 1", "watcher_interval_seconds 1.500"]);
        assert!(page.contains("imagewatch_watcher_last_round_timestamp_seconds "));
    }
}
