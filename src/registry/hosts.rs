//! What is remembered of each registry host between look-ups: how it wants to be asked, the tokens it
//! gave, and until when it is to be left alone.

use super::challenge::Challenge;
use super::token::Token;
use crate::debug::debug;
use crate::error::Error;
use crate::error::Result;
use crate::time::rfc3339;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// How long a host that says "too many requests" without saying how long is left alone, and one that
/// is in trouble.
pub(super) const DEFAULT_PUT_OFF: Duration = Duration::from_secs(60);

/// How long a host whose HEAD said no digest is asked by GET instead. It may have been an odd hour of
/// its, or of a proxy, and a GET counts against Docker Hub's pull limit.
const NO_HEAD_FOR: Duration = Duration::from_secs(3600);

/// Hosts that are remembered, and tokens of each. A host may lead us to ever new names and
/// repositories; once there are this many, what can be learnt anew is forgotten.
const MOST: usize = 512;

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts(Mutex<HashMap<String, Host>>);

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) challenge: Option<Challenge>,
    /// By repository, those of a guest apart: one token for each is what every registry understands.
    pub(super) tokens: HashMap<String, Token>,
    /// When a HEAD was last answered without a digest, and the GET after it with one.
    pub(super) head_was_useless: Option<Instant>,
    put_off: Option<(Instant, String)>,
    /// Why it was put off last, until it is well again: so that an outage of hours is said once.
    said: Option<String>,
}

/// A host that is left alone for a while, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PutOff {
    /// The host.
    pub host: String,
    /// Until when (RFC 3339).
    pub until: String,
    /// Why.
    pub reason: String,
}

impl Hosts {
    /// Reads or changes what is remembered of a host; never holds the lock longer than that.
    pub(super) fn of<T>(&self, name: &str, change: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.lock();
        match hosts.get_mut(name) {
            Some(host) => change(host),
            None => {
                if hosts.len() >= MOST {
                    hosts.retain(|_, host| host.put_off_until().is_some());
                }
                change(hosts.entry(name.to_owned()).or_default())
            }
        }
    }

    /// The hosts that are left alone now, in alphabetical order.
    pub(super) fn put_offs(&self) -> Vec<PutOff> {
        let mut found: Vec<PutOff> = Vec::new();
        for (name, host) in self.lock().iter() {
            let Some((until, reason)) = host.put_off_until() else {
                continue;
            };
            let put_off = PutOff {
                host: name.clone(),
                until: rfc3339(until),
                reason,
            };
            let place = found.partition_point(|one| one.host < put_off.host);
            found.insert(place, put_off);
        }
        found
    }

    /// Whether the host may be asked now.
    ///
    /// # Errors
    /// [`Error::PutOff`] if it may not.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        match self.of(name, |host| host.put_off_until()) {
            Some((until, reason)) => Err(Error::PutOff {
                host: name.to_owned(),
                until,
                reason,
            }),
            None => Ok(()),
        }
    }

    /// 429 puts the host off, and so does any refusal that says for how long.
    pub(super) fn note(&self, name: &str, error: &Error) {
        let Error::Refused {
            status,
            retry_after,
            ..
        } = error
        else {
            return;
        };
        let wait = match (status, retry_after) {
            (429 | 503, Some(wait)) => *wait,
            (429, None) => DEFAULT_PUT_OFF,
            _ => return,
        };
        self.put_off(name, wait, format!("it answered {status}"));
    }

    /// A round went by in which it was not put off.
    pub(super) fn is_well(&self, name: &str) {
        self.of(name, |host| host.said = None);
    }

    /// Leaves the host alone for `wait`, and says so. Whoever asked for more time gets it.
    pub(super) fn put_off(&self, name: &str, wait: Duration, reason: String) {
        let until = Instant::now() + wait;
        self.of(name, |host| {
            let is_longer = |(other, _): &(Instant, String)| *other < until;
            if host.put_off.as_ref().is_none_or(is_longer) {
                let at = rfc3339(SystemTime::now() + wait);
                let words = format!("{name}: put off until {at}, because {reason}");
                if host.said.as_ref() == Some(&reason) {
                    debug(format_args!("{words}"));
                } else {
                    log::warn!("{words}");
                    host.said = Some(reason.clone());
                }
                host.put_off = Some((until, reason));
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// Whether a HEAD is a waste here.
    pub(super) fn knows_no_head(&self) -> bool {
        self.head_was_useless
            .is_some_and(|at| at.elapsed() < NO_HEAD_FOR)
    }

    /// Remembers a token.
    pub(super) fn keep(&mut self, key: String, token: Token) {
        if self.tokens.len() >= MOST {
            self.tokens.clear();
        }
        self.tokens.insert(key, token);
    }

    /// Until when it is left alone, and why, if it is.
    fn put_off_until(&self) -> Option<(SystemTime, String)> {
        let (until, reason) = self.put_off.as_ref()?;
        let left = until.checked_duration_since(Instant::now())?;
        (left > Duration::ZERO).then(|| (SystemTime::now() + left, reason.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_tried_again_after_a_while() {
        let mut host = Host::default();
        assert!(!host.knows_no_head());
        host.head_was_useless = Some(Instant::now());
        assert!(host.knows_no_head());
        host.head_was_useless = Instant::now().checked_sub(NO_HEAD_FOR);
        assert!(!host.knows_no_head());
    }

    #[test]
    fn ever_new_names_do_not_fill_memory_and_end_no_put_off() {
        let hosts = Hosts::default();
        hosts.put_off("busy", Duration::from_secs(60), "it said so".to_owned());
        let token = Token::parse(b"{\"token\":\"t\"}", Instant::now()).expect("a token");
        for number in 0..3 * MOST {
            hosts.of(&format!("{number}.example"), |_| ());
            hosts.of("one.example", |host| {
                host.keep(number.to_string(), token.clone());
                assert!(host.tokens.len() <= MOST);
            });
        }
        assert!(hosts.lock().len() <= MOST);
        assert!(hosts.check("busy").is_err());
    }
}
