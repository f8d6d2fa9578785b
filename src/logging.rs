//! Log lines: one format for people, one for programs.
//!
//! `info`: something changed. `warn`: something failed and will be tried again by itself. `error`:
//! somebody is needed. `debug`: what is looked at, and why nothing was done about it. Failures are
//! logged where they are handled, never where they are only passed on.

use crate::config::LogFormat;
use crate::time::rfc3339;
use env_logger::Builder;
use env_logger::Target;
use log::Record;
use serde_json::json;
use std::io::Write;
use std::time::SystemTime;

/// Libraries are kept quiet, also in a debug build, where `ureq_proto` would write whole request heads, secrets
/// included.
const QUIET: &str = "ureq=warn,rustls=warn,tiny_http=warn";
const NEVER: &str = "ureq_proto=off";

/// Starts logging to the standard error.
pub fn start(filter: &str, format: LogFormat) {
    let mut builder = Builder::new();
    builder
        .parse_filters(&format!("{QUIET},{filter},{NEVER}"))
        .target(Target::Stderr);
    builder.format(move |out, record| {
        let now = rfc3339(SystemTime::now());
        writeln!(out, "{}", line(&now, record, format))
    });
    // Already started only in tests that run in one process.
    let _ = builder.try_init();
}

fn line(now: &str, record: &Record, format: LogFormat) -> String {
    let message = record.args().to_string();
    match format {
        LogFormat::Text => format!("{now} {:<5} {message}", record.level()),
        LogFormat::Json => {
            let level = record.level().to_string().to_ascii_lowercase();
            json!({"time": now, "level": level, "message": message}).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_level_and_message() {
        let write = |format| {
            let args = format_args!("moved \"x\"");
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
