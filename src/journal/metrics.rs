//! Metrics for Prometheus (text format 0.0.4). `docs/metrics.md` lists them all.
//!
//! Only look-ups and swaps are counted here, because nothing else remembers them. All other metrics are read
//! from the sources of `/admin/status` at each request, so that metrics and status cannot disagree.

mod text_format;

use super::event::Outcome;
use super::event::Step;
use super::put_off::PutOff;
use super::replicas::Replicas;
use super::standing::Standing;
use super::status::Snapshot;
use super::status::Worst;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::UNIX_EPOCH;
use text_format::Page;

/// The content type of [`Metrics::render`].
pub const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The most hosts with metrics of their own. The owner's images name the hosts, but each host adds half a
/// dozen series to a database for ever.
const HOSTS: usize = 64;
/// The name of all further hosts together.
const OTHER_HOSTS: &str = "other";
/// The outcomes of a look-up.
const LOOKUPS: [&str; 5] = ["ok", "refused", "unreachable", "put_off", "malformed"];
/// The outcomes of a swap.
const SWAPS: [&str; 3] = ["recreated", "rolled_back", "failed"];
/// The outcomes of a verification.
pub const VERIFICATIONS: [&str; 4] = ["verified", "unsigned", "badly_signed", "failed"];
/// The senders of push hooks.
pub const HOOK_SENDERS: [&str; 10] = [
    "unknown",
    "github",
    "gitea",
    "docker_hub",
    "quay",
    "distribution",
    "acr",
    "ecr",
    "harbor",
    "generic",
];
/// The outcomes of a push hook.
const HOOKS: [&str; 3] = ["checked", "ignored", "refused"];
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

/// Everything that is counted here.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// Look-ups by host, in alphabetical order. The outcomes have the order of [`LOOKUPS`].
    lookups: Vec<(String, [u64; LOOKUPS.len()])>,
    /// Swaps by outcome, in the order of [`SWAPS`].
    swaps: [u64; SWAPS.len()],
    /// Push hooks by sender and outcome, in the order of [`HOOK_SENDERS`] and [`HOOKS`].
    hooks: [[u64; HOOKS.len()]; HOOK_SENDERS.len()],
    /// The number of downtimes in each of [`BUCKETS`] alone.
    downtimes: [u64; BUCKETS.len()],
    downtime_count: u64,
    downtime_sum: Duration,
}

impl Metrics {
    /// Counts a look-up at `host`.
    pub fn looked_up<T>(&self, host: &str, outcome: &Result<T>) {
        let column = match outcome.as_ref().map_err(Error::kind) {
            Ok(_) => 0,
            Err(Kind::Refused { .. } | Kind::NotStarted { .. }) => 1,
            Err(Kind::Unreachable | Kind::GivenUp) => 2,
            Err(Kind::PutOff { .. }) => 3,
            Err(Kind::Malformed | Kind::Reference | Kind::Unverified { .. }) => 4,
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

    /// Counts a push hook, by the places of its sender and its outcome.
    pub fn hooked(&self, sender: usize, outcome: usize) {
        self.lock().hooks[sender][outcome] += 1;
    }

    /// Counts a step that ends a swap.
    pub fn record(&self, step: &Step) {
        let Some(event) = step.event() else { return };
        let place = match event.outcome {
            Outcome::Recreated | Outcome::Restored => 0,
            Outcome::RolledBack => 1,
            Outcome::Skipped | Outcome::Down => 2,
            Outcome::PullFailed
            | Outcome::LeftAlone
            | Outcome::Behind
            | Outcome::Back
            | Outcome::Newer
            | Outcome::Unsigned
            | Outcome::BadlySigned
            | Outcome::Decided => return,
        };
        let mut counters = self.lock();
        counters.swaps[place] += 1;
        if let Some(seconds) = event.downtime_seconds {
            counters.observe(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        }
    }

    /// Prints all metrics, in alphabetical order. `rejected` and `down` are the numbers of rejected images and of
    /// containers that are down; `verifications` those of [`VERIFICATIONS`].
    #[must_use]
    pub fn render(
        &self,
        snapshot: &Snapshot,
        put_offs: &[PutOff],
        rejected: usize,
        down: usize,
        verifications: &[u64; VERIFICATIONS.len()],
        services: &[Replicas],
    ) -> String {
        let counters = self.lock();
        let mut page = Page::default();
        page.gauge("build_info", "The version that runs; always 1.");
        page.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        page.gauge(
            "containers_down",
            "Containers that do not run because their swap could not be undone.",
        );
        page.sample("", &[], down as u64);
        counters.render_downtimes(&mut page);
        counters.render_hooks(&mut page);
        counters.render_lookups(&mut page);
        render_references(snapshot, &mut page);
        render_refreshes(snapshot, &mut page);
        render_put_offs(put_offs, &mut page);
        page.gauge(
            "rejected_digests",
            "Images that did not come up and are not tried again.",
        );
        page.sample("", &[], rejected as u64);
        page.counter("rounds_total", "Rounds of the watcher since the start.");
        page.sample("", &[], snapshot.watcher.rounds);
        render_services(services, &mut page);
        counters.render_swaps(&mut page);
        page.counter(
            "verifications_total",
            "Searches for the signature of an image, by outcome.",
        );
        for (outcome, count) in VERIFICATIONS.iter().zip(verifications) {
            page.sample("", &[("outcome", outcome)], *count);
        }
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
            "How long containers did not run during a swap.",
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
            "Look-ups of a tag's digest, by registry host and outcome.",
        );
        for (host, counts) in &self.lookups {
            for (outcome, count) in LOOKUPS.iter().zip(counts) {
                page.sample("", &[("host", host), ("outcome", outcome)], *count);
            }
        }
    }

    /// Prints only those that came, and those that were refused.
    fn render_hooks(&self, page: &mut Page) {
        page.counter("hooks_total", "Push hooks, by sender and outcome.");
        for (sender, counts) in HOOK_SENDERS.iter().zip(self.hooks) {
            for (outcome, count) in HOOKS.iter().zip(counts) {
                if count > 0 || (*sender, *outcome) == ("unknown", "refused") {
                    page.sample("", &[("outcome", outcome), ("sender", sender)], count);
                }
            }
        }
    }

    fn render_swaps(&self, page: &mut Page) {
        page.counter("swaps_total", "Swaps of containers, by outcome.");
        for (outcome, count) in SWAPS.iter().zip(self.swaps) {
            page.sample("", &[("outcome", outcome)], count);
        }
    }
}

fn render_services(services: &[Replicas], page: &mut Page) {
    page.gauge(
        "service_tasks",
        "Tasks of managed Swarm services at the last look: those that run, and those that should.",
    );
    for one in services {
        for (state, count) in [("running", one.running), ("wanted", one.wanted)] {
            page.sample("", &[("service", &one.service), ("state", state)], count);
        }
    }
}

fn render_references(snapshot: &Snapshot, page: &mut Page) {
    page.gauge(
        "reference_outdated",
        "Whether a watched reference is outdated: 1 if the registry has a newer image.",
    );
    for entry in &snapshot.references {
        // A reference stays outdated while it is refreshed. A gap would restart the waiting time of an alert. One whose
        // update waits is as its owner wants it.
        let outdated = matches!(
            entry.state,
            Standing::Outdated
                | Standing::Unsigned
                | Standing::BadlySigned
                | Standing::Refreshing
                | Standing::Rejected
        );
        let labels = [("name", &*entry.name), ("reference", &*entry.reference)];
        page.sample("", &labels, u64::from(outdated));
    }
    page.gauge("references", "Watched references, by state.");
    // A failed look-up is not a state here: the state before it still counts.
    let states = Standing::ALL.into_iter();
    for (standing, name) in states.filter(|(standing, _)| *standing != Standing::Failed) {
        let entries = snapshot.references.iter();
        let count = entries.filter(|entry| entry.state == standing).count();
        page.sample("", &[("state", name)], count as u64);
    }
}

fn render_refreshes(snapshot: &Snapshot, page: &mut Page) {
    page.counter(
        "refreshes_total",
        "Refreshes, by the worst outcome of their images.",
    );
    for ((_, outcome), count) in Worst::ALL.iter().zip(snapshot.refreshes_by_outcome) {
        page.sample("", &[("outcome", outcome)], count);
    }
}

fn render_put_offs(put_offs: &[PutOff], page: &mut Page) {
    page.gauge(
        "registry_put_off",
        "Registry hosts that are put off; 1 for each host.",
    );
    for one in put_offs {
        page.sample("", &[("host", &one.host)], 1);
    }
}

/// Prints the watcher's clock, if there is a watcher. A time of 0 would look like a watcher that stalled long
/// ago.
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
    use crate::journal::Event;
    use crate::journal::status::Board;

    fn recreated(downtime: Option<f64>) -> Step {
        let event = Event::of(Outcome::Recreated, "web", "nginx:latest");
        let downtime = downtime.map(Duration::from_secs_f64);
        Step::Outcome(event.from_to("sha256:1", "sha256:2").after(downtime))
    }

    fn skipped(outcome: Outcome) -> Step {
        let event = Event::of(outcome, "web", "nginx:latest");
        Step::Outcome(event.to("sha256:2").because("no"))
    }

    fn render(metrics: &Metrics, board: &Board) -> String {
        let web = Replicas {
            service: "web".to_owned(),
            running: 2,
            wanted: 3,
        };
        metrics.render(&board.snapshot(), &[], 0, 0, &[0; 4], &[web])
    }

    /// Asserts that the page has each of these lines.
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
            metrics.record(&recreated(downtime));
        }
        metrics.record(&skipped(Outcome::Skipped));
        metrics.record(&skipped(Outcome::LeftAlone));
        metrics.record(&Step::Alive);
        let tasks = [
            "service_tasks{service=\"web\",state=\"running\"} 2",
            "service_tasks{service=\"web\",state=\"wanted\"} 3",
        ];
        has(&render(&metrics, &Board::default()), &tasks);
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
        let error = Error::unreachable("HEAD x", "no answer in time");
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
