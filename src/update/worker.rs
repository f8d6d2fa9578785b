//! The one thread that does refreshes, one at a time on the whole Engine.

use super::Extent;
use super::Images;
use super::Order;
use super::jobs::Answer;
use super::jobs::Asker;
use super::jobs::Job;
use super::jobs::JobList;
use super::jobs::Stage;
use crate::journal::Board;
use crate::journal::Outcomes;
use crate::journal::Refreshed;
use crate::journal::Report;
use crate::journal::Step;
use crate::journal::Worst;
use crate::thread::Outlet;
use crate::time::rfc3339;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// Between two calls of `idle`, as long as `idle` has more to do.
const MOMENT: Duration = Duration::from_secs(3);

/// A round of the watcher has no further order if none came for this time. A caller's order is never waited for.
const GATHERING: Duration = Duration::from_millis(250);
/// The longest wait for all orders of a round: a run that takes long is not put off.
const MOST_GATHERING: Duration = Duration::from_secs(3);

/// How long the queue stays empty before `idle` is called all the same: another process, killed in
/// mid-swap, may have left something to recover.
const QUIET: Duration = Duration::from_secs(300);

/// Takes orders out of the queue and runs them.
pub struct Worker {
    outlet: Outlet<Job>,
    list: Arc<JobList>,
    pub(super) quiet: Duration,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Worker")
    }
}

impl Worker {
    pub(super) fn new(outlet: Outlet<Job>, list: Arc<JobList>) -> Self {
        Self {
            outlet,
            list,
            quiet: QUIET,
        }
    }

    /// Works until every [`Jobs`](super::Jobs) is gone. Calls `answered` after each run, once each caller has
    /// its report. A panic in `run` fails that run and no other one.
    ///
    /// Calls `idle` at once, and a moment after each run if the queue is empty. `idle` returns whether to be
    /// called again a moment later. A queue that stays empty for long leads to a call too.
    pub fn work(
        self,
        board: &Board,
        run: impl Fn(&Order, &(dyn Fn(&Step) + Sync)) -> Outcomes,
        answered: impl Fn(),
        mut idle: impl FnMut() -> bool,
    ) {
        // A panic that ended this thread would end all updates.
        let mut idle = || {
            let outcome = catch_unwind(AssertUnwindSafe(&mut idle));
            outcome.unwrap_or_else(|_| {
                log::error!("a bug in imagewatch ended a recovery; it is tried again");
                true
            })
        };
        let mut waiting = VecDeque::new();
        let mut has_more = idle();
        loop {
            if waiting.is_empty() {
                match self.next(&mut has_more, &mut idle) {
                    Some(job) => waiting.push_back(job),
                    None => return,
                }
            }
            waiting.extend(self.outlet.drain());
            self.gather(&mut waiting);
            if let Some((order, served)) = take_equal(&mut waiting) {
                self.serve(&order, served, board, &run);
                has_more = true;
                answered();
            }
        }
    }

    /// Waits for a job, and calls `idle` meanwhile. Returns nothing once no job can come.
    fn next(&self, has_more: &mut bool, idle: &mut dyn FnMut() -> bool) -> Option<Job> {
        loop {
            let pause = if *has_more { MOMENT } else { self.quiet };
            if let Some(job) = self.outlet.pop_within(pause) {
                return Some(job);
            }
            if self.outlet.is_abandoned() {
                if !*has_more {
                    return None;
                }
                // An abandoned queue does not wait.
                std::thread::sleep(MOMENT);
            }
            *has_more = idle();
        }
    }

    /// Waits for further orders of a round of the watcher, while they come. One run for all of them is quicker than
    /// one for the first and one for the rest.
    fn gather(&self, waiting: &mut VecDeque<Job>) {
        let begun = Instant::now();
        let is_watchers = |job: &Job| job.asker == Asker::Watcher;
        while waiting.iter().all(is_watchers) && begun.elapsed() < MOST_GATHERING {
            match self.outlet.pop_within(GATHERING) {
                Some(job) => waiting.push_back(job),
                None => break,
            }
        }
    }

    /// Does one run, and gives its report to all who asked.
    fn serve(
        &self,
        order: &Order,
        served: Vec<Job>,
        board: &Board,
        run: &impl Fn(&Order, &(dyn Fn(&Step) + Sync)) -> Outcomes,
    ) {
        let ids: Vec<String> = served.iter().map(|job| job.id.clone()).collect();
        self.list.change(&ids, |job| job.state = Stage::Running);
        let asker = served.first().map_or(Asker::Watcher, |first| first.asker);
        let started = SystemTime::now();
        board.refresh_started(asker.name(), started);
        let served = Mutex::new(served);
        let lock = || served.lock().unwrap_or_else(PoisonError::into_inner);
        let on = |step: &Step| {
            board.refresh_step(step);
            for job in lock().iter_mut() {
                job.listener.step(step);
            }
        };
        let answer = catch_unwind(AssertUnwindSafe(|| run(order, &on)))
            .map_err(|_| "a bug in imagewatch ended this refresh; see its log".to_owned());
        if let Ok(outcomes) = &answer {
            show_states(board, order, outcomes);
        }
        let report = show_run(board, started, asker, &answer);
        self.list.change(&ids, |job| job.finish(&answer, &report));
        let served = served.into_inner();
        for job in served.unwrap_or_else(PoisonError::into_inner) {
            let end = || job.listener.end(&answer);
            if catch_unwind(AssertUnwindSafe(end)).is_err() {
                log::error!("a bug in imagewatch lost the report of one caller");
            }
        }
    }
}

/// Takes the first job, and all jobs that the same run serves.
fn take_equal(waiting: &mut VecDeque<Job>) -> Option<(Order, Vec<Job>)> {
    let mut order = waiting.front()?.order.clone();
    let (served, rest): (Vec<Job>, Vec<Job>) = std::mem::take(waiting)
        .into_iter()
        .partition(|job| order.merge(&job.order));
    *waiting = rest.into();
    Some((order, served))
}

/// Puts the new state of each reference on the board.
fn show_states(board: &Board, order: &Order, outcomes: &Outcomes) {
    if order.extent == Extent::Fetch {
        return;
    }
    for (reference, verdict) in &outcomes.verdicts {
        let found = outcomes.found(reference);
        // A pull without a survey tells nothing about the containers.
        let survey = found.and_then(|found| found.survey.as_ref());
        if order.extent != Extent::Pull || survey.is_some() {
            board.apply(&order.images.target(reference), verdict, found);
        }
    }
    if let Images::Back(back) = &order.images
        && !outcomes.report.recreated.is_empty()
    {
        // The registry's digest is not what runs now. Once it is not skipped any more, it is applied.
        let seen = Some(back.to.clone());
        board.update(&back.target.reference, |entry| entry.seen_digest = seen);
    }
}

/// Puts the last refresh on the board, and returns the report that all its jobs share.
fn show_run(board: &Board, started: SystemTime, asker: Asker, answer: &Answer) -> Arc<Report> {
    let (outcome, report, error) = match answer {
        Ok(run) => (
            Worst::of(run),
            run.report.clone(),
            run.refused.clone().or_else(|| run.list_error.clone()),
        ),
        Err(reason) => (Worst::Failed, Report::default(), Some(reason.clone())),
    };
    let report = Arc::new(report);
    board.refreshed(Refreshed {
        started: rfc3339(started),
        finished: rfc3339(SystemTime::now()),
        asked_by: asker.name(),
        outcome,
        report: Arc::clone(&report),
        error,
    });
    report
}
