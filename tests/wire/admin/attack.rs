//! The whole program under attack: whatever clients do, good ones are answered, the watcher's rounds
//! are on time, memory stays small, and afterwards everything is as it was.
//!
//! `cargo bench --bench attack` does the same for longer and prints what it costs.

use crate::support::attack::ATTACKS;
use crate::support::attack::GUESS;
use crate::support::attack::TOKEN;
use crate::support::attack::attack_if_told;
use crate::support::under_attack::FEW;
use crate::support::under_attack::UnderAttack;
use crate::support::under_attack::alone;
use std::time::Duration;

/// Of each attack.
const TIME: Duration = Duration::from_secs(1);
/// Bytes of memory that the static binary may have, under any attack (`budget.rs`: at rest). Another
/// build begins with more; it may grow by as much.
const PSS: u64 = 12_000_000;
const GROWTH: u64 = PSS - 3_000_000;
/// Lines of the log that are not about good clients' refreshes, after all attacks.
const LINES: usize = 20;

/// The attackers' process: not a test by itself.
#[test]
fn attackers() {
    attack_if_told();
}

#[test]
fn no_attack_keeps_good_clients_or_the_watcher_waiting() {
    withstand(None);
}

#[test]
fn nor_does_any_where_descriptors_are_few() {
    withstand(Some(FEW));
}

fn withstand(descriptors: Option<u32>) {
    let _alone = alone();
    let released = std::env::var("LAB_BINARY").ok();
    let is_static = released.is_some();
    let binary = released.as_deref();
    let binary = binary.unwrap_or(env!("CARGO_BIN_EXE_imagewatch"));
    let attacked = UnderAttack::start(binary, descriptors);
    let at_rest = attacked.at_rest();
    let most = match is_static {
        true => PSS,
        false => attacked.program.memory("Pss:") + GROWTH,
    };
    let mut wrong = Vec::new();
    for attack in ATTACKS {
        let siege = attack.begin(
            &attacked.program.host(),
            &["--exact", "wire::admin::attack::attackers", "--nocapture"],
        );
        let seen = attacked.observe(TIME);
        let (turns, odd) = siege.end();
        wrong.extend(
            seen.failures
                .iter()
                .map(|failure| format!("{}: {failure}", attack.name)),
        );
        // One in four in a crowd, and nobody otherwise.
        let answers = seen.health.len() + seen.refresh.len();
        let may_be_left = usize::from(attack.is_crowd) * (1 + answers / 4);
        let is_fine = turns > 0
            && odd == 0
            && seen.left_alone <= may_be_left
            && seen.late == 0
            && seen.pss < most
            && !seen.health.is_empty()
            && !seen.refresh.is_empty();
        if !is_fine {
            wrong.push(format!(
                "{}: {turns} turns, {odd} odd answers, {seen:?}",
                attack.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!attacked.was_deceived(), "a hidden request was carried out");
    attacked.recovered(&at_rest);
    let log = attacked.program.log();
    let others = log.lines().filter(|line| !line.contains("pulled image="));
    assert!(others.count() <= LINES, "the log was flooded");
    assert!(
        !log.contains(TOKEN) && !log.contains(GUESS),
        "a token is in the log"
    );
}
