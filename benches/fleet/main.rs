//! A fleet, simulated: 10,000 instances ask a registry that limits as GHCR, Docker Hub, ACR or Quay does. The clock is
//! simulated too, so a day takes seconds. The program's own code decides when an instance asks.
//!
//! `--plot FILE` writes the plot of `docs/dev/fleet.md`, and nothing else. Exits with 1 if a scenario is bad.

mod capacity;
mod limits;
mod outcome;
mod plot;
mod queue;
mod random;
mod registry;
mod scenario;
mod time;
mod world;

use capacity::Capacity;
use limits::ACR;
use limits::DOCKER_HUB;
use limits::GHCR;
use limits::GHCR_PRIVATE;
use limits::Limits;
use limits::QUAY;
use outcome::Outcome;
use random::Random;
use scenario::Kind;
use scenario::Scenario;
use std::time::Instant;
use time::HOUR;
use world::Fleet;

/// The references of each instance: as many as there are runtimes.
const REFERENCES: usize = 8;
const INSTANCES: usize = 10_000;
const SEED: u64 = 20_26;

const fn fleet(instances: usize, is_behind_nat: bool) -> Fleet {
    Fleet {
        instances,
        is_behind_nat,
        is_in_step: false,
    }
}

fn main() {
    let begun = Instant::now();
    let mut arguments = std::env::args().skip(1).filter(|one| one != "--bench");
    let plot = match arguments.next().as_deref() {
        Some("--plot") => Some(arguments.next().expect("--plot FILE")),
        Some(other) => panic!("unknown: {other}"),
        None => None,
    };
    if let Some(file) = plot {
        std::fs::write(&file, plot::draw()).expect("the plot is written");
        return println!("wrote {file}");
    }
    println!("{INSTANCES} instances with {REFERENCES} references each, interval 5m, seed {SEED}");
    Outcome::print_head();
    let is_good = judged().into_iter().fold(true, |is_good, (limits, fleet)| {
        simulate(limits, fleet, &scenarios(), true) && is_good
    });
    let is_good = control() && is_good;
    println!("\nmore than the limit allows, and not judged:");
    let quiet = [Scenario::quiet(
        "3 quiet hours",
        3 * HOUR,
        &mut Random::new(SEED),
    )];
    for (limits, fleet) in [
        (&ACR, fleet(INSTANCES, false)),
        (&DOCKER_HUB, fleet(3_000, true)),
        (&QUAY, fleet(300, true)),
    ] {
        simulate(limits, fleet, &quiet, false);
    }
    print_capacities();
    println!("\ntook {:.0} s", begun.elapsed().as_secs_f64());
    if !is_good {
        std::process::exit(1);
    }
}

/// The fleets that are judged. Where all share one limit that is too small for 10,000, there are fewer.
fn judged() -> Vec<(&'static Limits, Fleet)> {
    vec![
        (&GHCR, fleet(INSTANCES, false)),
        (&DOCKER_HUB, fleet(INSTANCES, false)),
        (&DOCKER_HUB, fleet(400, true)),
        (&ACR, fleet(1_200, false)),
        (&QUAY, fleet(INSTANCES, false)),
        (&QUAY, fleet(15, true)),
    ]
}

fn scenarios() -> Vec<Scenario> {
    let random = &mut Random::new(SEED);
    vec![
        Scenario::quiet("a day", 24 * HOUR, random),
        Scenario::power_cut(random),
        Scenario::trouble("no answer for 1 h", Kind::Silent, random),
        Scenario::trouble("503 for 1 h", Kind::Broken, random),
        Scenario::trouble("429 for 1 h", Kind::Throttled, random),
        Scenario::trouble("429 until a moment", Kind::ThrottledUntilEnd, random),
        Scenario::power_cut_in_outage(random),
    ]
}

/// Runs the scenarios. Returns whether all are good.
fn simulate(limits: &Limits, fleet: Fleet, scenarios: &[Scenario], is_judged: bool) -> bool {
    scenarios.iter().fold(true, |is_good, scenario| {
        let outcome = outcome::run(limits, scenario, fleet, SEED);
        outcome.print(limits, scenario, fleet, is_judged);
        is_good && outcome.faults.is_empty()
    })
}

/// Without the early second round, a power cut has to be judged bad. Otherwise the judgement is blind.
fn control() -> bool {
    println!("\nwithout the early second round, and bad if the judgement is not blind:");
    let step = Fleet {
        is_in_step: true,
        ..fleet(INSTANCES, false)
    };
    !simulate(
        &GHCR,
        step,
        &[Scenario::power_cut(&mut Random::new(SEED))],
        false,
    )
}

/// Prints the number of instances up to which each shared limit is kept.
fn print_capacities() {
    println!("\ninstances that a shared limit is enough for, with {REFERENCES} references each:");
    println!(
        "{:<12} {:<20} {:>10} {:>22}",
        "registry", "shared by", "in quiet", "after cut and outage"
    );
    for (limits, is_behind_nat) in [
        (&GHCR, false),
        (&GHCR_PRIVATE, false),
        (&DOCKER_HUB, true),
        (&ACR, false),
        (&QUAY, true),
    ] {
        let Capacity { quiet, always } = capacity::of(limits, is_behind_nat);
        let shared_by = if is_behind_nat {
            "one address"
        } else {
            "the fleet"
        };
        println!(
            "{:<12} {shared_by:<20} {quiet:>10} {always:>22}",
            limits.name
        );
    }
}
