//! Points in simulated time, in microseconds.

pub const SECOND: u64 = 1_000_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
/// The interval of all instances: the default.
pub const INTERVAL: u64 = 5 * MINUTE;
