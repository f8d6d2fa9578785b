//! The options that every receiver has: `events` and `digest`. They are taken out of the query before anything else
//! reads it, so that a receiver's own query stays as it is.

use super::draft::Fault;
use super::url::decode;
use crate::notify::words;

/// The messages that the owner wants.
#[derive(Default)]
pub(super) struct Choice {
    /// The names of the events; empty for all.
    pub(super) events: Vec<&'static str>,
    /// Whether the messages are summed up once a day.
    pub(super) is_daily: bool,
}

/// Whether this option of a query belongs to every receiver.
pub(super) fn is_option(name: &str) -> bool {
    ["events", "digest"]
        .iter()
        .any(|option| name.eq_ignore_ascii_case(option))
}

/// Reads the two options of a query, and returns the query without them.
pub(super) fn take(query: &str) -> Result<(Choice, String), Fault> {
    let mut choice = Choice::default();
    let mut rest = String::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !is_option(name) {
            if !rest.is_empty() {
                rest.push('&');
            }
            rest.push_str(pair);
            continue;
        }
        let value = decode(&value.replace('+', " ")).ok_or(Fault::Form)?;
        if name.eq_ignore_ascii_case("events") {
            let names = value
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            for name in names {
                choice
                    .events
                    .push(words::known(name).ok_or_else(unknown_event)?);
            }
        } else if value.eq_ignore_ascii_case("daily") {
            choice.is_daily = true;
        } else if !value.is_empty() {
            return Err(Fault::Takes("digest", "daily".to_owned()));
        }
    }
    Ok((choice, rest))
}

fn unknown_event() -> Fault {
    let mut names = String::new();
    for name in words::names() {
        // Some outcomes that follow each other have the same name.
        if !names.ends_with(name) {
            names.push_str(if names.is_empty() { "" } else { ", " });
            names.push_str(name);
        }
    }
    Fault::Takes("events", names)
}
