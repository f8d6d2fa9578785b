//! Log lines at level `debug`.
//!
//! `log` is built without that level for releases: what libraries say there (whole requests, at
//! worst) is then not even in the binary, which is 30 KB smaller for it. Ours go around that.

use log::Level;
use log::Metadata;
use log::Record;
use std::fmt::Arguments;

/// Logs a line if `IMAGEWATCH_LOG` asks for it: what was looked at, and why nothing was done.
pub fn debug(message: Arguments<'_>) {
    let metadata = Metadata::builder()
        .level(Level::Debug)
        .target(env!("CARGO_PKG_NAME"))
        .build();
    let logger = log::logger();
    if logger.enabled(&metadata) {
        let record = Record::builder().metadata(metadata).args(message).build();
        logger.log(&record);
    }
}
