//! The queue of refreshes: callers put orders in, and ask what became of them.
//!
//! Orders wait while a refresh runs. Equal orders among them become one run, and each caller gets its
//! report. So a hundred equal calls cost two runs, and none of the calls is lost.

use super::Order;
use super::worker::Worker;
use crate::journal::Outcomes;
use crate::journal::Report;
use crate::journal::Step;
use crate::journal::WATCHER;
use crate::thread::Inlet;
use crate::thread::Outlet;
use crate::thread::queue;
use serde::Serialize;
use serde::Serializer;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// How many jobs are remembered. Jobs that are not over stay in any case.
const REMEMBERED: usize = 100;
/// Jobs of callers that may wait at a time.
pub const MOST_WAITING: usize = 1_000;

/// The origin of an order, as the status shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Watcher,
    /// A caller of the admin endpoint.
    Admin,
}

impl Asker {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Watcher => WATCHER,
            Self::Admin => "admin",
        }
    }
}

/// The end of a run. `Err` means that a bug ended the run.
pub type Answer = Result<Outcomes, String>;

/// Follows a run. The worker's thread calls these methods, so none of them may block.
pub trait Listener: Send {
    /// Called after each step of the run.
    fn step(&mut self, step: &Step) {
        let _ = step;
    }

    /// Called once, after the run.
    fn end(self: Box<Self>, answer: &Answer);
}

impl<F: FnOnce(&Answer) + Send> Listener for F {
    fn end(self: Box<Self>, answer: &Answer) {
        self(answer);
    }
}

/// An order in the queue.
pub(super) struct Job {
    /// Empty for an order of the watcher, whose jobs are not remembered.
    pub(super) id: String,
    pub(super) order: Order,
    pub(super) asker: Asker,
    pub(super) listener: Box<dyn Listener>,
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Other runs come first.
    Queued,
    /// The worker runs this job now.
    Running,
    /// The run is over; its report says how well each container did.
    Done,
    /// The run ended without a complete report.
    Failed,
}

/// A job as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct JobEntry {
    /// The id that the caller got.
    pub job: String,
    /// The state of the job.
    pub state: Stage,
    /// The report of the run, once the run is over.
    #[serde(serialize_with = "shared")]
    pub report: Option<Arc<Report>>,
    /// The reason for a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn shared<S: Serializer>(report: &Option<Arc<Report>>, to: S) -> Result<S::Ok, S::Error> {
    report.as_deref().serialize(to)
}

/// The jobs of callers, the newest last.
#[derive(Debug)]
pub(super) struct JobList {
    jobs: Mutex<VecDeque<JobEntry>>,
    count: AtomicU64,
    /// The start of this process in seconds. Ids begin with it, so they differ from an earlier process's ids.
    begun: u64,
}

impl JobList {
    /// Adds a job and returns its id. Returns nothing if too many jobs wait.
    fn add(&self) -> Option<String> {
        let mut jobs = self.lock();
        let waiting = jobs.iter().filter(|job| job.state == Stage::Queued);
        if waiting.count() >= MOST_WAITING {
            return None;
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{:x}-{number}", self.begun);
        let is_over = |job: &JobEntry| matches!(job.state, Stage::Done | Stage::Failed);
        while jobs.len() >= REMEMBERED {
            let Some(oldest) = jobs.iter().position(is_over) else {
                break;
            };
            jobs.remove(oldest);
        }
        jobs.push_back(JobEntry {
            job: id.clone(),
            state: Stage::Queued,
            report: None,
            error: None,
        });
        Some(id)
    }

    fn forget(&self, id: &str) {
        self.lock().retain(|job| job.job != id);
    }

    pub(super) fn change(&self, ids: &[String], change: impl Fn(&mut JobEntry)) {
        let mut jobs = self.lock();
        jobs.iter_mut()
            .filter(|job| ids.contains(&job.job))
            .for_each(change);
    }

    fn find(&self, id: &str) -> Option<JobEntry> {
        self.lock().iter().find(|job| job.job == id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<JobEntry>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller's place in the queue. Dropped without an order, it is given up.
#[derive(Debug)]
pub struct Place {
    list: Arc<JobList>,
    /// Empty once an order has taken the place.
    id: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            self.list.forget(&self.id);
        }
    }
}

/// The callers' jobs. It keeps no worker waiting for orders, as [`Jobs`] does.
#[derive(Debug)]
pub struct Backlog(Arc<JobList>);

impl Backlog {
    /// Whether no caller's job waits or runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_over = |job: &JobEntry| matches!(job.state, Stage::Done | Stage::Failed);
        self.0.lock().iter().all(is_over)
    }
}

/// Takes orders. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    inlet: Inlet<Job>,
    list: Arc<JobList>,
}

impl Jobs {
    /// Makes a queue, and the worker that takes orders out of it.
    #[must_use]
    pub fn new() -> (Self, Worker) {
        let (inlet, outlet) = queue();
        let begun = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let list = Arc::new(JobList {
            jobs: Mutex::default(),
            count: AtomicU64::new(0),
            begun: begun.map_or(0, |since| since.as_secs()),
        });
        let jobs = Self {
            inlet,
            list: Arc::clone(&list),
        };
        (jobs, Worker::new(outlet, list))
    }

    /// Reserves a place for a caller's order, unless [`MOST_WAITING`] jobs wait already.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let id = self.list.add()?;
        let list = Arc::clone(&self.list);
        Some(Place { list, id })
    }

    /// Puts a caller's order into the queue and returns the job's id.
    pub fn submit(&self, mut place: Place, order: Order, listener: Box<dyn Listener>) -> String {
        let id = std::mem::take(&mut place.id);
        self.inlet.push(Job {
            id: id.clone(),
            order,
            asker: Asker::Admin,
            listener,
        });
        id
    }

    /// Returns the callers' jobs, to ask whether one waits.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        Backlog(Arc::clone(&self.list))
    }

    /// Returns a job by its id, if the job is still remembered.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<JobEntry> {
        self.list.find(id)
    }

    /// Puts an order of the watcher into the queue. The returned outlet gives what `pick` takes from the answer after
    /// the run, or nothing if the worker has ended. One run may serve hundreds of orders, so none of them gets a copy
    /// of the whole answer.
    #[must_use]
    pub fn begin<T: Send + 'static>(
        &self,
        order: Order,
        pick: impl FnOnce(&Answer) -> T + Send + 'static,
    ) -> Outlet<T> {
        let (inlet, outlet) = queue();
        let reply = move |answer: &Answer| inlet.push(pick(answer));
        self.inlet.push(Job {
            id: String::new(),
            order,
            asker: Asker::Watcher,
            listener: Box::new(reply),
        });
        outlet
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jobs")
    }
}

impl JobEntry {
    /// Stores the end of the run.
    pub(super) fn finish(&mut self, answer: &Answer, report: &Arc<Report>) {
        match answer {
            Ok(outcomes) => {
                self.report = Some(Arc::clone(report));
                let list = |error: &String| format!("container list: {error}");
                let listed = outcomes.list_error.as_ref().map(list);
                self.error = outcomes.refused.clone().or(listed);
            }
            Err(reason) => self.error = Some(reason.clone()),
        }
        self.state = match self.error {
            None => Stage::Done,
            Some(_) => Stage::Failed,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Board;
    use crate::reference::Target;
    use crate::update::Extent;
    use crate::update::Images;
    use crate::update::Moved;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Duration;

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
                let run = |_: &Order, _: &(dyn Fn(&Step) + Sync)| Outcomes::default();
                let idle = || match calls.fetch_add(1, Ordering::SeqCst) {
                    0 => panic!("a bug"),
                    calls => calls < 2,
                };
                worker.work(&Board::default(), run, || (), idle);
            });
            let answer = jobs.begin(order(Extent::Pull), Clone::clone);
            assert!(answer.pop().is_some_and(|answer| answer.is_ok()));
            // Even without callers, there is a pause before the next call.
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
                let run = |_: &Order, _: &(dyn Fn(&Step) + Sync)| Outcomes::default();
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
                let run = |_: &Order, _: &(dyn Fn(&Step) + Sync)| {
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
                let place = jobs.place().expect("a place");
                jobs.submit(place, order(extent), Box::new(reply));
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

    fn moved(name: &str) -> Order {
        let target = Target {
            name: name.to_owned(),
            reference: name.parse().expect("valid"),
        };
        let digest = format!("sha256:{}", "a".repeat(64)).parse().expect("valid");
        Order {
            images: Images::Moved(vec![Moved {
                target,
                digest,
                only: None,
            }]),
            extent: Extent::Recreate,
        }
    }

    #[test]
    fn what_moved_while_a_run_is_on_becomes_one_run() {
        let (jobs, worker) = Jobs::new();
        let (enter, entered) = mpsc::channel();
        let (leave, may_leave) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let run = |order: &Order, _: &(dyn Fn(&Step) + Sync)| {
                    let Images::Moved(all) = &order.images else {
                        panic!("{order:?}");
                    };
                    enter.send(all.len()).expect("received");
                    let _ = may_leave.recv();
                    Outcomes::default()
                };
                worker.work(&Board::default(), run, || (), || false);
            });
            let first = jobs.begin(moved("a"), Clone::clone);
            assert_eq!(entered.recv(), Ok(1));
            let rest = ["b", "c", "d", "c"].map(|name| jobs.begin(moved(name), Clone::clone));
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
    fn the_orders_of_one_round_become_one_run() {
        let (jobs, worker) = Jobs::new();
        let (enter, entered) = mpsc::channel();
        let (begin, may_begin) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let run = |order: &Order, _: &(dyn Fn(&Step) + Sync)| {
                    enter.send(order.clone()).expect("received");
                    Outcomes::default()
                };
                // The worker looks at the queue once the first order is in.
                may_begin.recv().expect("sent");
                worker.work(&Board::default(), run, || (), || false);
            });
            let first = jobs.begin(moved("a"), Clone::clone);
            begin.send(()).expect("received");
            let second = jobs.begin(moved("b"), Clone::clone);
            let both = entered.recv().expect("a run");
            assert!(matches!(both.images, Images::Moved(all) if all.len() == 2));
            assert!(first.pop().is_some() && second.pop().is_some());
            drop(jobs);
        });
    }

    #[test]
    fn a_panic_fails_one_run_and_no_more() {
        let (jobs, worker) = Jobs::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let run = |order: &Order, _: &(dyn Fn(&Step) + Sync)| {
                    assert!(order.extent != Extent::Force, "made to fail");
                    Outcomes::default()
                };
                worker.work(&Board::default(), run, || (), || false);
            });
            let ask = |extent| jobs.begin(order(extent), Clone::clone).pop();
            assert!(matches!(ask(Extent::Force), Some(Err(_))));
            assert!(matches!(ask(Extent::Pull), Some(Ok(_))));
            drop(jobs);
        });
    }
}
