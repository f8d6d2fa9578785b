//! A hundred of many containers are updated at once, while somebody looks at the status, the page and the metrics.

use super::megabytes;
use super::start;
use super::support::crowd::Crowd;
use super::support::program::Program;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// The containers that move, each with a reference of its own. The others share as many.
const MOVED: usize = 100;
/// Every answer is to come within this time.
const LIMIT: Duration = Duration::from_millis(50);
/// How often each answer is asked for while nothing moves.
const QUIET: usize = 20;
const ASKED: [&str; 3] = ["/admin/status", "/", "/metrics"];

pub(super) fn measure() {
    println!(
        "{MOVED} containers move at once; each answer is to come within {} ms. Answers: CPU of all three while nothing \
         moves; then the time of each: the median while nothing moves, the median and the longest during the updates",
        LIMIT.as_millis()
    );
    println!(
        "{:>10} {:>8} {:>7} {:>7} {:>8} {:>9} {:>9} {:>8} {:>9}  {:>14} {:>14} {:>14} {:>6}",
        "containers",
        "calls",
        "each",
        "lists",
        "CPU s",
        "wall s",
        "pauses s",
        "peak MB",
        "answer ms",
        "status",
        "page",
        "metrics",
        "ratio"
    );
    for containers in [200, 500, 2000] {
        row(containers);
    }
}

fn row(containers: usize) {
    let crowd = Crowd::new(containers, |number| match number {
        _ if number < MOVED => number,
        _ => MOVED + number % MOVED,
    });
    let program = start(
        &crowd,
        &[
            ("IMAGE_AUTO_REFRESH", "true"),
            ("IMAGEWATCH_INTERVAL", "2s"),
            ("IMAGEWATCH_SETTLE", "1s"),
            ("IMAGEWATCH_PARALLEL", "20"),
        ],
    );
    // All references are known after the first round; then nobody looks up anything for two seconds.
    let references = 2 * MOVED;
    until("the first round", || crowd.asked().heads >= references);
    std::thread::sleep(Duration::from_millis(500));
    answers(&program, 1);
    let cpu = program.cpu();
    let quiet = answers(&program, QUIET);
    let cpu_of_answers = (program.cpu() - cpu).as_secs_f64() * 1e3 / QUIET as f64;
    let (before, cpu) = (crowd.asked(), program.cpu());
    crowd.publish(0..MOVED);
    let (is_over, begun) = (AtomicBool::new(false), Instant::now());
    let busy = std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut all = [const { Vec::new() }; ASKED.len()];
            while !is_over.load(Ordering::SeqCst) {
                for (all, one) in all.iter_mut().zip(answers(&program, 1)) {
                    all.extend(one);
                }
                std::thread::sleep(Duration::from_millis(500));
            }
            all
        });
        until("the updates", || {
            crowd.asked().removed >= before.removed + MOVED
        });
        is_over.store(true, Ordering::SeqCst);
        asker.join().expect("no panic")
    });
    let (wall, after) = (begun.elapsed(), crowd.asked());
    let calls = after.calls - before.calls;
    let slowest = busy.iter().flatten().max().expect("some");
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    let most = |times: &[Duration]| times.iter().max().expect("some").as_secs_f64() * 1e3;
    let shown = [0, 1, 2].map(|place| {
        let (quiet, busy) = (&quiet[place], &busy[place]);
        format!("{:.0} {:.0} {:.0}", median(quiet), median(busy), most(busy))
    });
    let pauses = 0.05 * (references - 20) as f64;
    println!(
        "{containers:>10} {calls:>8} {:>7.1} {:>7} {:>8.2} {:>9.1} {pauses:>9.1} {:>8.1} {cpu_of_answers:>9.1}  {:>14} {:>14} {:>14} {:>6.2}",
        calls as f64 / MOVED as f64,
        after.lists.len() - before.lists.len(),
        (program.cpu() - cpu).as_secs_f64(),
        wall.as_secs_f64(),
        megabytes(program.peak()),
        shown[0],
        shown[1],
        shown[2],
        slowest.as_secs_f64() / LIMIT.as_secs_f64(),
    );
}

/// How long each of the answers takes, so many times.
fn answers(program: &Program, times: usize) -> [Vec<Duration>; ASKED.len()] {
    ASKED.map(|target| {
        let once = |_| {
            let begun = Instant::now();
            let (status, _, _) = program.ask_text("GET", target);
            assert_eq!(status, 200, "{target}");
            begun.elapsed()
        };
        (0..times).map(once).collect()
    })
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(300),
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
