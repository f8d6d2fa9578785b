//! A quiet round of more and more references, each with one container, and all on one registry host. The limits are
//! one HEAD a reference, one connection, and one call to the Engine.

use super::megabytes;
use super::start;
use super::support::crowd::Asked;
use super::support::crowd::Crowd;
use super::support::program::Program;
use std::time::Duration;
use std::time::Instant;

/// The look-ups of a host that follow each other without a pause, and the pause between the others.
const BURST: usize = 20;
const PACE: Duration = Duration::from_millis(50);

pub(super) fn measure() {
    println!(
        "{:>10} {:>6} {:>5} {:>11} {:>5} {:>6} {:>5} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "references",
        "HEADs",
        "ratio",
        "connections",
        "ratio",
        "calls",
        "ratio",
        "CPU ms",
        "us each",
        "wall s",
        "pauses s",
        "rest s",
        "peak MB"
    );
    for references in [1, 8, 50, 200, 500, 2000] {
        row(references);
    }
}

fn row(references: usize) {
    let crowd = Crowd::new(references, |number| number);
    let program = start(
        &crowd,
        &[
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_INTERVAL", "1s"),
        ],
    );
    // The kernel counts time in steps of 10 ms, so that short rounds need many.
    let count = if references <= 8 { 40 } else { 1 };
    // The worker looks for half-done swaps in the first seconds; each look makes a list.
    let begun = Instant::now();
    let warm = if references < 500 { 6 } else { 0 };
    await_round(&crowd, references, 1);
    while begun.elapsed() < Duration::from_secs(warm) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let first = crowd.asked().heads.div_ceil(references);
    let first = first + usize::from(warm > 0);
    let before = at_end_of(&crowd, &program, references, first);
    let after = at_end_of(&crowd, &program, references, first + count);
    let each = |before: usize, after: usize| (after - before) as f64 / count as f64;
    let cpu = (after.1 - before.1).as_secs_f64() / count as f64;
    let heads = each(before.0.heads, after.0.heads);
    let calls = each(before.0.calls, after.0.calls);
    // Short rounds are a second apart, so only the last of them is looked at.
    let end = if count > 1 {
        after.2 - Duration::from_millis(500)
    } else {
        before.2
    };
    let wall = (after.2 - begun_after(end, &after.0)).as_secs_f64();
    let pauses = PACE.as_secs_f64() * references.saturating_sub(BURST) as f64;
    let connections = after.0.connections as f64;
    println!(
        "{references:>10} {heads:>6} {:>5.2} {connections:>11} {connections:>5.2} {calls:>6} {calls:>5.2} \
         {:>8.2} {:>8.0} {wall:>8.2} {pauses:>8.2} {:>8.2} {:>8.1}",
        heads / references as f64,
        cpu * 1e3,
        cpu * 1e6 / references as f64,
        wall - pauses,
        megabytes(program.peak()),
    );
}

/// When the first list after this moment was asked for.
fn begun_after(end: Instant, asked: &Asked) -> Instant {
    let mut lists = asked.lists.iter();
    *lists.find(|list| **list > end).expect("a list")
}

/// What was asked, and the processor time, once so many rounds are over, and when the last of them was.
fn at_end_of(
    crowd: &Crowd,
    program: &Program,
    references: usize,
    round: usize,
) -> (Asked, Duration, Instant) {
    let end = await_round(crowd, references, round);
    // The last look-up is handled in a moment, and the next round begins a second later.
    std::thread::sleep(Duration::from_millis(200));
    (crowd.asked(), program.cpu(), end)
}

fn await_round(crowd: &Crowd, references: usize, round: usize) -> Instant {
    let begun = Instant::now();
    while crowd.asked().heads < references * round {
        assert!(
            begun.elapsed() < Duration::from_secs(600),
            "no round {round}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    Instant::now()
}
