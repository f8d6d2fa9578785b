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
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::time::Duration;
use std::time::SystemTime;

/// Between two calls of what is done when there is nothing to do.
const MOMENT: Duration = Duration::from_secs(3);

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

/// Called once, on the worker's thread, with what came of the run; it must not block.
pub type Reply = Box<dyn FnOnce(&Answer) + Send>;

struct Job {
    order: Order,
    asker: Asker,
    reply: Reply,
}

/// Takes orders. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    inlet: Inlet<Job>,
}

impl Jobs {
    /// A queue, and the end that a worker takes from.
    #[must_use]
    pub fn new() -> (Self, Worker) {
        let (inlet, outlet) = queue();
        (Self { inlet }, Worker { outlet })
    }

    /// Puts an order into the queue.
    pub fn submit(&self, order: Order, asker: Asker, reply: Reply) {
        self.inlet.push(Job {
            order,
            asker,
            reply,
        });
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

/// The end of the queue that does the work.
pub struct Worker {
    outlet: Outlet<Job>,
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
    /// `idle` is called at once, and a moment after each run, when nothing else is to be done; and again
    /// each moment until it answers false.
    pub fn work(
        self,
        board: &Board,
        run: impl Fn(&Order, &dyn Fn(&Step)) -> Outcomes,
        answered: impl Fn(),
        mut idle: impl FnMut() -> bool,
    ) {
        let mut waiting = VecDeque::new();
        let mut restless = idle();
        loop {
            while restless && waiting.is_empty() {
                match self.outlet.pop_within(MOMENT) {
                    Some(job) => waiting.push_back(job),
                    None => restless = idle(),
                }
            }
            if waiting.is_empty() {
                match self.outlet.pop() {
                    Some(job) => waiting.push_back(job),
                    None => return,
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
            let started = SystemTime::now();
            let on = |_: &Step| ();
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
            for job in served {
                (job.reply)(&answer);
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
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;

    fn order(extent: Extent) -> Order {
        Order {
            images: Images::These(Vec::new()),
            extent,
        }
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
