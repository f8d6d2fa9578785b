//! Killed, or disturbed by the Engine, at any change of one of three swaps, while others wait to be accepted.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::engine::swap::every_moment::is_change;
use crate::engine::swap::every_moment::share;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::eventually;
use crate::support::program::Program;
use serde_json::json;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::channel;
use std::time::Duration;

/// The containers, each with an image of its own.
const THREE: [&str; 3] = ["a", "b", "c"];
/// How many trios are disturbed side by side.
const TRIOS: usize = 3;
/// Longer than three exchanges on a busy machine.
const LONG: (&str, &str) = ("IMAGEWATCH_SETTLE", "8s");
const LONGEST_REFRESH: Duration = Duration::from_secs(300);

/// Three containers that nobody else looks after.
struct Trio<'l> {
    lab: &'l Lab,
    /// What the short names of its containers, and its runtimes, begin with.
    key: String,
    generation: usize,
}

impl<'l> Trio<'l> {
    fn new(lab: &'l Lab, number: usize) -> Self {
        let mut trio = Self {
            lab,
            key: format!("trio{number}-"),
            generation: 0,
        };
        trio.publish();
        for name in trio.names() {
            lab.pull(&name);
            lab.workspace(&name, &name);
        }
        trio
    }

    fn names(&self) -> [String; 3] {
        THREE.map(|name| format!("{}{name}", self.key))
    }

    /// Publishes other images, and answers their mark.
    fn publish(&mut self) -> String {
        self.generation += 1;
        let mark = format!("v{}", self.generation);
        for name in self.names() {
            // No two have the same image: if its names move at the same time, Docker with containerd's store loses it.
            let labels = json!({"version": mark, "name": name});
            self.lab.publish(&name, &good(&mark).with("Labels", labels));
        }
        mark
    }

    fn proxy(&self) -> EngineProxy {
        EngineProxy::part(&self.lab.docker, &self.lab.name(&self.key))
    }

    /// The same, which does this to a change and tells its line.
    fn disturbed(&self, place: usize, action: Action) -> (EngineProxy, Receiver<String>) {
        let between = self.proxy();
        let (tell, called) = channel();
        between.at(Place::Change(place), action, move |line| {
            let _ = tell.send(line);
        });
        (between, called)
    }

    fn program(&self, between: &EngineProxy, more: &[(&str, &str)]) -> Program {
        let (host, prefix) = (between.host(), self.lab.name(&self.key));
        let mut vars = vec![("DOCKER_HOST", &*host), ("IMAGEWATCH_PREFIX", &*prefix)];
        vars.extend_from_slice(more);
        self.lab.program(&self.names().join(","), &vars)
    }

    /// The mark of each, as soon as there is nothing else, and all run.
    #[track_caller]
    fn marks(&self) -> [String; 3] {
        let names = self.names();
        eventually("each runs under its name, and nothing is left", || {
            let mut now = self.lab.names();
            now.retain(|name| name.starts_with(&self.key));
            let runs = |name: &String| self.lab.inspect(name)["State"]["Running"] == true;
            (now == names && names.iter().all(runs)).then_some(())
        });
        names.map(|name| self.lab.version(&name))
    }

    /// The changes of an undisturbed refresh, from the second start on: then one waits to be accepted, and soon two.
    fn changes(&mut self) -> std::ops::RangeInclusive<usize> {
        self.publish();
        let between = self.proxy();
        let (_, report) = self.program(&between, &[LONG]).refresh("");
        assert_eq!(names(&report, "recreated").len(), THREE.len(), "{report}");
        self.marks();
        let mut lines = between.lines();
        lines.retain(|line| is_change(line));
        let at = |wanted: &str, nth: usize| {
            let places = (1..).zip(&lines).filter(|(_, line)| line.contains(wanted));
            let place = places.map(|(place, _)| place).nth(nth);
            place.unwrap_or_else(|| panic!("no {wanted} in {lines:#?}"))
        };
        // What is removed first shows that the others were in acceptance until then.
        assert!(
            at("/start", 2) < at("DELETE /containers/#", 0),
            "{lines:#?}"
        );
        at("/start", 1)..=lines.len()
    }
}

/// Does this to each trio, side by side: the job has the number of the change at which it disturbs.
fn at_each_change(actions: &[Action], job: impl Fn(&mut Trio, usize, Action) + Sync) {
    let Some(lab) = Lab::parted() else { return };
    let mut trios: Vec<_> = (0..TRIOS).map(|number| Trio::new(&lab, number)).collect();
    let changes = trios[0].changes();
    // A share takes every n-th job, and is to have all actions.
    let at = |action| {
        changes
            .clone()
            .map(move |place| (place, Action::clone(action)))
    };
    let jobs: Vec<_> = actions.iter().flat_map(at).collect();
    let jobs = share(jobs);
    std::thread::scope(|scope| {
        for (number, mut trio) in trios.into_iter().enumerate() {
            let (jobs, job) = (&jobs, &job);
            scope.spawn(move || {
                for (place, action) in jobs.iter().skip(number).step_by(TRIOS) {
                    println!("change {place} {action:?}");
                    job(&mut trio, *place, action.clone());
                }
            });
        }
    });
}

#[test]
fn a_kill_at_any_change_loses_none_of_three_swaps() {
    let actions = [Action::HoldBefore, Action::HoldAfter];
    at_each_change(&actions, |trio, place, action| {
        let (old, new) = (trio.marks(), trio.publish());
        let (between, called) = trio.disturbed(place, action);
        let mut program = trio.program(&between, &[LONG]);
        assert_eq!(
            program
                .ask("POST", "/admin/workspace-images/refresh?wait=false")
                .0,
            202
        );
        let line = called.recv_timeout(LONGEST_REFRESH);
        let line = line.unwrap_or_else(|_| panic!("no change {place}: {:#?}", between.lines()));
        program.kill();
        let lines = between.lines();
        let recovered = trio.proxy();
        let mut program = trio.program(&recovered, &[]);
        let marks = trio.marks();
        program.signal("TERM");
        assert!(program.await_exit().0.success(), "{}", program.log());
        let starts = lines.iter().filter(|line| line.ends_with("/start")).count();
        // The Engine may or may not have done a start that was not answered.
        let held = usize::from(line.ends_with("/start"));
        let are_new = marks.iter().filter(|mark| **mark == new).count();
        assert!(
            (starts - held..=starts).contains(&are_new),
            "{line}: {marks:?} {lines:#?}"
        );
        let is_known = |(mark, old): (&String, &String)| *mark == new || mark == old;
        assert!(
            marks.iter().zip(&old).all(is_known),
            "{line}: {marks:?} {old:?}"
        );
    });
}

#[test]
fn any_change_may_fail_while_other_swaps_wait_to_be_accepted() {
    let actions = [Action::Refuse(500), Action::FailAfter, Action::CloseAfter];
    at_each_change(&actions, |trio, place, action| {
        let (old, new) = (trio.marks(), trio.publish());
        let (between, called) = trio.disturbed(place, action);
        let program = trio.program(&between, &[LONG]);
        let (status, report) = program.refresh("");
        let line = called.try_recv().unwrap_or_default();
        assert_eq!(status, 200, "{line}: {report}");
        let marks = trio.marks();
        let recreated = names(&report, "recreated");
        for ((name, mark), old) in trio.names().iter().zip(&marks).zip(&old) {
            let is_told = recreated.contains(&trio.lab.name(name));
            assert!(
                *mark == new || mark == old && !is_told,
                "{line}: {name} {mark} {report}"
            );
        }
        let failures = json!([report["failed"], report["skipped"], report["rolled_back"]]);
        let is_told = recreated.len() == THREE.len() || failures != json!([[], [], []]);
        assert!(is_told, "{line}: {report}");
    });
}
