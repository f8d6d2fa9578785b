//! The digest behind a tag.

mod digest;
mod each_registry;
mod outage;
mod sharing;
mod token;
