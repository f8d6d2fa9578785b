//! The fleet: its instances, and the events of simulated time. The program's own code decides on the pauses between
//! rounds, on the order of a round's look-ups, and on the look-ups that are made.

use super::REFERENCES;
use super::limits::Limits;
use super::queue::Queue;
use super::random::Random;
use super::registry::Answer;
use super::registry::Asked;
use super::registry::Registry;
use super::scenario::Scenario;
use super::time::INTERVAL;
use super::time::SECOND;
use imagewatch::error::Error;
use imagewatch::error::Result;
use imagewatch::reference::Digest;
use imagewatch::registry::Hosts;
use imagewatch::registry::Turn;
use imagewatch::watch::Schedule;
use imagewatch::watch::in_order;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

const HOST: &str = "registry.example";
/// An answer comes after so many microseconds.
const ANSWER: std::ops::Range<u64> = 40_000..160_000;
/// A registry that does not answer costs the deadline of the program.
const DEADLINE: u64 = 10 * SECOND;
/// An update takes so long. The round waits for it.
const UPDATE: std::ops::Range<u64> = 5 * SECOND..60 * SECOND;
/// A token is not used in its last seconds, if its end is known.
const MARGIN: u64 = 5 * SECOND;

/// The way in which a fleet is simulated.
#[derive(Clone, Copy)]
pub struct Fleet {
    pub instances: usize,
    /// Whether all instances have the same address.
    pub is_behind_nat: bool,
    /// Whether a restarted instance keeps to the interval from its first round on, as before its schedule had a
    /// random phase. Only the plot shows that.
    pub is_in_step: bool,
}

struct Instance<'a> {
    hosts: &'a Hosts,
    turn: Option<Turn<'a>>,
    schedule: Schedule,
    order: Vec<usize>,
    place: usize,
    is_paused: bool,
    awaited: Option<(Asked, Answer)>,
    has_failed: [bool; REFERENCES],
    /// The version of each tag that was seen last.
    seen: [usize; REFERENCES],
    tokens: [Option<u64>; REFERENCES],
    knows_challenge: bool,
    has_news: bool,
}

impl<'a> Instance<'a> {
    fn new(hosts: &'a Hosts) -> Self {
        Self {
            hosts,
            turn: None,
            schedule: Schedule::new(Duration::from_micros(INTERVAL)),
            order: Vec::new(),
            place: 0,
            is_paused: false,
            awaited: None,
            has_failed: [false; REFERENCES],
            seen: [0; REFERENCES],
            tokens: [None; REFERENCES],
            knows_challenge: false,
            has_news: false,
        }
    }
}

pub struct World<'a> {
    fleet: Fleet,
    scenario: &'a Scenario,
    pub registry: Registry<'a>,
    instances: Vec<Instance<'a>>,
    events: Queue,
    random: Random,
    epoch: Instant,
    found: Rc<Result<Digest>>,
    /// The number of look-ups that were wanted.
    pub look_ups: u64,
    /// The longest time until a move was followed.
    pub slowest: u64,
}

impl<'a> World<'a> {
    pub fn new(limits: &'a Limits, scenario: &'a Scenario, fleet: Fleet, seed: u64) -> Self {
        let addresses = if fleet.is_behind_nat {
            1
        } else {
            fleet.instances
        };
        Self {
            fleet,
            scenario,
            registry: Registry::new(limits, scenario, addresses),
            instances: Vec::new(),
            events: Queue::new(scenario.end),
            random: Random::new(seed),
            epoch: Instant::now(),
            found: Rc::new(format!("sha256:{}", "1".repeat(64)).parse()),
            look_ups: 0,
            slowest: 0,
        }
    }

    /// Runs the scenario. `before` and `after` are the memories before and after the restart.
    pub fn run(&mut self, before: &'a [Hosts], after: &'a [Hosts]) {
        self.instances = before.iter().map(Instance::new).collect();
        for who in 0..self.instances.len() {
            // The instances have run for long, so the pause after the first round is over.
            let _ = self.instances[who].schedule.pause(self.random.number());
            self.instances[who].knows_challenge = true;
            for token in 0..REFERENCES {
                let left = self.random.within(0..self.registry.limits.token_life);
                self.instances[who].tokens[token] = Some(left);
            }
            let at = self.random.within(0..INTERVAL);
            self.events.push(at, who);
        }
        if let Some(restart) = self.scenario.restart {
            self.go_on_until(restart);
            self.restart(restart, after);
        }
        self.go_on_until(self.scenario.end);
        self.registry.close();
        self.count_unfollowed();
    }

    fn restart(&mut self, at: u64, hosts: &'a [Hosts]) {
        self.events.clear();
        for (who, hosts) in hosts.iter().enumerate() {
            let mut instance = Instance::new(hosts);
            instance.seen = self.instances[who].seen;
            if self.fleet.is_in_step {
                let _ = instance.schedule.pause(0);
            }
            self.instances[who] = instance;
            let at = at + self.random.within(0..SECOND);
            self.events.push(at, who);
        }
    }

    fn go_on_until(&mut self, end: u64) {
        while let Some((now, who)) = self.events.pop(end) {
            match self.instances[who].awaited.take() {
                Some((asked, answer)) => self.receive(who, asked, answer, now),
                None => self.go_on(who, now),
            }
        }
    }

    fn instant(&self, now: u64) -> Instant {
        self.epoch + Duration::from_micros(now)
    }

    /// Begins a round, or goes on with it.
    fn go_on(&mut self, who: usize, now: u64) {
        let instant = self.instant(now);
        let instance = &mut self.instances[who];
        let turn = instance.turn.get_or_insert_with(|| {
            let has_failed = instance.has_failed;
            instance.order = in_order(0..REFERENCES, |one| has_failed[*one]);
            instance.place = 0;
            Turn::new(instance.hosts, HOST, 1)
        });
        let Some(&reference) = instance.order.get(instance.place) else {
            return self.end_round(who, now);
        };
        let pause = turn.pause(instant);
        if !pause.is_zero() && !instance.is_paused {
            instance.is_paused = true;
            let pause = u64::try_from(pause.as_micros()).expect("short");
            return self.events.push(now + pause, who);
        }
        instance.is_paused = false;
        if now >= self.scenario.begin {
            self.look_ups += 1;
        }
        match turn.may_ask(instant) {
            Ok(()) => self.ask(who, reference, now),
            Err(error) => self.note(who, &Err(error), now),
        }
    }

    /// Sends the first request of a look-up. `src/registry/request.rs` decides the same over sockets.
    fn ask(&mut self, who: usize, reference: usize, now: u64) {
        let instance = &self.instances[who];
        let token = instance.tokens[reference];
        let says_life = self.registry.limits.says_life;
        let is_fresh = token.is_some_and(|until| !says_life || now + MARGIN < until);
        if !instance.knows_challenge || is_fresh {
            let is_valid = token.is_some_and(|until| now < until);
            self.send(who, reference, Asked::Head(is_valid), now);
        } else {
            self.send(who, reference, Asked::Token, now);
        }
    }

    fn send(&mut self, who: usize, reference: usize, asked: Asked, now: u64) {
        let address = if self.fleet.is_behind_nat { 0 } else { who };
        let answer = self.registry.ask(address, reference, asked, now);
        let wait = match &answer {
            Answer::Failed(error) if error.is_unreachable() => DEADLINE,
            _ => self.random.within(ANSWER),
        };
        self.instances[who].awaited = Some((asked, answer));
        self.events.push(now + wait, who);
    }

    fn receive(&mut self, who: usize, asked: Asked, answer: Answer, now: u64) {
        let instance = &mut self.instances[who];
        let reference = instance.order[instance.place];
        match answer {
            Answer::Found(version) => {
                self.follow(who, reference, version, now);
                let found = Rc::clone(&self.found);
                self.note(who, &found, now);
            }
            Answer::Unauthorised => {
                instance.knows_challenge = true;
                instance.tokens[reference] = None;
                self.send(who, reference, Asked::Token, now);
            }
            Answer::Token(until) => {
                instance.tokens[reference] = Some(until);
                self.send(who, reference, Asked::Head(true), now);
            }
            Answer::Failed(error) => {
                let is_gone = error.is_unreachable();
                if asked == Asked::Token && is_gone {
                    instance.knows_challenge = false;
                }
                self.note(who, &Err(error), now);
            }
        }
    }

    /// Ends a look-up.
    fn note(&mut self, who: usize, outcome: &Result<Digest>, now: u64) {
        let instant = self.instant(now);
        let instance = &mut self.instances[who];
        let reference = instance.order[instance.place];
        if let Some(turn) = &mut instance.turn {
            turn.note(outcome, instant);
        }
        instance.has_failed[reference] = outcome.as_ref().is_err_and(Error::was_asked);
        instance.place += 1;
        self.go_on(who, now);
    }

    fn end_round(&mut self, who: usize, now: u64) {
        let instant = self.instant(now);
        let chance = self.random.number();
        let update = self.random.within(UPDATE);
        let instance = &mut self.instances[who];
        if let Some(turn) = instance.turn.take() {
            turn.end(instant);
        }
        let pause = instance.schedule.pause(chance).as_micros();
        let mut next = now + u64::try_from(pause).expect("short");
        if std::mem::take(&mut instance.has_news) {
            next += update;
        }
        self.events.push(next, who);
    }

    /// Follows the moves of a tag, and measures how late that is.
    fn follow(&mut self, who: usize, reference: usize, version: usize, now: u64) {
        let seen = self.instances[who].seen[reference];
        if version > seen {
            let first = self.registry.moves[reference][seen];
            let late = now - self.scenario.visible_from(first, now);
            self.slowest = self.slowest.max(late);
            self.instances[who].seen[reference] = version;
            self.instances[who].has_news = true;
        }
    }

    /// Measures how late the moves are that nobody followed until the end.
    fn count_unfollowed(&mut self) {
        let end = self.scenario.end;
        for who in 0..self.instances.len() {
            for reference in 0..REFERENCES {
                let version = self.registry.version(reference, end);
                self.follow(who, reference, version, end);
            }
        }
    }
}
