//! The memory of a refresh of all images, at its peak.

use super::megabytes;
use super::start;
use super::support::crowd::Crowd;

/// Bytes that a refresh over 400 containers may take at its peak (`tests/budget.rs`).
const LIMIT: f64 = 6.0;

pub(super) fn measure() {
    println!(
        "a refresh of all images with POST /v1/update; an inspection has {} bytes",
        Crowd::new(1, |_| 0).size_of_inspection()
    );
    println!(
        "{:>10} {:>10} {:>8} {:>8} {:>10} {:>8} {:>8} {:>7} {:>7}",
        "containers",
        "references",
        "moved",
        "before",
        "peak MB",
        "kB each",
        "calls",
        "CPU s",
        "ratio"
    );
    for (containers, references, moved) in [
        (8, 8, 0),
        (50, 50, 0),
        (400, 20, 0),
        (400, 400, 0),
        (400, 400, 20),
        (2000, 200, 0),
    ] {
        row(containers, references, moved);
    }
}

fn row(containers: usize, references: usize, moved: usize) {
    let crowd = Crowd::new(containers, |number| number % references);
    let program = start(&crowd, &[("IMAGEWATCH_SETTLE", "1s")]);
    program.ask("GET", "/health");
    let (before, cpu, calls) = (program.peak(), program.cpu(), crowd.asked().calls);
    crowd.publish(0..moved);
    let (status, report) = program.ask("POST", "/v1/update");
    assert_eq!(status, 200, "{report}");
    let unchanged = report["unchanged"].as_array().map_or(0, Vec::len);
    let recreated = report["recreated"].as_array().map_or(0, Vec::len);
    assert_eq!(unchanged + recreated, containers, "{report}");
    let peak = program.peak();
    println!(
        "{containers:>10} {references:>10} {recreated:>8} {:>8.1} {:>10.1} {:>8.1} {:>8} {:>7.2} {:>7.2}",
        megabytes(before),
        megabytes(peak),
        (peak - before) as f64 / 1e3 / containers as f64,
        crowd.asked().calls - calls,
        (program.cpu() - cpu).as_secs_f64(),
        megabytes(peak) / LIMIT,
    );
}
