//! Log lines: one format for people, one for programs.
//!
//! | level | meaning |
//! |---|---|
//! | `info` | something changed |
//! | `warn` | something failed, and is tried again without help |
//! | `error` | an operator is needed |
//! | `debug` | each look-up, and why nothing was done |
//!
//! A failure is logged where it is handled, never where it is only passed on.

mod terminal;

mod debug;

pub use terminal::TAKE_AWAY;
pub use terminal::before_a_line;
pub use terminal::note_line;

pub use debug::debug;

use crate::json;
use crate::time::rfc3339;
use env_logger::Builder;
use env_logger::Target;
use log::LevelFilter;
use log::Record;
use serde_json::json;
use std::io::Write;
use std::time::SystemTime;

/// The levels of libraries. In a debug build, `ureq_proto` would write whole request heads, with their secrets.
const QUIET: &str = "ureq=warn,rustls=warn,tiny_http=warn";
/// The level of everything that a filter does not name. So a filter for one module silences no other.
const BASE: &str = "info";

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging to the standard error.
pub fn start(filter: &str, format: LogFormat) {
    let mut builder = Builder::new();
    builder
        .parse_filters(&format!("{BASE},{QUIET},{filter}"))
        .filter_module("ureq_proto", LevelFilter::Off)
        .target(Target::Stderr);
    builder.format(move |out, record| {
        let now = rfc3339(SystemTime::now());
        let line = line(&now, record, format);
        writeln!(out, "{}{line}", terminal::before_a_line())
    });
    // This only fails if logging has started already: in tests that share a process.
    let _ = builder.try_init();
}

fn line(now: &str, record: &Record, format: LogFormat) -> String {
    // A message of several lines becomes one line of the log.
    let message = record.args().to_string().replace('\n', " ");
    match format {
        LogFormat::Text => format!("{now} {:<5} {message}", record.level()),
        LogFormat::Json => {
            let level = record.level().to_string().to_ascii_lowercase();
            json::print(&json!({"time": now, "level": level, "message": message}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_level_and_message() {
        let write = |format| {
            let args = format_args!("moved\n\"x\"");
            let record = Record::builder().level(log::Level::Warn).args(args).build();
            line("2026-11-21T05:04:00Z", &record, format)
        };
        assert_eq!(
            write(LogFormat::Text),
            "2026-11-21T05:04:00Z WARN  moved \"x\""
        );
        assert_eq!(
            write(LogFormat::Json),
            r#"{"level":"warn","message":"moved \"x\"","time":"2026-11-21T05:04:00Z"}"#
        );
    }
}
