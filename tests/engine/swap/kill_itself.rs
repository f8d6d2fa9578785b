//! Killed at any moment of the update of its own container, imagewatch runs in the end: once, under its name.

use crate::engine::itself::HELPER;
use crate::engine::itself::Site;
use crate::engine::itself::kill;
use crate::engine::itself::now;
use crate::engine::lab::Lab;
use crate::engine::swap::every_moment::Moment;
use crate::engine::swap::every_moment::is_change;
use crate::engine::swap::every_moment::moments;
use crate::engine::swap::every_moment::share;
use crate::support::engine_proxy::Action;
use crate::support::images::ImageSpec;
use crate::support::patiently;
use serde_json::json;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::time::Instant;

/// How many updates are disturbed side by side.
const SITES: usize = 4;
/// Without a state folder, the next process follows only what it catches up with.
pub(super) const ENV: [&str; 1] = ["IMAGEWATCH_CATCH_UP=true"];

/// Whose process is killed.
const VICTIMS: [&[&str]; 3] = [&[HELPER], &["iw"], &[HELPER, "iw"]];

pub(super) type Next = fn(&Site) -> ImageSpec;

pub(super) fn good(site: &Site) -> ImageSpec {
    site.version("v2")
}

pub(super) fn bad(site: &Site) -> ImageSpec {
    let entrypoint = json!(["/imagewatch", "no-such-command"]);
    site.version("v2").with("Entrypoint", entrypoint)
}

/// The calls that change something, in an update that nobody disturbs.
pub(super) fn undisturbed(lab: &Lab, next: Next, check: fn(&Site)) -> Vec<String> {
    let site = Site::start(lab, 0, &ENV, &json!({}));
    let before = site.between.lines().len();
    site.publish(&next(&site));
    check(&site);
    let mut lines = site.between.lines().split_off(before);
    lines.retain(|line| is_change(line) && !line.contains("/images/create"));
    lines
}

/// Kills each of the victims at each moment.
fn kill_at_every_moment(next: Next, check: fn(&Site)) {
    let Some(lab) = Lab::parted() else { return };
    let lines = undisturbed(&lab, next, check);
    println!("{lines:#?}");
    let all = moments(&lines, &[Action::HoldBefore], &[Action::HoldAfter]);
    let all = all.into_iter().enumerate().flat_map(|(index, moment)| {
        // Two moments of each call.
        let caller = match index / 2 < of_server(&lines) {
            true => "iw",
            false => HELPER,
        };
        let is_certain = is_certain(&lines, &moment.line, index / 2);
        VICTIMS.map(|victims| Job {
            moment: moment.clone(),
            victims,
            is_held: victims.contains(&caller),
            is_certain,
        })
    });
    let jobs: VecDeque<_> = share(all.collect()).into_iter().enumerate().collect();
    let jobs = Mutex::new(jobs);
    let lock = |jobs: &Mutex<VecDeque<_>>| {
        jobs.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SITES {
            scope.spawn(|| {
                while let Some((number, job)) = lock(&jobs) {
                    let begun = Instant::now();
                    let disturb = || disturb(&lab, number + 1, next, check, &job);
                    let is_well = catch_unwind(AssertUnwindSafe(disturb)).is_ok();
                    let what = format!("{:?} killed, {}", job.victims, job.moment);
                    println!("{:.1?} {what}: {is_well}", begun.elapsed());
                    if !is_well {
                        failures
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(what);
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
        "{} failed: {failures:#?}",
        failures.len()
    );
}

/// How many of the first calls are the old server's, which makes and starts the helper.
fn of_server(lines: &[String]) -> usize {
    let made = lines.iter().position(|line| line.contains(HELPER));
    let made = made.expect("a helper");
    let start = lines[made..]
        .iter()
        .position(|line| line.ends_with("/start"));
    made + start.expect("its start") + 1
}

/// Whether each update has this call. Who takes the lock first, once the successor runs, differs: the helper or the new
/// imagewatch. A container in a crash loop is renamed as often as Docker 20.10 refuses that, and both may remove a helper.
pub(super) fn is_certain(lines: &[String], line: &str, index: usize) -> bool {
    let mut starts = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.ends_with("/start"));
    let helper = starts
        .next()
        .map(|(_, line)| line.replace("POST", "DELETE"));
    let helper = helper.expect("the helper's start").replace("/start", "?");
    let after = starts.next().map_or(lines.len(), |(place, _)| place);
    let is_about_lock = line.contains("imagewatch.claim")
        || line.ends_with("?force=1&v=1") && !line.starts_with(&helper);
    let is_retried = line.contains("/rename?") || line.starts_with("DELETE ");
    let is_repeated = is_retried && lines[..index].iter().any(|other| other == line);
    (index <= after || !is_about_lock) && !is_repeated
}

/// One kill.
struct Job {
    moment: Moment,
    victims: &'static [&'static str],
    /// Whether the caller is killed too. Whoever makes a call and is not killed gets its answer.
    is_held: bool,
    is_certain: bool,
}

fn disturb(lab: &Lab, number: usize, next: Next, check: fn(&Site), job: &Job) {
    let Job {
        moment,
        victims,
        is_held,
        is_certain,
    } = job;
    let site = Site::start(lab, number, &ENV, &json!({}));
    let docker = lab.docker.clone();
    let victims: Vec<String> = victims.iter().map(|name| site.name(name)).collect();
    let (place, action) = moment.plan();
    let (sender, done) = channel();
    let kill_all = move || victims.iter().for_each(|name| kill(&docker, name));
    // The connection is closed, because the server may make the same call again.
    let action = match action {
        Action::HoldBefore if *is_held => Action::CloseBefore,
        Action::HoldAfter if *is_held => Action::CloseAfter,
        action => action,
    };
    match action {
        Action::CloseBefore | Action::CloseAfter => site.between.at(place, action, move |_| {
            kill_all();
            let _ = sender.send(());
        }),
        Action::HoldBefore => {
            let action = Action::First(Arc::new(kill_all));
            site.between
                .at(place, action, move |_| sender.send(()).unwrap_or_default());
        }
        _ => {
            let action = Action::Then(Arc::new(kill_all));
            site.between
                .at(place, action, move |_| sender.send(()).unwrap_or_default());
        }
    }
    see_through(&site, next, check, (moment, *is_certain), &done);
}

/// Has the site update itself, waits until it was disturbed, and until all is well.
pub(super) fn see_through(
    site: &Site,
    next: Next,
    check: fn(&Site),
    (moment, is_certain): (&Moment, bool),
    done: &Receiver<()>,
) {
    let since = now();
    site.publish(&next(site));
    // A moment of the new imagewatch may come late.
    let patience = if is_certain { 180 } else { 30 };
    let came = done.recv_timeout(Duration::from_secs(patience));
    assert!(
        came.is_ok() || !is_certain,
        "no such call: {moment} in {:#?}",
        site.between.lines()
    );
    check(site);
    if site.runs() == "v1" {
        let starts = site.started("v2", since);
        assert!(starts <= 1, "the image was started {starts} times");
    }
}

/// What came of the update. A process that is killed takes its history along, and leaves its log.
pub(super) fn told(site: &Site) -> String {
    let from_log = || {
        let log = site.log_of("iw");
        let lines = [
            ("INFO  recreated container=", "recreated"),
            ("ERROR rolled back container=", "rolled_back"),
        ];
        let said = lines.map(|(line, outcome)| {
            let place = log.rfind(line)?;
            Some((place, outcome.to_owned()))
        });
        said.into_iter().flatten().max().map(|(_, outcome)| outcome)
    };
    patiently("what came of it", || {
        let history = site.history();
        let last = history.first().and_then(|last| last["outcome"].as_str());
        // The server may undo what a killed helper left, and tells that. The helper goes on.
        let last = last.filter(|last| *last != "skipped").map(str::to_owned);
        last.or_else(from_log)
    })
}

/// A successor that is killed before it is accepted looks like one that crashed.
pub(super) fn is_v2(site: &Site) {
    let told = told(site);
    if told == "rolled_back" {
        let log = site.log_of("iw");
        let is_kill =
            log.contains("it exited with code 137") || log.contains("s and was started again");
        assert!(is_kill, "{log}");
        return site.await_end("v1", &[HELPER]);
    }
    assert_eq!(told, "recreated");
    site.await_end("v2", &[]);
}

pub(super) fn is_back(site: &Site) {
    assert_eq!(told(site), "rolled_back");
    site.await_end("v1", &[HELPER]);
}

#[test]
fn a_kill_at_any_moment_of_its_own_update_leaves_one_imagewatch() {
    kill_at_every_moment(good, is_v2);
}

#[test]
fn a_kill_at_any_moment_of_its_own_roll_back_leaves_the_old_one() {
    kill_at_every_moment(bad, is_back);
}
