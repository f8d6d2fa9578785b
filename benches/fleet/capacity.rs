//! The number of instances up to which a limit is kept that all of them share.

use super::REFERENCES;
use super::SEED;
use super::limits::Limits;
use super::outcome;
use super::random::Random;
use super::scenario::Kind;
use super::scenario::Scenario;
use super::time::HOUR;
use super::time::INTERVAL;
use super::time::MINUTE;
use super::world::Fleet;

/// The numbers that are tried: these, and their multiples by a power of ten.
const STEPS: [usize; 16] = [
    10, 12, 14, 16, 18, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90,
];
/// A small fleet is tried with so many seeds, and a large one with one, because chance evens out there.
const SEEDS: u64 = 3;
const LARGE: usize = 1_000;

/// The largest fleets that keep a limit.
pub struct Capacity {
    /// In quiet times.
    pub quiet: usize,
    /// After a power cut and after an outage, too.
    pub always: usize,
}

pub fn of(limits: &Limits, is_behind_nat: bool) -> Capacity {
    let random = &mut Random::new(SEED);
    let quiet = vec![Scenario::quiet("quiet", HOUR, random)];
    let bad = vec![
        Scenario::power_cut(random),
        Scenario::trouble("no answer", Kind::Silent, random),
    ];
    // More cannot be: this many instances use the limit up.
    let per_interval = u64::from(limits.per_minute) * INTERVAL / MINUTE;
    let most = usize::try_from(per_interval).expect("small") / REFERENCES;
    let numbers: Vec<usize> = (0..5)
        .flat_map(|power| STEPS.map(|step| step * 10_usize.pow(power)))
        .filter(|number| *number <= most)
        .collect();
    let search = |numbers: &[usize], scenarios: &[Scenario]| {
        let holds = |number: &usize| {
            let fleet = Fleet {
                instances: *number,
                is_behind_nat,
                is_in_step: false,
            };
            let is_good = |scenario: &Scenario, seed| {
                outcome::run(limits, scenario, fleet, seed)
                    .faults
                    .is_empty()
            };
            let seeds = SEED..SEED + if *number < LARGE { SEEDS } else { 1 };
            scenarios
                .iter()
                .all(|one| seeds.clone().all(|seed| is_good(one, seed)))
        };
        numbers.partition_point(holds)
    };
    let quiet = search(&numbers, &quiet);
    let always = search(&numbers[..quiet], &bad);
    let number = |place: usize| place.checked_sub(1).map_or(0, |place| numbers[place]);
    Capacity {
        quiet: number(quiet),
        always: number(always),
    }
}
