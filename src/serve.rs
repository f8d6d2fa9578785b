//! `imagewatch serve`: introduces everybody to everybody, then waits for the signal to stop.
//!
//! Threads: `admin` and those of its guard, `health` and `status` (questions to the Engine that
//! callers must not wait for), `refresh` (the only one that changes containers), `notify` (one for
//! each receiver of messages), `watcher` (and a short-lived `look-up` for each registry host where
//! there are several).

use crate::admin::Admin;
use crate::admin::guard::Guard;
use crate::clerk::Clerk;
use crate::config::Config;
use crate::debug::debug;
use crate::engine::Deadlines;
use crate::error::Result;
use crate::history::History;
use crate::jobs::Asker;
use crate::jobs::Jobs;
use crate::jobs::Worker;
use crate::kit::Kit;
use crate::metrics::Metrics;
use crate::notify;
use crate::notify::Notifier;
use crate::preflight::Preflight;
use crate::progress::Step;
use crate::queue::Outlet;
use crate::queue::queue;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::refresh::Extent;
use crate::refresh::Images;
use crate::refresh::Order;
use crate::refresh::Refresher;
use crate::refresh::Target;
use crate::refresh::Verdict;
use crate::registry;
use crate::registry::Registry;
use crate::select;
use crate::select::Seen;
use crate::status::Board;
use crate::stop;
use crate::swap;
use crate::swap::Recovered;
use crate::time::print_duration;
use crate::watch::FirstSight;
use crate::watch::Hands;
use crate::watch::Pending;
use crate::watch::Watcher;
use crate::watch::with_jitter;
use signal_hook::iterator::Signals;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::Builder;
use std::time::Duration;
use std::time::Instant;

/// How long callers that wait for the report of an interrupted refresh have to get it.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long messages that are on their way have to arrive.
const LAST_MESSAGES: Duration = Duration::from_millis(400);

/// Between two tries to settle what could not be: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Runs until a signal says to stop.
///
/// # Errors
/// Why it cannot start, on one line.
pub fn serve(config: &Config) -> std::result::Result<(), String> {
    // Before any thread is spawned, so that none of them is met by a signal unprepared.
    let mut signals = Signals::new(stop::signals()).map_err(|error| format!("signals: {error}"))?;
    let running = Running::start(config, Deadlines::default())?;
    let signal = signals.forever().next();
    debug(format_args!("signal {signal:?}"));
    running.stop();
    Ok(())
}

/// Everything at work.
pub struct Running {
    parts: Parts,
    finished: Outlet<()>,
    is_watching: bool,
    address: Option<SocketAddr>,
}

impl Running {
    /// Starts all threads, with these deadlines for the Engine.
    ///
    /// # Errors
    /// Why it cannot start, on one line.
    pub fn start(config: &Config, deadlines: Deadlines) -> std::result::Result<Self, String> {
        let parts = Parts::of(config, deadlines)?;
        let (jobs, worker) = Jobs::new();
        let finished = parts.spawn_worker(config, worker)?;
        let address = match config.listen {
            Some(address) => Some(parts.spawn_admin(config, address, &jobs)?),
            None => None,
        };
        if config.auto_refresh {
            parts.spawn_watcher(config, jobs)?;
        } else {
            parts.board.watch(&parts.kit.refresher.catalogue);
            log::info!("watcher off (IMAGE_AUTO_REFRESH=true switches it on)");
        }
        Ok(Self {
            parts,
            finished,
            is_watching: config.auto_refresh,
            address,
        })
    }

    /// Where the admin endpoint listens, if it does.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits for the swap in progress, and for whoever has something to say still.
    pub fn stop(&self) {
        if self.is_watching {
            log::info!("image-auto-refresh: stopping");
        }
        self.parts.kit.gate.close();
        let _ = self.finished.pop_within(LAST_WORDS);
        self.parts.notifier.finish(LAST_MESSAGES);
        self.parts.history.close();
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running")
    }
}

/// What the threads share.
struct Parts {
    kit: Kit,
    notifier: Arc<Notifier>,
    board: Arc<Board>,
    history: Arc<History>,
    metrics: Arc<Metrics>,
}

impl Parts {
    fn of(config: &Config, deadlines: Deadlines) -> std::result::Result<Self, String> {
        let history = Arc::new(History::open(config.state.as_deref())?);
        let kit = Kit::with_deadlines(config, deadlines, Arc::clone(history.rejected()));
        let notifier = Notifier::start(
            &config.receivers,
            config.certificates.as_deref(),
            &config.proxies,
            notify::PAUSES,
        )
        .map_err(|error| format!("thread notify: {error}"))?;
        Ok(Self {
            kit,
            notifier: Arc::new(notifier),
            board: Arc::new(Board::default()),
            history,
            metrics: Arc::new(Metrics::default()),
        })
    }

    /// The thread that does refreshes. What is answered closes when a refresh that was cut short
    /// by a stop has been reported.
    fn spawn_worker(
        &self,
        config: &Config,
        worker: Worker,
    ) -> std::result::Result<Outlet<()>, String> {
        let (board, gate) = (Arc::clone(&self.board), Arc::clone(&self.kit.gate));
        let (refresher, history) = (Arc::clone(&self.kit.refresher), Arc::clone(&self.history));
        let metrics = Arc::clone(&self.metrics);
        let notifier = Arc::clone(&self.notifier);
        let (inlet, finished) = queue();
        let mut recovery = Recovery {
            is_watched: config.auto_refresh,
            ..Recovery::default()
        };
        let mut preflight = Preflight::default();
        let work = move || {
            let note = |step: &Step| {
                board.alive();
                notifier.note(step);
                history.note(step);
                metrics.note(step);
            };
            worker.work(
                &board,
                |order, on| {
                    let outcomes = refresher.run(order, &|step| {
                        note(step);
                        on(step);
                    });
                    history.settle();
                    outcomes
                },
                || {
                    if gate.is_closed() {
                        inlet.push(());
                    }
                },
                // Nobody's container waits for the preflight.
                || {
                    recovery.is_needed_again(&refresher, &note)
                        | preflight.is_needed_again(&refresher)
                },
            );
        };
        spawn("refresh", work)?;
        Ok(finished)
    }

    fn spawn_admin(
        &self,
        config: &Config,
        address: SocketAddr,
        jobs: &Jobs,
    ) -> std::result::Result<SocketAddr, String> {
        let clerk = |name: &str| Clerk::start(name).map_err(|error| format!("{name}: {error}"));
        let admin = Arc::new(Admin {
            token: config.admin_token.clone(),
            catalogue: self.kit.refresher.catalogue.clone(),
            jobs: jobs.clone(),
            board: Arc::clone(&self.board),
            history: Arc::clone(&self.history),
            metrics: Arc::clone(&self.metrics),
            engine: Arc::clone(&self.kit.engine),
            registry: Arc::clone(&self.kit.registry),
            selection: self.kit.refresher.selection.clone(),
            health_clerk: clerk("health")?,
            status_clerk: clerk("status")?,
            last_ping: Mutex::new(None),
        });
        let guard = Guard::bind(address).map_err(|error| {
            format!("IMAGEWATCH_LISTEN={address}: {error} (is another one running?)")
        })?;
        let address = guard.local_addr();
        log::info!("listening on http://{address}");
        spawn("listener", move || {
            let outcome = guard.serve(move |request| admin.handle(request));
            // Without its endpoint the program is not what its owner runs it for; the restart
            // policy is the way back.
            log::error!("the admin endpoint ended: {outcome:?}");
            std::process::exit(1);
        })?;
        Ok(address)
    }

    fn spawn_watcher(&self, config: &Config, jobs: Jobs) -> std::result::Result<(), String> {
        let hands = Wired {
            registry: Arc::clone(&self.kit.registry),
            metrics: Arc::clone(&self.metrics),
            refresher: Arc::clone(&self.kit.refresher),
            jobs,
            seen: Mutex::new(Vec::new()),
            half_done: Mutex::new(Vec::new()),
        };
        let first_sight = if config.catch_up {
            FirstSight::CatchUp
        } else {
            FirstSight::Seed
        };
        let (board, gate) = (Arc::clone(&self.board), Arc::clone(&self.kit.gate));
        let catalogue = self.kit.refresher.catalogue.clone();
        let mut watcher = Watcher::new(hands, first_sight, Arc::clone(&board), catalogue);
        let interval = config.interval;
        board.watcher_started(interval);
        log::info!(
            "image-auto-refresh: started (interval={}, runtimes={})",
            print_duration(interval),
            config.runtimes.len()
        );
        spawn("watcher", move || {
            while !gate.is_closed() {
                if catch_unwind(AssertUnwindSafe(|| watcher.tick())).is_err() {
                    log::error!("a bug ended this round of the watcher; the next one comes");
                }
                let wait = with_jitter(interval);
                board.round_finished(wait);
                std::thread::sleep(wait);
            }
        })
    }
}

/// What earlier processes left half done is settled before anything else: as soon as the Engine can
/// be reached, and once more a moment later, because a dead process's last call may still have been
/// under way. The same after each refresh, should an answer of the Engine have been lost in it, and now and then
/// in between. What cannot be settled is tried again, for as long as that takes.
#[derive(Default)]
struct Recovery {
    /// Whether there is a watcher, which complains of an Engine that is away.
    is_watched: bool,
    passes: u32,
    complaint: String,
    /// How long the last pause was, and when it ends, while something is left.
    pause: Option<(Duration, Instant)>,
}

impl Recovery {
    fn is_needed_again(&mut self, refresher: &Refresher, note: &dyn Fn(&Step)) -> bool {
        if self.pause.is_some_and(|(_, end)| Instant::now() < end) {
            return true;
        }
        let Refresher {
            engine,
            acceptance,
            gate,
            ..
        } = refresher;
        match swap::recover(engine, *acceptance, gate, note) {
            Ok(Recovered::All) => {
                self.pause = None;
                self.complaint.clear();
                self.passes += 1;
                self.passes < 2
            }
            Ok(Recovered::Held) => true,
            Ok(left @ Recovered::Left(_)) => {
                if self.is_news(format!("{left:?}")) {
                    left.tell();
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
                // What is forbidden, the preflight names.
                if is_news && !self.is_watched && !is_denied {
                    log::warn!("{words}");
                } else if is_news {
                    debug(format_args!("{words}"));
                }
                true
            }
        }
    }

    /// Whether this is not what was complained of last.
    fn is_news(&mut self, complaint: String) -> bool {
        let is_news = complaint != self.complaint;
        self.complaint = complaint;
        is_news
    }
}

/// The watcher's hands, for real.
struct Wired {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    refresher: Arc<Refresher>,
    jobs: Jobs,
    /// The selected containers, at the beginning of this round.
    seen: Mutex<Vec<Seen>>,
    /// What was in mid-swap then.
    half_done: Mutex<Vec<Reference>>,
}

impl Hands for Wired {
    /// The catalogue, and whatever else the managed containers were made from.
    fn targets(&self) -> Result<Vec<Target>> {
        let refresher = &self.refresher;
        let list = refresher.engine.containers()?;
        let seen = refresher.selection.seen_among(&list, &refresher.engine)?;
        let targets = refresher.watched(&seen);
        let half_done = select::in_mid_swap(&list, &refresher.engine)?;
        *self
            .half_done
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = half_done.into_values().collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(targets)
    }

    fn look_up(&self, references: &[Reference], sink: &mut dyn FnMut(&Reference, Result<Digest>)) {
        self.registry.digests(references, |reference, outcome| {
            let host = registry::api_host(reference.registry());
            self.metrics.looked_up(host, &outcome);
            sink(reference, outcome);
        });
    }

    fn is_behind(&self, reference: &Reference, digest: &Digest) -> Result<bool> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresher.is_behind(reference, digest, &seen)
    }

    fn is_in_mid_swap(&self, reference: &Reference) -> bool {
        let half_done = self.half_done.lock();
        half_done
            .unwrap_or_else(PoisonError::into_inner)
            .contains(reference)
    }

    fn rejection(&self, reference: &Reference, digest: &Digest) -> Result<Option<String>> {
        self.refresher.rejection(reference, digest)
    }

    fn may_be_rejected(&self, reference: &Reference) -> bool {
        self.refresher.rejected.concern(reference)
    }

    fn is_local(&self, reference: &Reference) -> Result<bool> {
        self.refresher.is_local(reference)
    }

    fn refresh(&self, target: &Target, digest: &Digest) -> Pending {
        let reference = target.reference.clone();
        let order = Order {
            images: Images::Moved(vec![(target.clone(), digest.clone())]),
            extent: Extent::Recreate,
        };
        let answer = self.jobs.begin(order, Asker::Watcher);
        Box::new(move || match answer.pop() {
            Some(Ok(outcomes)) => outcomes.verdict(&reference),
            Some(Err(reason)) => Verdict::Retry(reason),
            None => Verdict::Retry("imagewatch is stopping".to_owned()),
        })
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::result::Result<(), String> {
    let thread = Builder::new().name(name.to_owned());
    thread
        .spawn(work)
        .map(drop)
        .map_err(|error| format!("thread {name}: {error}"))
}
