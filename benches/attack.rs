//! The program under each attack there is, for some seconds: what good clients notice, and what it
//! costs. Everything is on this machine, the attackers too, and they compete for its processors.
//!
//! `cargo bench --bench attack -- idle` tries only those with the word in their name.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests need the rest")]
mod support;

use std::time::Duration;
use support::attack::ATTACKS;
use support::attack::Attack;
use support::attack::attack_if_told;
use support::under_attack::FEW;
use support::under_attack::Held;
use support::under_attack::Observed;
use support::under_attack::UnderAttack;

const TIME: Duration = Duration::from_secs(5);

fn main() {
    attack_if_told();
    let binary = std::env::var("LAB_BINARY");
    let binary = binary
        .as_deref()
        .unwrap_or(env!("CARGO_BIN_EXE_imagewatch"));
    println!("{TIME:?} of each; /health and refresh in ms, as good clients see them");
    println!(
        "{:<38} {:>9} {:>6} {:>6} {:>6} {:>8} {:>6} {:>7} {:>5} {:>7} {:>7} {:>4} {:>6}",
        "attack",
        "turns",
        "p50",
        "p99",
        "max",
        "refresh",
        "failed",
        "odd",
        "late",
        "PSS kB",
        "threads",
        "fds",
        "back s"
    );
    let usual = UnderAttack::start(binary, None);
    let at_rest = usual.at_rest();
    row(
        "none",
        (0, 0),
        &usual.observe(TIME),
        usual.recovered(&at_rest),
    );
    for attack in ATTACKS {
        measure(&usual, attack, &at_rest, "");
    }
    let short = UnderAttack::start(binary, Some(FEW));
    let at_rest = short.at_rest();
    for attack in ATTACKS {
        measure(&short, attack, &at_rest, &format!(" ({FEW} fds)"));
    }
}

fn measure(attacked: &UnderAttack, attack: &Attack, at_rest: &Held, more: &str) {
    let wanted = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"));
    if wanted.is_some_and(|word| !attack.name.contains(&word)) {
        return;
    }
    let siege = attack.begin(&attacked.program.host(), &[]);
    let observed = attacked.observe(TIME);
    let counts = siege.end();
    let back = attacked.recovered(at_rest);
    assert!(!attacked.was_deceived(), "{}", attacked.program.log());
    row(&format!("{}{more}", attack.name), counts, &observed, back);
}

fn row(name: &str, (turns, odd): (usize, usize), seen: &Observed, back: Duration) {
    let millis = |share: usize, of: &[Duration]| {
        let at = (of.len() * share / 100).min(of.len().saturating_sub(1));
        of.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    let failed = seen.failures.len() + seen.left_alone;
    println!(
        "{name:<38} {turns:>9} {:>6.1} {:>6.1} {:>6.1} {:>8.1} {:>6} {:>7} {:>5} {:>7} {:>7} {:>4} {:>6.1}",
        millis(50, &seen.health),
        millis(99, &seen.health),
        millis(100, &seen.health),
        millis(100, &seen.refresh),
        format!(
            "{failed}/{}",
            failed + seen.health.len() + seen.refresh.len()
        ),
        odd,
        format!("{}/{}", seen.late, seen.rounds),
        seen.pss / 1024,
        seen.threads,
        seen.descriptors,
        back.as_secs_f64()
    );
    for failure in seen.failures.iter().take(3) {
        println!("    {failure}");
    }
}
