//! Log lines at level `debug`.
//!
//! In a release, `log` is built without that level. So the debug lines of libraries (at worst, whole requests)
//! are not in the binary, which is 30 KB smaller. imagewatch's own debug lines bypass the limit.

use log::Level;
use log::Metadata;
use log::Record;
use std::fmt::Arguments;

/// Logs a line if `IMAGEWATCH_LOG` asks for it. Such a line says why nothing was done, for example.
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
