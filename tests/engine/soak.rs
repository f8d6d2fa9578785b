//! A week in an hour: tags move, images are bad, the program is killed, the Engine restarted, the
//! registry cut off, on a fleet of containers of every kind. Whenever it is calm again nothing may be
//! lost or left over, and the history has to say how it came to that.
//!
//! A short form by default; `LAB_SOAK=week` is the long one (`scripts/test.sh soak`). The order of events
//! is drawn from a seed, which is printed; `LAB_SOAK_SEED` sets it.

mod fleet;
mod footprint;
mod ledger;
mod plan;
mod tags;

use crate::engine::first_evening::sample;
use crate::engine::lab::Lab;
use crate::engine::lab::STOPPED_TOO;
use crate::fuzz::generator::Random;
use crate::support::Folder;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::server::Answer;
use fleet::Fleet;
use fleet::Member;
use footprint::Footprint;
use ledger::Ledger;
use plan::Mishap;
use plan::Move;
use plan::Scene;
use plan::Week;
use serde_json::Value;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

/// How long it may take until all is calm again: a registry in trouble is put off for a minute.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at what sends no event.
const PAUSE: Duration = Duration::from_millis(200);
/// A mishap comes at most this long after the move before it, in milliseconds: about as long as
/// it takes to renew what follows one tag.
const LATEST: usize = 3000;
/// Quiet rounds after each scene, even if there were rounds enough.
const FEWEST: usize = 2;

#[test]
fn a_week_of_mishaps_loses_nothing() {
    let Some(mut lab) = Lab::alone().filter(|_| Lab::is_in_charge()) else {
        return;
    };
    if let Ok(binary) = std::env::var("LAB_BINARY") {
        lab.binary = binary;
    }
    let week = Week::chosen();
    let seed = std::env::var("LAB_SOAK_SEED").ok();
    let seed = seed.map_or_else(
        || u64::from(std::process::id()),
        |text| text.parse().expect("a number"),
    );
    say(&format!("soak: seed {seed}, {week:?}"));
    let mut soak = Soak::begin(&lab, week, Random::new(seed));
    for (number, scene) in week.draw(&mut soak.random).into_iter().enumerate() {
        soak.play(number, &scene);
        soak.quiet_rounds(number);
    }
    soak.end();
}

/// The week as it goes.
struct Soak<'l> {
    week: Week,
    lab: &'l Lab,
    random: Random,
    begun: Instant,
    fleet: Fleet<'l>,
    ledger: Ledger,
    state: Folder,
    program: Program,
    /// Outcomes there were before this process.
    inherited: usize,
    footprint: Footprint,
    figures: Figures,
    /// The tag that moved last.
    last_moved: usize,
}

/// What happened, for people.
#[derive(Debug, Default)]
struct Figures {
    /// Of the processes that are gone.
    rounds: u64,
    moves: usize,
    bad: usize,
    kills: usize,
    kills_in_mid_swap: usize,
    restarts: usize,
    restarts_in_mid_swap: usize,
    outages: usize,
    calm_points: usize,
}

impl<'l> Soak<'l> {
    fn begin(lab: &'l Lab, week: Week, random: Random) -> Self {
        let fleet = Fleet::new(lab, week.tags, week.containers);
        let state = Folder::new();
        let program = spawn(lab, &fleet, &state);
        let soak = Self {
            week,
            lab,
            random,
            begun: Instant::now(),
            fleet,
            ledger: Ledger::default(),
            state,
            program,
            inherited: 0,
            footprint: Footprint::default(),
            figures: Figures::default(),
            last_moved: 0,
        };
        soak.await_calm();
        soak
    }

    /// One scene, and a look at everything once it is calm again.
    fn play(&mut self, number: usize, scene: &Scene) {
        let from = self.ledger.events.len();
        let bad_before: Vec<bool> = self.fleet.tags.iter().map(|tag| !tag.is_good()).collect();
        let mut said = Vec::new();
        // What disturbs a swap comes after a move.
        let first = usize::from(matches!(scene.mishap, Mishap::Kill | Mishap::Restart));
        let place = first + self.random.below(scene.moves.len() + 1 - first);
        for index in 0..=scene.moves.len() {
            if index == place {
                self.begin_mishap(scene.mishap);
            }
            if let Some(kind) = scene.moves.get(index) {
                // Several at once, or one while the other's refresh runs.
                if index > 0 && self.random.below(2) == 0 {
                    self.pause(LATEST / 2);
                }
                said.push(self.publish(*kind, scene.mishap));
            }
        }
        if scene.mishap == Mishap::Outage {
            self.end_outage();
        }
        self.await_calm();
        if scene.mishap == Mishap::Restart {
            self.fleet.start_what_stays_down();
        }
        self.await_well();
        self.account(scene, from, &bad_before);
        self.fleet.settle();
        self.figures.calm_points += 1;
        say(&format!(
            "{:>4} s, round {:>4}: scene {number}, {:?}, {}",
            self.begun.elapsed().as_secs(),
            self.all_rounds(),
            scene.mishap,
            said.join(" ")
        ));
    }

    /// Waits at random, for less than this many milliseconds: what happens next comes at any moment.
    fn pause(&mut self, below: usize) {
        let milliseconds = self.random.below(below);
        std::thread::sleep(Duration::from_millis(milliseconds as u64));
    }

    fn publish(&mut self, kind: Move, mishap: Mishap) -> String {
        let tags = if (kind, mishap) == (Move::Bad, Mishap::Restart) {
            self.fleet.tags_that_come_back()
        } else {
            (0..self.fleet.tags.len()).collect()
        };
        let mut tag = *self.random.pick(&tags);
        // Now and then the same again, while its refresh runs.
        if self.random.below(3) == 0 && tags.contains(&self.last_moved) {
            tag = self.last_moved;
        }
        self.last_moved = tag;
        self.figures.moves += 1;
        self.figures.bad += usize::from(kind == Move::Bad);
        self.fleet.tags[tag].publish(self.lab, kind, &mut self.random)
    }

    fn begin_mishap(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::None => {}
            Mishap::Kill => {
                self.pause(LATEST);
                let in_mid_swap = self.kill();
                // The next one, which puts right what this one left, does not always live long.
                if in_mid_swap && self.random.below(3) == 0 {
                    self.pause(LATEST / 4);
                    self.kill();
                }
            }
            Mishap::Restart => self.restart_engine(),
            Mishap::Outage => self.begin_outage(),
        }
    }

    /// Kills the program and starts it again; answers whether that was in mid-swap.
    fn kill(&mut self) -> bool {
        self.figures.rounds += self.rounds();
        self.program.kill();
        let in_mid_swap = self.fleet.is_in_mid_swap();
        self.figures.kills += 1;
        self.figures.kills_in_mid_swap += usize::from(in_mid_swap);
        if let Ok(bytes) = std::fs::read(self.state.path().join("imagewatch.json")) {
            let file: Value = serde_json::from_slice(&bytes).expect("JSON");
            self.ledger.read(&file["history"]);
        }
        self.inherited = self.ledger.events.len();
        self.footprint = Footprint::default();
        self.program = spawn(self.lab, &self.fleet, &self.state);
        in_mid_swap
    }

    fn restart_engine(&mut self) {
        self.pause(LATEST);
        self.figures.restarts += 1;
        self.figures.restarts_in_mid_swap += usize::from(self.fleet.is_in_mid_swap());
        self.lab.do_to_engine("restart");
    }

    /// From now on the registry does not answer, says that it is in trouble, or asks for time. The
    /// program and the Engine go through the same proxy.
    fn begin_outage(&mut self) {
        self.pause(LATEST);
        self.figures.outages += 1;
        let soon = [("Retry-After", "2")];
        let rules = &self.lab.rules;
        // After two of the last kind a registry is put off for a minute.
        let kinds = if self.week.is_long() { 7 } else { 6 };
        match self.random.below(kinds) {
            0..3 => rules.set_cut_off(true),
            3 | 4 => rules.set_trouble(Some(Answer::new(503, &soon, "not now"))),
            5 => rules.set_trouble(Some(Answer::new(429, &soon, "too many"))),
            _ => rules.set_trouble(Some(Answer::new(500, &[], "oops"))),
        }
    }

    fn end_outage(&mut self) {
        let before = self.failed_look_ups();
        eventually("look-ups fail", || {
            (self.failed_look_ups() > before + 2).then_some(())
        });
        self.pause(LATEST);
        self.lab.rules.set_cut_off(false);
        self.lab.rules.set_trouble(None);
    }

    fn failed_look_ups(&self) -> u64 {
        let page = self.metrics();
        let of = page
            .lines()
            .filter(|line| line.starts_with("imagewatch_lookups_total{"));
        let failed = of.filter(|line| !line.contains("outcome=\"ok\""));
        let values = failed.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        values.sum()
    }

    fn metrics(&self) -> String {
        self.program.ask_text("GET", "/metrics").2
    }

    /// Rounds that this process began.
    fn rounds(&self) -> u64 {
        sample(&self.metrics(), "imagewatch_rounds_total") as u64
    }

    fn await_rounds(&self, count: u64) {
        let before = self.rounds();
        self.wait("the next rounds", || {
            let now = self.rounds();
            if now >= before + count {
                Ok(())
            } else {
                Err(format!("round {now}"))
            }
        });
    }

    #[track_caller]
    fn wait(&self, what: &str, mut look: impl FnMut() -> Result<(), String>) {
        let begun = Instant::now();
        while let Err(trouble) = look() {
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain: {what}: {trouble}"
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Until the program has seen each tag's newest image and has nothing to do.
    #[track_caller]
    fn await_calm(&self) {
        self.await_rounds(2);
        self.wait("it is calm", || {
            let (status, answer) = self.program.ask("GET", "/admin/status");
            if status != 200 {
                return Err(format!("{status} {answer}"));
            }
            self.is_calm(&answer)
        });
    }

    fn is_calm(&self, status: &Value) -> Result<(), String> {
        let references = status["references"].as_array().ok_or("no references")?;
        for tag in &self.fleet.tags {
            let name = tag.reference(self.lab);
            let mut found = references.iter();
            let found = found.find(|one| one["reference"] == *name);
            let found = found.ok_or_else(|| format!("{name} is not watched"))?;
            let state = if tag.is_good() { "current" } else { "rejected" };
            let is_seen = ["registry_digest", "seen_digest"]
                .iter()
                .all(|key| found[key] == tag.digest());
            if !is_seen || found["state"] != state {
                return Err(format!("{} should be {state}: {found}", tag.digest()));
            }
        }
        let rejected = status["rejected"].as_array().map_or(0, Vec::len);
        let bad = self.fleet.tags.iter().filter(|tag| !tag.is_good()).count();
        if rejected != bad || self.fleet.is_in_mid_swap() {
            return Err(format!("{bad} are bad: {}", status["rejected"]));
        }
        Ok(())
    }

    /// Until every container is as it should be.
    #[track_caller]
    fn await_well(&self) {
        self.wait("all is well", || self.fleet.look());
    }

    /// Whether the history explains what is there now, and the metrics say the same.
    #[track_caller]
    fn account(&mut self, scene: &Scene, from: usize, bad_before: &[bool]) {
        let (_, status) = self.program.ask("GET", "/admin/status");
        self.ledger.read(&status["history"]);
        let page = self.metrics();
        for (outcome, name) in [
            ("recreated", "recreated"),
            ("rolled_back", "rolled_back"),
            ("skipped", "failed"),
        ] {
            let counted = sample(
                &page,
                &format!("imagewatch_swaps_total{{outcome=\"{name}\"}}"),
            );
            let told = self.ledger.count(outcome, self.inherited);
            assert_eq!(counted as usize, told, "{outcome}: {}", status["history"]);
        }
        let untold: Vec<String> = (self.fleet.members.iter())
            .filter_map(|member| self.untold(member, from))
            .collect();
        assert!(
            untold.is_empty(),
            "{untold:?}: {:#?}",
            &self.ledger.events[from..]
        );
        self.check_roll_backs(scene, from, bad_before);
    }

    /// How a container came from what it ran when all was well last to what it runs now, if the
    /// history does not say.
    fn untold(&self, member: &Member, from: usize) -> Option<String> {
        let mut image = member.image.clone();
        let events = self.ledger.events[from..].iter();
        let own = events.filter(|one| one.outcome == "recreated" && one.container == member.name);
        let mut gap = None;
        for event in own {
            // Told again by whoever put right what a killed process had told already.
            if event.new == image {
                continue;
            }
            if event.old != image {
                gap = Some(format!("from {image} to {}", event.old));
            }
            image.clone_from(&event.new);
        }
        let now = self.fleet.image_now(member);
        if now != image {
            gap = Some(format!("from {image} to {now}"));
        }
        gap.map(|gap| format!("{} {gap}", member.name))
    }

    /// A bad image is tried once, and no good one is taken for bad.
    #[track_caller]
    fn check_roll_backs(&self, scene: &Scene, from: usize, bad_before: &[bool]) {
        let events = &self.ledger.events[from..];
        let is_disturbed = matches!(scene.mishap, Mishap::Kill | Mishap::Restart);
        for event in events.iter().filter(|one| one.outcome == "rolled_back") {
            assert!(!event.reason.is_empty(), "{event:?}");
            let image = self.lab.docker.image(&event.new);
            let mark = image["Config"]["Labels"]["version"]
                .as_str()
                .unwrap_or_default();
            // An Engine that goes away in mid-swap is nobody's fault, and another try is made.
            let is_explained = mark.contains("-bad") || scene.mishap == Mishap::Restart;
            assert!(is_explained, "{mark} is good: {event:?}");
        }
        for (tag, was_bad) in self.fleet.tags.iter().zip(bad_before) {
            if tag.is_good() {
                continue;
            }
            let reference = tag.reference(self.lab);
            // After the roll-back, the tag means the old image again.
            let newest = format!("{}@{}", reference.trim_end_matches(":latest"), tag.digest());
            let id = self.lab.docker.image(&newest)["Id"].clone();
            let is_it = |one: &&ledger::Event| one.outcome == "rolled_back" && id == *one.new;
            let tries = events.iter().filter(is_it).count();
            let is_right = match (*was_bad && !tag.has_moved(), is_disturbed) {
                (true, _) => tries == 0,
                (false, false) => tries == 1,
                (false, true) => (1..=3).contains(&tries),
            };
            assert!(is_right, "{reference} was tried {tries} times: {events:#?}");
        }
    }

    fn all_rounds(&self) -> u64 {
        self.figures.rounds + self.rounds()
    }

    /// Rounds in which nothing happens, so that all of them become as many as there should be.
    fn quiet_rounds(&mut self, number: usize) {
        let scenes = self.week.scenes() as u64;
        let due = self.week.rounds * (number as u64 + 1) / scenes;
        let mut quiet = 0;
        while quiet < FEWEST || self.all_rounds() < due {
            self.await_rounds(1);
            self.footprint.look(&self.program);
            quiet += 1;
        }
    }

    fn end(mut self) {
        self.figures.rounds += self.rounds();
        let hour = self.week.hour;
        say(&format!(
            "soak: {} s, {:?}\nsoak: {}\nsoak: the last process: {}",
            self.begun.elapsed().as_secs(),
            self.figures,
            self.ledger,
            self.footprint.in_words(hour)
        ));
        say(&format!("soak: {}", self.fleet.images_in_words()));
        self.footprint.assert_flat(hour, self.week.growth);
        self.program.signal("TERM");
        let (status, _) = self.program.await_exit();
        assert!(status.success(), "{status}");
        self.await_well();
        let log = self.program.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn spawn(lab: &Lab, fleet: &Fleet, state: &Folder) -> Program {
    let runtimes: Vec<&str> = fleet.tags.iter().map(|tag| &*tag.runtime).collect();
    lab.watcher(
        &runtimes.join(","),
        &[
            ("IMAGEWATCH_STATE", state.path().to_str().expect("text")),
            ("IMAGEWATCH_CATCH_UP", "true"),
            STOPPED_TOO,
            ("IMAGEWATCH_CLEANUP", "true"),
            ("ADMIN_TOKEN", "t0ken"),
        ],
    )
}

/// Into the log of the run, also when all is well.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
