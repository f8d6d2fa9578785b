//! Every moment at which a run can be disturbed, and a test of each.

use crate::engine::swap::workspace::Workspace;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::Place;
use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

/// Something done to one of a run's calls: the `nth` with this line.
#[derive(Clone)]
pub(crate) struct Moment {
    pub(crate) line: String,
    nth: usize,
    pub(crate) action: Action,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}.) {:?}", self.line, self.nth, self.action)
    }
}

impl Moment {
    /// For [`Workspace::run`].
    pub(crate) fn plan(&self) -> (Place, Action) {
        let place = Place::Exactly(self.line.clone(), self.nth);
        (place, self.action.clone())
    }
}

pub(crate) fn is_change(line: &str) -> bool {
    !line.starts_with("GET ")
}

impl Moment {
    /// Whether every run comes to it. Some reads come in some runs only; and a container in a crash loop is renamed
    /// as often as Docker 20.10 refuses that.
    pub(crate) fn is_certain(&self) -> bool {
        let is_repeated_rename = self.line.contains("/rename?") && self.nth > 2;
        is_change(&self.line) && !is_repeated_rename
    }
}

/// Each of `before` done to each call, and each of `after` to those that change something: for any
/// other call it is the same as before.
pub(crate) fn moments(lines: &[String], before: &[Action], after: &[Action]) -> Vec<Moment> {
    let mut moments = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let nth = lines[..=index]
            .iter()
            .filter(|other| *other == line)
            .count();
        let after = if is_change(line) { after } else { &[] };
        for action in before.iter().chain(after) {
            let (line, action) = (line.clone(), action.clone());
            moments.push(Moment { line, nth, action });
        }
    }
    moments
}

/// Only those from the successor's start on: until then a swap that will be rolled back is like any
/// other.
pub(crate) fn from_start_on(mut moments: Vec<Moment>) -> Vec<Moment> {
    let start = moments.iter().position(|one| one.line.ends_with("/start"));
    moments.split_off(start.expect("a start"))
}

/// This run's part of some jobs: `LAB_SHARE=2/3` is every third from the second on, nothing is all
/// of them. Whoever has no time for all does another part each time.
pub(crate) fn share<J>(jobs: Vec<J>) -> Vec<J> {
    let Ok(share) = std::env::var("LAB_SHARE") else {
        return jobs;
    };
    let parsed = share.split_once('/').and_then(|(part, of)| {
        let (part, of): (usize, usize) = (part.parse().ok()?, of.parse().ok()?);
        (1..=of).contains(&part).then_some((part, of))
    });
    let (part, of) = parsed.unwrap_or_else(|| panic!("LAB_SHARE is {share:?}, not like 2/3"));
    println!("{share} of {} jobs", jobs.len());
    jobs.into_iter().skip(part - 1).step_by(of).collect()
}

/// Does every job on one of a few workspaces, side by side. All failures are told, with the names
/// of their jobs; a workspace that did not survive its job is made anew for the next one.
pub(crate) fn side_by_side<J: fmt::Display + Send>(
    workspaces: Vec<Workspace>,
    jobs: impl IntoIterator<Item = J>,
    job: impl Fn(&mut Workspace, &J) + Sync,
) {
    let jobs: Mutex<VecDeque<J>> = Mutex::new(jobs.into_iter().collect());
    let failures = Mutex::new(Vec::new());
    let next = || lock(&jobs).pop_front();
    std::thread::scope(|scope| {
        for mut workspace in workspaces {
            let (next, failures, job) = (&next, &failures, &job);
            scope.spawn(move || {
                while let Some(one) = next() {
                    let begun = Instant::now();
                    let done = catch_unwind(AssertUnwindSafe(|| job(&mut workspace, &one)));
                    println!("{:.1?} {one}", begun.elapsed());
                    if let Err(panic) = done {
                        lock(failures).push(format!("{one}: {}", words(&*panic)));
                        workspace.renew();
                    }
                }
            });
        }
    });
    let failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    text.unwrap_or_default()
}
