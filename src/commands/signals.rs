//! The signals that stop the program.

use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;

/// Returns SIGTERM, SIGINT and SIGHUP. A terminal sends SIGHUP when it closes. If the parent (`nohup`) has made the
/// process ignore SIGHUP, that stays so.
#[must_use]
pub(super) fn signals() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut signals = vec![SIGTERM, SIGINT];
    if !is_ignored(SIGHUP, &status) {
        signals.push(SIGHUP);
    }
    signals
}

/// Whether the mask in `/proc/self/status` has the signal (proc(5)).
fn is_ignored(signal: i32, status: &str) -> bool {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_left_ignored() {
        for (mask, expected) in [
            ("SigIgn:\t0000000000000001", true),
            ("SigIgn:\t0000000000001001", true),
            ("SigIgn:\t0000000000001000", false),
            ("SigBlk:\t0000000000000001", false),
            ("", false),
        ] {
            assert_eq!(is_ignored(SIGHUP, mask), expected, "{mask}");
        }
    }
}
