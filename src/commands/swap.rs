//! `imagewatch swap NAME IMAGE`: the work of the helper that updates imagewatch's own container. For no one else: the
//! arguments are on the helper's label too, and the label counts.
//!
//! The Engine starts the helper again after a kill or an exit code other than 0. Each run settles what the last one left,
//! and tries the image only if no run has found that it does not come up.

use super::signals;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::Error;
use crate::error::headline;
use crate::journal::Step;
use crate::reference::Reference;
use crate::swap;
use crate::swap::Acceptance;
use crate::swap::Attempt;
use crate::swap::Blame;
use crate::swap::Helper;
use crate::swap::Lock;
use crate::swap::Outcome;
use crate::swap::Part;
use crate::swap::Recovered;
use crate::swap::Said;
use crate::swap::Stage;
use crate::swap::Swap;
use crate::swap::Turn;
use crate::thread::Shutdown;
use crate::thread::start;
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Between two attempts to get the lock, and between two looks whether to end.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a helper whose swap is done waits to be removed by the new imagewatch.
const FAREWELL: Duration = Duration::from_secs(60);

/// How the work ended.
enum End {
    /// The container runs the new image.
    Done(Option<Duration>),
    /// The new image did not come up, and the old container is back.
    Rejected(Option<String>),
    /// The container is as it was, for a reason other than the image.
    GivenUp(String),
    /// A signal asked this process to stop.
    Stopped,
}

/// Does the work of the helper in whose container this process runs.
///
/// # Errors
/// Why the work is not over, on one line. The Engine starts the helper again.
#[cold]
pub fn swap(config: &Config) -> Result<(), String> {
    let mut signals =
        Signals::new(signals::signals()).map_err(|error| format!("signals: {error}"))?;
    let engine = Engine::new(&config.engine);
    let helper = Helper::own(&engine).map_err(say)?;
    let Some(helper) = helper else {
        return Err(
            "this command is for imagewatch.helper, which imagewatch starts itself".to_owned(),
        );
    };
    let shutdown = Arc::new(Shutdown::default());
    let for_signals = Arc::clone(&shutdown);
    let close = move || {
        if signals.forever().next().is_some() {
            for_signals.close();
        }
    };
    start("signals", Box::new(close)).map_err(|error| format!("thread signals: {error}"))?;
    let work = Work {
        engine: &engine,
        config,
        shutdown: &shutdown,
        helper: &helper,
        stage: Mutex::new(helper.stage),
    };
    let end = work.run()?;
    work.end(end).map_err(say)
}

fn say(error: Error) -> String {
    error.to_string()
}

struct Work<'a> {
    engine: &'a Engine,
    config: &'a Config,
    shutdown: &'a Shutdown,
    helper: &'a Helper,
    /// The stage as this run knows it.
    stage: Mutex<Stage>,
}

impl Work<'_> {
    fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the image did not come up, before the old container is put back. After a kill, the next run must not
    /// try the image again.
    fn note_failure(&self) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *stage = Stage::PuttingBack;
        if let Err(error) = self.helper.note(self.engine, *stage) {
            log::warn!("the failure of the image could not be noted: {error}");
        }
    }

    fn run(&self) -> Result<End, String> {
        let update = &self.helper.update;
        if matches!(
            self.stage(),
            Stage::Rejected | Stage::Reported | Stage::GivenUp
        ) {
            return Ok(End::Stopped);
        }
        let image = self.engine.image(&update.from).map_err(say)?;
        let lock = loop {
            match Lock::attempt(self.engine, std::slice::from_ref(&image)).map_err(say)? {
                Attempt::Mine(lock) => break lock,
                Attempt::Held(_) if self.shutdown.is_closed() => return Ok(End::Stopped),
                Attempt::Held(_) => std::thread::sleep(PAUSE),
            }
        };
        let Some(_pass) = self.shutdown.enter() else {
            return Ok(End::Stopped);
        };
        let reason = self.recover(&lock)?;
        if self.stage() == Stage::PuttingBack {
            return Ok(End::Rejected(reason));
        }
        self.swap()
    }

    fn acceptance(&self) -> Acceptance {
        Acceptance {
            settle: self.config.settle,
            health_timeout: self.config.health_timeout,
        }
    }

    /// Settles the swap that an earlier run left half done. Returns why its successor was not accepted, if so.
    fn recover(&self, lock: &Lock) -> Result<Option<String>, String> {
        let reason = Mutex::new(None);
        let on = |step: &Step| match step {
            Step::Swap { container, .. } if *container == self.helper.update.name => {
                self.note_failure();
            }
            Step::Outcome(event) if event.container.as_ref() == Some(&self.helper.update.name) => {
                let mut reason = reason.lock().unwrap_or_else(PoisonError::into_inner);
                *reason = reason.take().or_else(|| event.reason.clone());
            }
            _ => {}
        };
        let list = self.engine.containers().map_err(say)?;
        let (engine, shutdown) = (self.engine, self.shutdown);
        let recovered =
            swap::recover_with_lock(engine, &list, self.acceptance(), shutdown, lock, &on);
        match recovered.map_err(say)? {
            Recovered::All => Ok(reason.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Recovered::Held => Err("another imagewatch has taken the lock".to_owned()),
            Recovered::Left(left) => {
                let left = left.into_iter().map(|one| one.trouble);
                Err(left.collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// Does the swap, unless it is done already or its owner has changed the container.
    fn swap(&self) -> Result<End, String> {
        let update = &self.helper.update;
        let given_up = |reason: &str| Ok(End::GivenUp(reason.to_owned()));
        let Some(old) = self.engine.find(&update.name).map_err(say)? else {
            return given_up("its owner removed it meanwhile");
        };
        if old.image_id() == update.to {
            return Ok(End::Done(None));
        }
        if old.image_id() != update.from || old.is_stopped() {
            return given_up("its owner stopped or replaced it meanwhile");
        }
        let Some(image) = self.engine.find_image(&update.to).map_err(say)? else {
            return given_up("somebody removed the newest image meanwhile");
        };
        let mut part = Part::new(&old, &image);
        if let Ok(reference) = old.image_name().parse::<Reference>() {
            let now = self
                .engine
                .find_image(&reference.to_string())
                .map_err(say)?;
            let now = now.as_ref().map_or("", |now| now.id());
            part.tagged = (now != update.to).then(|| now.to_owned());
        }
        let turn = Turn::alone();
        let swap = Swap {
            phase: &|_, phase| log::info!("{}: {phase}", update.name),
            failed: &|blame| {
                if blame == Blame::Image {
                    self.note_failure();
                }
            },
            accepted: &|_| {},
            engine: self.engine,
            shutdown: self.shutdown,
            about: &self.engine.about().map_err(say)?,
            acceptance: self.acceptance(),
            platform: self.config.platform.as_deref(),
            images: &[],
            turn: &turn,
            fetch: &|name, _| {
                let what = format!("pull {name}");
                Err(Error::malformed(what, "a helper pulls nothing"))
            },
        };
        if let Some(outcome) = swap.hindrance(std::slice::from_ref(&part)) {
            return ended(outcome);
        }
        ended(swap.run(std::slice::from_ref(&part)))
    }

    /// Says the result, and notes it for the imagewatch that reports it.
    fn end(&self, end: End) -> Result<(), Error> {
        let print = |said: Said| println!("{}", said.line());
        let said = |reason: Option<&str>| Said {
            reason: reason.map(|reason| headline(reason).0.to_owned()),
            downtime_seconds: None,
        };
        let stage = match end {
            End::Stopped => return Ok(()),
            End::Done(downtime) => {
                // An earlier run has said the downtime of its swap.
                if let Some(downtime) = downtime {
                    print(Said {
                        reason: None,
                        downtime_seconds: Some(downtime.as_secs_f64()),
                    });
                }
                return self.leave();
            }
            End::Rejected(reason) => {
                if let Some(reason) = reason {
                    log::error!("rolled back: {reason}");
                    print(said(Some(&reason)));
                }
                Stage::Rejected
            }
            End::GivenUp(reason) => {
                log::warn!("not updated: {reason}");
                print(said(Some(&reason)));
                Stage::GivenUp
            }
        };
        self.helper.note(self.engine, stage)?;
        if stage == Stage::Rejected {
            self.await_report();
        }
        Ok(())
    }

    /// Waits until the old imagewatch has registered the rejection. Until then this container is the only record of it,
    /// and a prune takes what does not run.
    fn await_report(&self) {
        let begun = Instant::now();
        let is_reported =
            || matches!(Helper::own(self.engine), Ok(Some(own)) if own.stage == Stage::Reported);
        while begun.elapsed() < FAREWELL && !self.shutdown.is_closed() && !is_reported() {
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits for the new imagewatch to remove this container, and removes it if that does not happen.
    fn leave(&self) -> Result<(), Error> {
        let begun = Instant::now();
        while begun.elapsed() < FAREWELL && !self.shutdown.is_closed() {
            std::thread::sleep(PAUSE);
        }
        self.helper.remove(self.engine)
    }
}

fn ended(outcome: Outcome) -> Result<End, String> {
    match outcome {
        Outcome::Recreated { downtime } => Ok(End::Done(downtime)),
        Outcome::RolledBack {
            reason,
            blame: Blame::Image,
            ..
        } => Ok(End::Rejected(Some(reason))),
        Outcome::RolledBack { reason, .. }
        | Outcome::NotBegun { reason }
        | Outcome::Waits { reason }
        | Outcome::Skipped { reason } => Ok(End::GivenUp(reason)),
        Outcome::Down { reason, .. } => Err(reason),
    }
}
