//! One scenario run and judged.

use super::REFERENCES;
use super::limits::Limits;
use super::scenario::Scenario;
use super::time::INTERVAL;
use super::time::SECOND;
use super::world::Fleet;
use super::world::World;
use imagewatch::registry::Hosts;

/// So many minutes above a limit are allowed in one scenario.
const MINUTES_ABOVE: u32 = 1;
/// So many intervals after a move, each instance has followed it.
const INTERVALS: f64 = 2.0;
/// No second has more than so many times the requests of an even second: all instances do a round with new tokens, and
/// are spread evenly over the interval.
const HERD: f64 = 4.0;
/// In a smaller fleet, a few rounds at the same moment are chance and no herd.
const SMALL: usize = 1_000;

pub struct Outcome {
    pub requests: u64,
    pub look_ups: u64,
    pub refusals: u64,
    /// The requests in each second.
    pub seconds: Vec<u32>,
    /// The most requests in a second, without the first minute after a restart.
    pub peak_second: u32,
    /// The most requests in a second of that minute.
    pub first_second: u32,
    /// The most requests in a minute, of those that share one limit.
    pub peak_minute: u32,
    /// The most requests in a minute, of the whole fleet.
    pub fleet_minute: u32,
    pub minutes_above: u32,
    pub longest_above: u32,
    /// The longest time until a move was followed, in intervals.
    pub slowest: f64,
    pub faults: Vec<String>,
}

pub fn run(limits: &Limits, scenario: &Scenario, fleet: Fleet, seed: u64) -> Outcome {
    let memories = || -> Vec<Hosts> { (0..fleet.instances).map(|_| Hosts::default()).collect() };
    let (before, after) = (memories(), memories());
    let mut world = World::new(limits, scenario, fleet, seed);
    world.run(&before, &after);
    let registry = &world.registry;
    let peak = |is_judged: bool| {
        let seconds = registry.seconds.iter().zip(0..);
        let seconds = seconds.filter(|(_, at)| scenario.is_judged(at * SECOND) == is_judged);
        seconds.map(|(count, _)| *count).max().unwrap_or(0)
    };
    let most = |of: fn(&super::limits::Gate) -> u32| registry.gates.iter().map(of).max();
    let mut outcome = Outcome {
        requests: registry.requests,
        look_ups: world.look_ups,
        refusals: registry.refusals,
        peak_second: peak(true),
        first_second: peak(false),
        peak_minute: most(|gate| gate.peak).unwrap_or(0),
        fleet_minute: registry.peak_minute(),
        minutes_above: most(|gate| gate.above).unwrap_or(0),
        longest_above: most(|gate| gate.longest).unwrap_or(0),
        slowest: world.slowest as f64 / INTERVAL as f64,
        seconds: std::mem::take(&mut world.registry.seconds),
        faults: Vec::new(),
    };
    outcome.judge(fleet);
    outcome
}

impl Outcome {
    /// Finds the faults.
    fn judge(&mut self, fleet: Fleet) {
        if self.minutes_above > MINUTES_ABOVE {
            self.faults.push(format!(
                "{} minutes above the limit, {} of them in a row",
                self.minutes_above, self.longest_above
            ));
        }
        if self.slowest > INTERVALS {
            let slowest = self.slowest;
            self.faults
                .push(format!("a move is followed after {slowest:.2} intervals"));
        }
        let herd = f64::from(self.peak_second) / even_second(fleet);
        if herd > HERD && fleet.instances >= SMALL {
            self.faults
                .push(format!("a herd, {herd:.1} times an even second"));
        }
    }

    pub fn print_head() {
        println!(
            "{:<12} {:>9} {:<22} {:>11} {:>7} {:>7} {:>7} {:>8} {:>6} {:>6} {:>7} {:>6}  verdict",
            "registry",
            "instances",
            "scenario",
            "requests",
            "/HEADs",
            "1st s",
            "peak s",
            "peak min",
            "limit",
            "above",
            "refused",
            "move"
        );
    }

    pub fn print(&self, limits: &Limits, scenario: &Scenario, fleet: Fleet, is_judged: bool) {
        let verdict = match self.faults.as_slice() {
            [] => "good".to_owned(),
            faults if is_judged => format!("BAD: {}", faults.join("; ")),
            faults => faults.join("; "),
        };
        let place = if fleet.is_behind_nat { " NAT" } else { "" };
        println!(
            "{:<12} {:>9} {:<22} {:>11} {:>7.2} {:>7} {:>7} {:>8} {:>5.0}% {:>6} {:>6.1}% {:>6.2}  {verdict}",
            limits.name,
            format!("{}{place}", fleet.instances),
            scenario.name,
            self.requests,
            self.requests as f64 / self.look_ups as f64,
            self.first_second,
            self.peak_second,
            self.fleet_minute,
            self.share(limits) * 100.0,
            self.minutes_above,
            self.refusals as f64 / self.requests as f64 * 100.0,
            self.slowest,
        );
    }

    /// The busiest minute, as a share of the limit.
    pub fn share(&self, limits: &Limits) -> f64 {
        f64::from(self.peak_minute) / f64::from(limits.per_minute)
    }
}

/// The requests of an even second. A look-up with a new token costs two requests, and the first one finds out how to
/// get tokens.
fn even_second(fleet: Fleet) -> f64 {
    let round = fleet.instances * (2 * REFERENCES + 1);
    round as f64 * SECOND as f64 / INTERVAL as f64
}
