//! The value of a label: its forms, and how each form is read.

use super::Consent;
use crate::time::Window;
use crate::time::parse_duration;
use crate::version::Level;
use std::time::Duration;

/// The form that a label's value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Switch,
    Mode,
    Time,
    Minutes,
    Command,
    Names,
    Signal,
    Newer,
    Window,
    MinAge,
    /// A switch that this version cannot turn on.
    OnlyOff,
}

/// How a value was understood.
pub(super) enum Value {
    Fine,
    /// The value asks for something that cannot be done.
    Impossible,
    Unreadable,
}

impl Form {
    /// Reads a value of this form.
    pub(super) fn read(self, value: &str) -> Value {
        let is_readable = match self {
            Self::Command => true,
            Self::Switch => switch(value).is_some(),
            Self::Mode => consent(value).is_some(),
            Self::Time | Self::MinAge => time(value).is_some(),
            Self::Minutes => minutes(value).is_some(),
            Self::Names => names(value).is_some(),
            Self::Signal => signal(value).is_some(),
            Self::Newer => newer(value).is_some(),
            Self::Window => window(value).is_some(),
            Self::OnlyOff => match switch(value) {
                Some(true) => return Value::Impossible,
                other => other.is_some(),
            },
        };
        if is_readable {
            Value::Fine
        } else {
            Value::Unreadable
        }
    }

    /// Names the values that this form takes, for an error text.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Switch | Self::OnlyOff => "true or false",
            Self::Mode => "update or notify",
            Self::Time => "a time such as 30s, 5m or 1h",
            Self::MinAge => "a time such as 12h or 3d, or 0",
            Self::Minutes => "a number of minutes",
            Self::Command => "a command",
            Self::Names => "names of containers, separated by commas",
            Self::Signal => "a signal such as SIGTERM",
            Self::Newer => "patch, minor or major",
            Self::Window => Window::EXPECTED,
        }
    }
}

/// Removes blanks and one pair of quotes. A list in YAML leaves such quotes around a value.
fn bare(value: &str) -> &str {
    let value = value.trim();
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value).trim()
}

/// Reads a switch: the values of Go's `strconv.ParseBool`, and `yes`, `no`, `on`, `off`, in any case.
#[must_use]
pub fn switch(value: &str) -> Option<bool> {
    match bare(value).to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "yes" | "on" => Some(true),
        "0" | "f" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn consent(value: &str) -> Option<Consent> {
    match bare(value).to_ascii_lowercase().as_str() {
        "update" => Some(Consent::Update),
        "notify" => Some(Consent::Notify),
        _ => None,
    }
}

pub(super) fn newer(value: &str) -> Option<Level> {
    match bare(value).to_ascii_lowercase().as_str() {
        "patch" => Some(Level::Patch),
        "minor" => Some(Level::Minor),
        "major" => Some(Level::Major),
        _ => None,
    }
}

/// Reads a time as imagewatch's labels write it, e.g. `1h30m`.
#[must_use]
pub fn time(value: &str) -> Option<Duration> {
    parse_duration(bare(value))
}

/// Reads the times at which updates may be applied.
pub(super) fn window(value: &str) -> Option<Window> {
    Window::parse(bare(value)).ok()
}

/// Reads a time as Watchtower's labels write it: a number of minutes.
#[must_use]
pub fn minutes(value: &str) -> Option<Duration> {
    let minutes: u64 = bare(value).parse().ok()?;
    Some(Duration::from_secs(minutes.saturating_mul(60)))
}

/// Reads names of containers, separated by commas. An empty value is an empty list.
#[must_use]
pub fn names(value: &str) -> Option<Vec<&str>> {
    let is_name = |name: &&str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        name.bytes().all(fits)
    };
    let mut names = Vec::new();
    for name in bare(value).split(',') {
        let name = name.trim().trim_start_matches('/');
        let name = Some(name).filter(is_name)?;
        if !name.is_empty() {
            names.push(name);
        }
    }
    Some(names)
}

/// Reads a signal that the Engine knows, by its name or number. `""` is no particular signal.
#[must_use]
pub fn signal(value: &str) -> Option<&str> {
    /// Linux's signals, as moby/sys names them, without the real-time signals.
    const NAMES: [&str; 34] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    let value = bare(value);
    let upper = value.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let is_number = |most: u8, text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text
                .parse::<u8>()
                .is_ok_and(|number| (1..=most).contains(&number))
    };
    let of_real_time = |start: &str, most: u8| {
        let rest = name.strip_prefix(start);
        rest.is_some_and(|number| is_number(most, number))
    };
    let is_known = value.is_empty()
        || NAMES.contains(&name)
        || matches!(name, "RTMIN" | "RTMAX")
        || of_real_time("RTMIN+", 15)
        || of_real_time("RTMAX-", 14)
        || is_number(64, value);
    is_known.then_some(value)
}
