//! A storm: tags move to good and to bad images, the program is killed, and somebody else acts on the
//! Engine meanwhile: an owner, a prune, a restart, a full disk, a registry, a second program. Once it
//! is calm again everything has to be as everybody wanted it, and as it was told.
//!
//! Each storm is drawn from a seed. A few of them by default; `LAB_STORM_SEED` and `LAB_STORM_COUNT` choose
//! others (`scripts/test.sh storm`).

mod expected;
mod members;
mod others;
mod script;
mod timeline;

use crate::engine::lab::Lab;
use crate::fuzz::generator::Random;
use crate::support::Folder;
use crate::support::program::Program;
use crate::support::server::Answer;
use members::Member;
use members::Tag;
use others::Done;
use others::Pruned;
use script::Disturbance;
use script::Due;
use script::Script;
use script::TAGS;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use timeline::Listener;
use timeline::Timeline;

/// Those that are tried every day: a minute has no room for one of each kind.
const DAILY: std::ops::Range<u64> = 2..5;
/// How long it may take until all is well again: a registry in trouble is put off for a minute.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the first swap may take to begin.
const FIRST_SWAP: Duration = Duration::from_secs(6);
/// Between two looks at what sends no event.
const PAUSE: Duration = Duration::from_millis(400);
/// Once all is well, it has to be so after these rounds too.
const ROUNDS: u64 = 2;

#[test]
fn storms_lose_nothing_and_every_outcome_is_as_it_was_told() {
    if !Lab::is_in_charge() {
        return;
    }
    let mut failed = Vec::new();
    for seed in seeds() {
        let Some(mut lab) = Lab::in_charge() else {
            return;
        };
        if let Ok(binary) = std::env::var("LAB_BINARY") {
            lab.binary = binary;
        }
        let begun = Instant::now();
        let mut storm = Storm::gather(&lab, seed);
        let outcome = catch_unwind(AssertUnwindSafe(|| storm.rage()));
        let outcome = outcome.unwrap_or_else(|panic| Err(words(&*panic)));
        let is_lost = storm.has_lost_process();
        let took = begun.elapsed().as_secs();
        match outcome {
            Ok(()) => say(&format!(
                "storm {seed}: well after {took} s, {:?}",
                storm.script
            )),
            Err(trouble) => {
                let timeline = storm.timeline.text(&storm.log());
                let script = &storm.script;
                say(&format!(
                    "storm {seed}: FAILED after {took} s\n{script:#?}\n{timeline}storm {seed}: {trouble}\n\
                     storm {seed}: LAB_STORM_SEED={seed} is the same again"
                ));
                failed.push(seed);
            }
        }
        drop(storm);
        let is_last = seeds().last() == Some(seed);
        assert!(
            !is_lost || is_last,
            "the Engine has lost a process in storm {seed}: storms after that need another Engine"
        );
    }
    assert!(failed.is_empty(), "storms {failed:?} did harm, see above");
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| {
        let chosen = std::env::var(name).ok()?;
        Some(chosen.parse::<u64>().expect("a number"))
    };
    match number("LAB_STORM_SEED") {
        Some(first) => first..first + number("LAB_STORM_COUNT").unwrap_or(1),
        None => DAILY,
    }
}

/// One of them.
struct Storm<'l> {
    lab: &'l Lab,
    script: Script,
    timeline: Arc<Timeline>,
    _listener: Listener,
    state: Folder,
    tags: Mutex<Vec<Tag>>,
    members: Vec<Member>,
    /// Volumes that no container has, before anything happened.
    dangling: BTreeSet<String>,
    program: Option<Program>,
    /// Of the processes that are gone.
    logs: Vec<(Instant, String)>,
    kills: usize,
    effect: Effect,
}

/// What came of a disturbance.
#[derive(Default)]
struct Effect {
    done: Option<Done>,
    pruned: Option<Pruned>,
    /// If the Engine was restarted: the names of the containers that were in mid-swap then, and when it was back.
    in_swap_at_restart: Option<(BTreeSet<String>, Instant)>,
    second: Option<(Program, Folder)>,
}

impl<'l> Storm<'l> {
    /// Everything is there, runs, and is watched.
    fn gather(lab: &'l Lab, seed: u64) -> Self {
        let script = Script::draw(&mut Random::new(seed), lab.is_podman);
        let timeline = Timeline::new();
        let tags = members::tags(lab, &script);
        let members = members::members(lab, &script);
        let state = Folder::new();
        let program = spawn(lab, &script, &state);
        program.await_line("listening on ");
        let storm = Self {
            _listener: Listener::new(&lab.docker, &timeline),
            lab,
            script,
            timeline,
            state,
            tags: Mutex::new(tags),
            members,
            dangling: dangling_volumes(lab),
            program: Some(program),
            logs: Vec::new(),
            kills: 0,
            effect: Effect::default(),
        };
        storm.await_rounds(1);
        storm
    }

    fn rage(&mut self) -> Result<(), String> {
        self.play();
        self.await_well()?;
        self.await_rounds(ROUNDS);
        self.await_well()?;
        if let Some((second, _)) = self.effect.second.take() {
            self.end(second)?;
        }
        if let Some(program) = self.program.take() {
            self.end(program)?;
        }
        Ok(())
    }

    /// SIGTERM, and it goes.
    fn end(&mut self, mut program: Program) -> Result<(), String> {
        program.signal("TERM");
        let (status, _) = program.await_exit();
        self.logs.extend(program.timed_log());
        if status.success() {
            Ok(())
        } else {
            Err(format!("it ended with {status}"))
        }
    }

    /// Tags move and the program is killed, while somebody else does the rest.
    fn play(&mut self) {
        let timeline = Arc::clone(&self.timeline);
        let (members, tags) = (
            std::mem::take(&mut self.members),
            std::mem::take(&mut self.tags),
        );
        let script = self.script.clone();
        let scene = Scene {
            lab: self.lab,
            timeline: &timeline,
            script: &script,
            members: &members,
            tags: &tags,
            begun: Instant::now(),
        };
        let effect = std::thread::scope(|scope| {
            let disturbance = scope.spawn(|| {
                scene.wait(script.due);
                scene.disturb()
            });
            self.move_and_kill(&scene);
            disturbance.join()
        });
        self.members = members;
        self.tags = tags;
        match effect {
            Ok(effect) => self.effect = effect,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn move_and_kill(&mut self, scene: &Scene) {
        let moves = scene.script.moves.iter();
        let mut steps: Vec<_> = moves
            .map(|one| (Due::AfterMove(one.after), Some(*one)))
            .collect();
        steps.extend(scene.script.kills.iter().map(|due| (*due, None)));
        while !steps.is_empty() {
            let next = steps.iter().position(|(due, _)| scene.is_due(*due));
            match next.map(|number| steps.swap_remove(number).1) {
                Some(Some(one)) => scene.publish(one.tag, one.image),
                Some(None) => self.kill(),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Kills the program and starts it again.
    fn kill(&mut self) {
        self.timeline.note("kills the program");
        self.kills += 1;
        let mut program = self.program.take().expect("a program");
        program.kill();
        self.logs.extend(program.timed_log());
        self.program = Some(spawn(self.lab, &self.script, &self.state));
    }

    /// Until nothing is wrong any more, or what still is.
    fn await_well(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let trouble = self.trouble();
            if trouble.is_empty() {
                self.timeline.note("all is well");
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(trouble.join("\n  "));
            }
            std::thread::sleep(PAUSE);
            if begun.elapsed() > Duration::from_secs(3) {
                self.start_what_stays_down();
            }
            // Docker 28.5 that is killed in a crash loop can neither stop nor remove that container. What is left to
            // the program is to have the old ones run again.
            if begun.elapsed() > Duration::from_secs(60) && self.has_lost_process() {
                self.timeline.note("the Engine has lost a process");
                let down = self.down_beside_the_lost_one();
                return if down.is_empty() {
                    Ok(())
                } else {
                    Err(down.join("\n  "))
                };
            }
        }
    }

    fn await_rounds(&self, count: u64) {
        let rounds = || self.program().ask("GET", "/admin/status").1["watcher"]["rounds"].as_u64();
        let before = rounds().unwrap_or(0);
        crate::support::eventually("the next rounds", || {
            rounds()
                .is_some_and(|now| now >= before + count)
                .then_some(())
        });
    }

    fn program(&self) -> &Program {
        self.program.as_ref().expect("a program")
    }

    fn tags(&self) -> MutexGuard<'_, Vec<Tag>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was logged, by all of them.
    fn log(&self) -> Vec<(Instant, String)> {
        let mut log = self.logs.clone();
        let second = self.effect.second.iter().map(|(program, _)| program);
        for program in self.program.iter().chain(second) {
            log.extend(program.timed_log());
        }
        log
    }
}

/// What both threads of a storm know.
struct Scene<'s> {
    lab: &'s Lab,
    timeline: &'s Timeline,
    script: &'s Script,
    members: &'s [Member],
    tags: &'s Mutex<Vec<Tag>>,
    begun: Instant,
}

impl Scene<'_> {
    fn is_due(&self, due: Due) -> bool {
        match due {
            Due::AfterMove(after) => self.begun.elapsed() >= after,
            Due::AfterSwap(after) => match self.timeline.await_swap(Duration::ZERO) {
                Some(swap) => swap.elapsed() >= after,
                // What is hindered from the beginning never gets so far.
                None => self.begun.elapsed() >= FIRST_SWAP + after,
            },
        }
    }

    fn wait(&self, due: Due) {
        while !self.is_due(due) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn tags(&self) -> MutexGuard<'_, Vec<Tag>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, tag: usize, image: script::Image) {
        // A full disk is one that has no room for a layer.
        let has_layer = matches!(self.script.disturbance, Disturbance::FullDisk(_));
        let mark = self.tags()[tag].publish(self.lab, image, has_layer);
        self.timeline.note(format!("the tag moves to {mark}"));
    }

    fn disturb(&self) -> Effect {
        let mut effect = Effect::default();
        match self.script.disturbance {
            Disturbance::None => {}
            Disturbance::RestartEngine | Disturbance::KillEngine => {
                let in_swap = self.in_swap();
                let is_killed = self.script.disturbance == Disturbance::KillEngine;
                self.to_engine(if is_killed { "kill" } else { "restart" });
                effect.in_swap_at_restart = Some((in_swap, Instant::now()));
            }
            Disturbance::Owner(deed, member) => {
                effect.done = Some(others::act(
                    self.lab,
                    self.timeline,
                    self.members,
                    (deed, member),
                ));
            }
            Disturbance::PruneContainers => {
                effect.pruned = Some(others::prune(self.lab, self.timeline, false))
            }
            Disturbance::PruneAll => {
                effect.pruned = Some(others::prune(self.lab, self.timeline, true))
            }
            Disturbance::FullDisk(time) => {
                self.to_engine("fill");
                std::thread::sleep(time);
                self.to_engine("empty");
            }
            Disturbance::MovesAgain(image) => self.publish(self.script.moves[0].tag, image),
            Disturbance::MovesBack => {
                let mark = self.tags()[self.script.moves[0].tag].publish_previous(self.lab);
                self.timeline.note(format!("the tag moves back to {mark}"));
            }
            Disturbance::RegistryAway(time) => self.registry_away(time),
            Disturbance::SecondProgram(time) => {
                let state = Folder::new();
                let mut program = spawn(self.lab, self.script, &state);
                self.timeline.note("a second program");
                if let Some(time) = time {
                    std::thread::sleep(time);
                    self.timeline.note("kills the second program");
                    program.kill();
                    // Whoever is there puts right what it left; its claim is found to be a dead one's.
                }
                effect.second = time.is_none().then_some((program, state));
            }
        }
        effect
    }

    /// It closes every connection, or says that it is in trouble.
    fn registry_away(&self, time: Duration) {
        let rules = &self.lab.rules;
        self.timeline.note("the registry goes away");
        if time.as_millis() % 2 == 0 {
            rules.set_cut_off(true);
        } else {
            let soon = [("Retry-After", "2")];
            rules.set_trouble(Some(Answer::new(503, &soon, "not now")));
        }
        std::thread::sleep(time);
        rules.set_cut_off(false);
        rules.set_trouble(None);
        self.timeline.note("the registry is back");
    }

    /// The names of the containers that are being renewed now.
    fn in_swap(&self) -> BTreeSet<String> {
        let names = self.lab.docker.names(&self.lab.prefix);
        let transient = names.iter().filter_map(|name| name.split_once(".iw-"));
        transient.map(|(name, _)| name.to_owned()).collect()
    }

    fn to_engine(&self, what: &str) {
        self.timeline.note(format!("the Engine: {what}"));
        self.lab.do_to_engine(what);
        self.timeline.note(format!("the Engine: {what}, done"));
    }
}

/// The program that watches all of it.
fn spawn(lab: &Lab, script: &Script, state: &Folder) -> Program {
    let cleanup = if script.cleans_up { "true" } else { "false" };
    let vars = [
        ("IMAGE_AUTO_REFRESH", "true"),
        ("IMAGEWATCH_STATE", state.path().to_str().expect("text")),
        ("IMAGEWATCH_CATCH_UP", "true"),
        ("IMAGEWATCH_CLEANUP", cleanup),
        ("IMAGEWATCH_HEALTH_TIMEOUT", "15s"),
    ];
    lab.spawn(&TAGS.join(","), &vars)
}

/// Volumes that no container has.
fn dangling_volumes(lab: &Lab) -> BTreeSet<String> {
    let path = "/volumes?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D";
    let (_, answer) = lab.docker.json("GET", path, &Value::Null);
    let list = answer["Volumes"].as_array();
    let names = list.into_iter().flatten().map(|one| one["Name"].as_str());
    names.flatten().map(str::to_owned).collect()
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    text.unwrap_or_default()
}

/// Into the log of the run, also when all is well.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
