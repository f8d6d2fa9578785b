//! The queue of refreshes and the one thread that does them.
//!
//! One refresh at a time, on the whole Engine, by construction. Orders that arrive while one is
//! being done wait; all equal ones among them become a single run, and everybody who asked gets
//! its report. So no call is refused, none is lost, and a hundred calls cost two runs.

use crate::progress::Step;
use crate::queue::Inlet;
use crate::queue::Outlet;
use crate::queue::queue;
use crate::refresh::Extent;
use crate::refresh::Order;
use crate::refresh::Outcomes;
use crate::report::Report;
use crate::status::Board;
use crate::status::Refreshed;
use crate::status::Worst;
use crate::time::rfc3339;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

/// Jobs that are remembered.
const REMEMBERED: usize = 100;
/// Between two calls of what is done when there is nothing to do.
const MOMENT: Duration = Duration::from_secs(3);

/// How long nobody may ask for anything before that is called again: another process, killed in mid-swap,
/// may have left something to settle.
const QUIET: Duration = Duration::from_secs(300);

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The watcher.
    Watcher,
    /// A caller of the admin endpoint.
    Admin,
}

impl Asker {
    fn name(self) -> &'static str {
        match self {
            Self::Watcher => "watcher",
            Self::Admin => "admin",
        }
    }
}

/// What came of a run: `Err` only if the program itself failed.
pub type Answer = Result<Outcomes, String>;

/// Who wants to know of a run. Called on the worker's thread; nothing in it may block.
pub trait Listener: Send {
    /// A step was taken.
    fn step(&mut self, step: &Step) {
        let _ = step;
    }

    /// The run is over.
    fn end(self: Box<Self>, answer: &Answer);
}

impl<F: FnOnce(&Answer) + Send> Listener for F {
    fn end(self: Box<Self>, answer: &Answer) {
        self(answer);
    }
}

struct Job {
    id: String,
    order: Order,
    asker: Asker,
    listener: Box<dyn Listener>,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It waits for others.
    Queued,
    /// It is being done.
    Running,
    /// It was done; its report says how well.
    Done,
    /// It could not be done.
    Failed,
}

/// What there is to know of a job.
#[derive(Debug, Clone, Serialize)]
pub struct Known {
    /// Its id.
    pub job: String,
    /// How far it is.
    pub state: Stage,
    /// What it did, once it is over.
    pub report: Option<Report>,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The jobs of callers, the newest last.
#[derive(Debug)]
struct Ledger {
    jobs: Mutex<VecDeque<Known>>,
    count: AtomicU64,
    /// When this process began, so that its ids are not those of an earlier one.
    begun: u64,
}

impl Ledger {
    /// Enters a job, which is not forgotten before it is over.
    fn enter(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{:x}-{number}", self.begun);
        let mut jobs = self.lock();
        let is_over = |job: &Known| matches!(job.state, Stage::Done | Stage::Failed);
        while jobs.len() >= REMEMBERED {
            let Some(oldest) = jobs.iter().position(is_over) else {
                break;
            };
            jobs.remove(oldest);
        }
        jobs.push_back(Known {
            job: id.clone(),
            state: Stage::Queued,
            report: None,
            error: None,
        });
        id
    }

    fn change(&self, ids: &[String], change: impl Fn(&mut Known)) {
        let mut jobs = self.lock();
        jobs.iter_mut()
            .filter(|job| ids.contains(&job.job))
            .for_each(change);
    }

    fn find(&self, id: &str) -> Option<Known> {
        self.lock().iter().find(|job| job.job == id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Known>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes orders. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    inlet: Inlet<Job>,
    ledger: Arc<Ledger>,
}

impl Jobs {
    /// A queue, and the end that a worker takes from.
    #[must_use]
    pub fn new() -> (Self, Worker) {
        let (inlet, outlet) = queue();
        let begun = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let ledger = Arc::new(Ledger {
            jobs: Mutex::default(),
            count: AtomicU64::new(0),
            begun: begun.map_or(0, |since| since.as_secs()),
        });
        let jobs = Self {
            inlet,
            ledger: Arc::clone(&ledger),
        };
        let worker = Worker {
            outlet,
            ledger,
            quiet: QUIET,
        };
        (jobs, worker)
    }

    /// Puts an order into the queue and answers the job's id.
    pub fn submit(&self, order: Order, asker: Asker, listener: Box<dyn Listener>) -> String {
        let id = match asker {
            Asker::Admin => self.ledger.enter(),
            // Nobody asks for these.
            Asker::Watcher => String::new(),
        };
        self.inlet.push(Job {
            id: id.clone(),
            order,
            asker,
            listener,
        });
        id
    }

    /// What there is to know of a job, if it is one of the last.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Known> {
        self.ledger.find(id)
    }

    /// Puts an order into the queue; what comes of it will be found where this points to, or nothing
    /// if the worker is gone.
    #[must_use]
    pub fn begin(&self, order: Order, asker: Asker) -> Outlet<Answer> {
        let (inlet, outlet) = queue();
        let reply = move |answer: &Answer| inlet.push(answer.clone());
        self.submit(order, asker, Box::new(reply));
        outlet
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jobs")
    }
}

impl Known {
    fn enter(&mut self, answer: &Answer) {
        match answer {
            Ok(outcomes) => {
                self.report = Some(outcomes.report.clone());
                let list = |error: &String| format!("container list: {error}");
                self.error = outcomes.list_error.as_ref().map(list);
            }
            Err(reason) => self.error = Some(reason.clone()),
        }
        self.state = match self.error {
            None => Stage::Done,
            Some(_) => Stage::Failed,
        };
    }
}

/// The end of the queue that does the work.
pub struct Worker {
    outlet: Outlet<Job>,
    ledger: Arc<Ledger>,
    quiet: Duration,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Worker")
    }
}

impl Worker {
    /// Works until every [`Jobs`] is gone, and calls `answered` whenever everybody who waited for
    /// a run has its report. A panic in `run` fails that run and no more.
    ///
    /// `idle` is called at once, and a moment after each run, when nothing else is to be done; again each
    /// moment until it answers false; and now and then.
    pub fn work(
        self,
        board: &Board,
        run: impl Fn(&Order, &dyn Fn(&Step)) -> Outcomes,
        answered: impl Fn(),
        mut idle: impl FnMut() -> bool,
    ) {
        // Without this thread nothing would be done ever again.
        let mut idle = || {
            let outcome = catch_unwind(AssertUnwindSafe(&mut idle));
            outcome.unwrap_or_else(|_| {
                log::error!("a bug in imagewatch ended a recovery; it is tried again");
                true
            })
        };
        let mut waiting = VecDeque::new();
        let mut restless = idle();
        loop {
            while restless && waiting.is_empty() {
                match self.outlet.pop_within(MOMENT) {
                    Some(job) => waiting.push_back(job),
                    None => {
                        if self.outlet.is_abandoned() {
                            std::thread::sleep(MOMENT);
                        }
                        restless = idle();
                    }
                }
            }
            if waiting.is_empty() {
                match self.outlet.pop_within(self.quiet) {
                    Some(job) => waiting.push_back(job),
                    None if self.outlet.is_abandoned() => return,
                    None => {
                        restless = idle();
                        continue;
                    }
                }
            }
            waiting.extend(self.outlet.drain());
            let Some(first) = waiting.front() else {
                continue;
            };
            let (mut order, asker) = (first.order.clone(), first.asker);
            let (served, rest): (Vec<Job>, Vec<Job>) = waiting
                .into_iter()
                .partition(|job| order.absorb(&job.order));
            waiting = rest.into();
            let ids: Vec<String> = served.iter().map(|job| job.id.clone()).collect();
            self.ledger.change(&ids, |job| job.state = Stage::Running);
            let started = SystemTime::now();
            let served = RefCell::new(served);
            let on = |step: &Step| {
                for job in served.borrow_mut().iter_mut() {
                    job.listener.step(step);
                }
            };
            let answer = catch_unwind(AssertUnwindSafe(|| run(&order, &on)))
                .map_err(|_| "a bug in imagewatch ended this refresh; see its log".to_owned());
            if let Ok(outcomes) = &answer {
                if order.extent != Extent::Pull {
                    for (reference, verdict) in &outcomes.verdicts {
                        board.judge(reference, verdict);
                    }
                }
            }
            let (outcome, report, error) = match &answer {
                Ok(run) => (Worst::of(run), run.report.clone(), run.list_error.clone()),
                Err(reason) => (Worst::Failed, Report::default(), Some(reason.clone())),
            };
            board.refreshed(Refreshed {
                started: rfc3339(started),
                finished: rfc3339(SystemTime::now()),
                asked_by: asker.name(),
                outcome,
                report,
                error,
            });
            self.ledger.change(&ids, |job| job.enter(&answer));
            for job in served.into_inner() {
                let end = || job.listener.end(&answer);
                if catch_unwind(AssertUnwindSafe(end)).is_err() {
                    log::error!("a bug in imagewatch kept a report from whoever asked for it");
                }
            }
            restless = true;
            answered();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refresh::Images;
    use crate::refresh::Target;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    fn order(extent: Extent) -> Order {
        Order {
            images: Images::These(Vec::new()),
            extent,
        }
    }

    #[test]
    fn a_bug_in_what_is_done_meanwhile_ends_no_worker() {
        let (jobs, worker) = Jobs::new();
        let calls = &AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let run = |_: &Order, _: &dyn Fn(&Step)| Outcomes::default();
                let idle = || match calls.fetch_add(1, Ordering::SeqCst) {
                    0 => panic!("a bug"),
                    calls => calls < 2,
                };
                worker.work(&Board::default(), run, || (), idle);
            });
            let answer = jobs.begin(order(Extent::Pull), Asker::Watcher);
            assert!(answer.pop().is_some_and(|answer| answer.is_ok()));
            // Nobody is left to ask for anything, and still it is not called without a pause.
            drop(jobs);
        });
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn in_the_quiet_it_is_looked_again() {
        let (jobs, mut worker) = Jobs::new();
        worker.quiet = Duration::from_millis(1);
        let (called, calls) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let run = |_: &Order, _: &dyn Fn(&Step)| Outcomes::default();
                let idle = || {
                    let _ = called.send(());
                    false
                };
                worker.work(&Board::default(), run, || (), idle);
            });
            for _ in 0..3 {
                calls.recv().expect("a call");
            }
            drop(jobs);
        });
    }

    #[test]
    fn equal_orders_that_wait_become_one_run() {
        let (jobs, worker) = Jobs::new();
        let runs = &AtomicUsize::new(0);
        let (enter, entered) = mpsc::channel();
        let (leave, may_leave) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let run = |_: &Order, _: &dyn Fn(&Step)| {
                    enter.send(()).expect("received");
                    may_leave.recv().expect("sent");
                    runs.fetch_add(1, Ordering::SeqCst);
                    Outcomes::default()
                };
                worker.work(&Board::default(), run, || (), || false);
            });
            let (done, all_done) = mpsc::channel();
            let submit = |extent| {
                let done = done.clone();
                let reply = move |answer: &Answer| done.send(answer.is_ok()).expect("received");
                jobs.submit(order(extent), Asker::Admin, Box::new(reply));
            };
            submit(Extent::Recreate);
            entered.recv().expect("the first run");
            for _ in 0..8 {
                submit(Extent::Recreate);
            }
            submit(Extent::Pull);
            leave.send(()).expect("received");
            entered.recv().expect("the run of the eight");
            leave.send(()).expect("received");
            entered.recv().expect("the run of the other kind");
            leave.send(()).expect("received");
            for _ in 0..10 {
                assert_eq!(all_done.recv(), Ok(true));
            }
            drop(jobs);
        });
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn what_moved_while_a_run_is_on_becomes_one_run() {
        let (jobs, worker) = Jobs::new();
        let moved = |name: &str| Order {
            images: Images::Moved(vec![(
                Target {
                    name: name.to_owned(),
                    reference: name.parse().expect("valid"),
                },
                format!("sha256:{}", "a".repeat(64)).parse().expect("valid"),
            )]),
            extent: Extent::Recreate,
        };
        let (enter, entered) = mpsc::channel();
        let (leave, may_leave) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let run = |order: &Order, _: &dyn Fn(&Step)| {
                    let Images::Moved(all) = &order.images else {
                        panic!("{order:?}");
                    };
                    enter.send(all.len()).expect("received");
                    let _ = may_leave.recv();
                    Outcomes::default()
                };
                worker.work(&Board::default(), run, || (), || false);
            });
            let first = jobs.begin(moved("a"), Asker::Watcher);
            assert_eq!(entered.recv(), Ok(1));
            let rest = ["b", "c", "d", "c"].map(|name| jobs.begin(moved(name), Asker::Watcher));
            drop(leave);
            assert_eq!(entered.recv(), Ok(3), "one run for all of them");
            assert!(first.pop().is_some_and(|answer| answer.is_ok()));
            for one in rest {
                assert!(one.pop().is_some_and(|answer| answer.is_ok()));
            }
            drop(jobs);
        });
    }

    #[test]
    fn a_panic_fails_one_run_and_no_more() {
        let (jobs, worker) = Jobs::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let run = |order: &Order, _: &dyn Fn(&Step)| {
                    assert!(order.extent != Extent::Force, "made to fail");
                    Outcomes::default()
                };
                worker.work(&Board::default(), run, || (), || false);
            });
            let ask = |extent| jobs.begin(order(extent), Asker::Admin).pop();
            assert!(matches!(ask(Extent::Force), Some(Err(_))));
            assert!(matches!(ask(Extent::Pull), Some(Ok(_))));
            drop(jobs);
        });
    }
}
