//! `imagewatch serve`: starts all threads, then waits for a signal to stop.
//!
//! | thread | work |
//! |---|---|
//! | `listener`, `admin`, and those of the guard | the admin endpoint |
//! | `health`, `status` | questions to the Engine that callers must not wait for |
//! | `check` | a check or a decision that asks a registry, while it runs |
//! | `refresh` | the only thread that changes containers |
//! | `notify` | one for each receiver of messages |
//! | `watcher` | rounds, with a short-lived `look-up` thread for each registry host if there are several |

use super::backend::LiveBackend;
use super::check::look;
use super::plan::outline;
use super::preflight::Preflight;
use super::recovery::Recovery;
use super::signals;
use super::wiring::Wiring;
use crate::admin::Admin;
use crate::admin::Guard;
use crate::admin::Tokens;
use crate::config::Config;
use crate::engine::Deadlines;
use crate::journal::Board;
use crate::journal::Down;
use crate::journal::History;
use crate::journal::Metrics;
use crate::journal::Standing;
use crate::journal::Step;
use crate::logging::debug;
use crate::notify::Host;
use crate::notify::Notifier;
use crate::notify::Timing;
use crate::thread::Executor;
use crate::thread::Outlet;
use crate::thread::queue;
use crate::thread::start;
use crate::time::print_duration;
use crate::update::Backlog;
use crate::update::Jobs;
use crate::update::Pushes;
use crate::update::Refresher;
use crate::update::Server;
use crate::update::Worker;
use crate::watch::FirstSight;
use crate::watch::Schedule;
use crate::watch::Watcher;
use crate::watch::random;
use signal_hook::iterator::Signals;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

/// The time for callers to get the report of an interrupted refresh.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// The time for the last messages to arrive.
const LAST_MESSAGES: Duration = Duration::from_millis(600);

/// Runs the server until a signal asks it to stop.
///
/// # Errors
/// Why the server cannot start, on one line.
pub fn serve(config: &Config) -> std::result::Result<(), String> {
    // Before any thread starts, so that no signal finds the program without a handler.
    let mut signals =
        Signals::new(signals::signals()).map_err(|error| format!("signals: {error}"))?;
    let running = Running::start(config, Deadlines::default())?;
    let signal = signals.forever().next();
    debug(format_args!("signal {signal:?}"));
    running.stop();
    Ok(())
}

/// A server that runs.
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
    /// Why the server cannot start, on one line.
    pub fn start(config: &Config, deadlines: Deadlines) -> std::result::Result<Self, String> {
        let parts = Parts::of(config, deadlines)?;
        let (jobs, worker) = Jobs::new();
        let finished = parts.spawn_worker(config, worker, jobs.backlog())?;
        let address = match config.listen {
            Some(address) => Some(parts.spawn_admin(config, address, &jobs)?),
            None => None,
        };
        if config.auto_refresh {
            parts.spawn_watcher(config, jobs)?;
        } else {
            parts.board.watch(&parts.wiring.refresher.watched(&[]));
            log::info!("watcher off (IMAGE_AUTO_REFRESH=true switches it on)");
        }
        Ok(Self {
            parts,
            finished,
            is_watching: config.auto_refresh,
            address,
        })
    }

    /// Returns the address of the admin endpoint, unless the endpoint is off.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits for the swap in progress, for its report, and for the last messages.
    pub fn stop(&self) {
        if self.is_watching {
            log::info!("image-auto-refresh: stopping");
        }
        self.parts.wiring.shutdown.close();
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

/// The values that the threads share.
struct Parts {
    wiring: Wiring,
    notifier: Arc<Notifier>,
    board: Arc<Board>,
    history: Arc<History>,
    metrics: Arc<Metrics>,
    down: Arc<Down>,
    pushes: Arc<Pushes>,
}

impl Parts {
    fn of(config: &Config, deadlines: Deadlines) -> std::result::Result<Self, String> {
        let history = Arc::new(History::open(config.state.as_deref())?);
        let wiring = Wiring::with_deadlines(config, deadlines, &history);
        let engine = Arc::clone(&wiring.engine);
        let notifier = Notifier::start(
            &config.receivers,
            config.certificates.as_deref(),
            &config.proxies,
            Timing::default(),
            Host::new(Host::own(), move || engine.host_name()),
        )
        .map_err(|error| format!("thread notify: {error}"))?;
        Ok(Self {
            wiring,
            notifier: Arc::new(notifier),
            board: Arc::new(Board::with(Arc::clone(history.sightings()))),
            history,
            metrics: Arc::new(Metrics::default()),
            down: Arc::default(),
            pushes: Arc::default(),
        })
    }

    /// Starts the thread that does refreshes. The returned outlet gets an item once a refresh that a stop
    /// interrupted has been reported.
    fn spawn_worker(
        &self,
        config: &Config,
        worker: Worker,
        backlog: Backlog,
    ) -> std::result::Result<Outlet<()>, String> {
        let (board, shutdown) = (Arc::clone(&self.board), Arc::clone(&self.wiring.shutdown));
        let (refresher, history) = (
            Arc::clone(&self.wiring.refresher),
            Arc::clone(&self.history),
        );
        let metrics = Arc::clone(&self.metrics);
        let down = Arc::clone(&self.down);
        let notifier = Arc::clone(&self.notifier);
        let (inlet, finished) = queue();
        let mut recovery = Recovery::new(config.auto_refresh);
        let (mut preflight, mut is_open) = (Preflight::default(), true);
        let work = move || {
            let record = |step: &Step| {
                board.alive();
                if !down.record(step) {
                    return false;
                }
                notifier.notify(step);
                history.record(step);
                metrics.record(step);
                true
            };
            worker.work(
                &board,
                |order, on| {
                    let outcomes = refresher.run(order, &|step| {
                        if record(step) {
                            on(step);
                        }
                    });
                    history.save();
                    outcomes
                },
                || {
                    if shutdown.is_closed() {
                        inlet.push(());
                    }
                },
                // The recovery goes first, because a container may be down; the preflight can wait.
                || {
                    refresher.keep_earlier();
                    let on = |step: &Step| {
                        record(step);
                    };
                    let recovers = recovery.is_needed_again(&refresher, &down, &on)
                        | tend_itself(&refresher, &board, &backlog, &on);
                    is_open = is_open && refresher.resume_services(&on);
                    recovers | preflight.is_needed_again(&refresher) | is_open
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
        let executor =
            |name: &str| Executor::start(name).map_err(|error| format!("{name}: {error}"));
        let admin = Arc::new(Admin {
            tokens: Tokens {
                admin: config.admin_token.clone(),
                read: config.read_token.clone(),
            },
            hook_secret: config.hook_secret.clone(),
            pushes: Arc::clone(&self.pushes),
            last_wrong_proof: Mutex::default(),
            catalogue: self.wiring.refresher.catalogue.all().to_vec(),
            jobs: jobs.clone(),
            board: Arc::clone(&self.board),
            history: Arc::clone(&self.history),
            metrics: Arc::clone(&self.metrics),
            down: Arc::clone(&self.down),
            engine: Arc::clone(&self.wiring.engine),
            registry: Arc::clone(&self.wiring.registry),
            refresher: Arc::clone(&self.wiring.refresher),
            check: |refresher| {
                let table = look(refresher)?;
                serde_json::to_string(&table).map_err(|error| error.to_string())
            },
            plan: outline,
            checks: Mutex::default(),
            health_executor: executor("health")?,
            status_executor: executor("status")?,
            images: Mutex::default(),
            last_ping: Mutex::new(None),
        });
        let guard = Guard::bind(address).map_err(|error| {
            format!("IMAGEWATCH_LISTEN={address}: {error} (is another one running?)")
        })?;
        let guard = guard.with_hooks(config.hook_secret.is_some());
        let address = guard.local_addr();
        log::info!("listening on http://{address}");
        spawn("listener", move || {
            let outcome = guard.serve(move |request| admin.handle(request));
            // A server without its endpoint must not stay up unnoticed; the restart policy starts it again.
            log::error!("the admin endpoint ended: {outcome:?}");
            std::process::exit(1);
        })?;
        Ok(address)
    }

    fn spawn_watcher(&self, config: &Config, jobs: Jobs) -> std::result::Result<(), String> {
        let (notifier, history) = (Arc::clone(&self.notifier), Arc::clone(&self.history));
        let backend = LiveBackend::new(
            Arc::clone(&self.wiring.registry),
            Arc::clone(&self.metrics),
            Arc::clone(&self.wiring.refresher),
            jobs,
            Arc::clone(&self.board),
            Box::new(move |step| {
                if !history.knows(step) {
                    notifier.notify(step);
                    history.record(step);
                }
            }),
        );
        let first_sight = if config.catch_up {
            FirstSight::CatchUp
        } else {
            FirstSight::Seed
        };
        let (board, shutdown) = (Arc::clone(&self.board), Arc::clone(&self.wiring.shutdown));
        let named = self.wiring.refresher.catalogue.named().to_vec();
        let mut watcher = Watcher::new(backend, first_sight, Arc::clone(&board), named);
        let interval = config.interval;
        board.watcher_started(interval);
        log::info!(
            "image-auto-refresh: started (interval={}, runtimes={})",
            print_duration(interval),
            config.runtimes.len()
        );
        let history = Arc::clone(&self.history);
        let mut schedule = Schedule::new(interval);
        let pushes = Arc::clone(&self.pushes);
        spawn("watcher", move || {
            let mut next = Instant::now();
            while !shutdown.is_closed() {
                let pushed = pushes.wait(next);
                if catch_unwind(AssertUnwindSafe(|| watcher.look_at(&pushed))).is_err() {
                    log::error!("a bug ended this round of the watcher; the next one comes");
                }
                history.save();
                if pushed.is_empty() {
                    let wait = schedule.pause(random());
                    board.round_finished(wait);
                    next = Instant::now() + wait;
                }
            }
        })
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::result::Result<(), String> {
    start(name, Box::new(work)).map_err(|error| format!("thread {name}: {error}"))
}

/// Looks after the update of the own container. Returns whether to be called again a moment later.
fn tend_itself(
    refresher: &Refresher,
    board: &Board,
    backlog: &Backlog,
    on: &dyn Fn(&Step),
) -> bool {
    refresher.tend_itself(&Server {
        is_free: &|| backlog.is_empty() && !board.is_in_round(),
        on,
        rejected: &|reference, reason| {
            board.update(reference, |entry| {
                entry.state = Standing::Rejected;
                entry.last_error = Some(reason.to_owned());
            });
        },
    })
}
