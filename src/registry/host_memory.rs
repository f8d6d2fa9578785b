//! The memory of each registry host between look-ups: its challenge, its tokens, and the end of a pause.

use super::challenge::Challenge;
use super::token::Token;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::journal::PutOff;
use crate::logging::debug;
use crate::time::rfc3339;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// The pause for a host that answers "too many requests" without a time, and for a host in trouble.
pub(super) const DEFAULT_PUT_OFF: Duration = Duration::from_secs(60);

/// How long a host is asked by GET, after a HEAD without a digest. The time is limited, because the missing
/// digest may have been a passing fault, and a GET counts against Docker Hub's pull limit.
const GET_FOR: Duration = Duration::from_secs(3600);

/// The most hosts, and the most tokens of each, that are remembered. A host may redirect to ever new names
/// and repositories. Beyond this number, everything that can be learnt again is forgotten.
const MOST: usize = 512;

/// All hosts, by name. The caller has the clock.
#[derive(Debug, Default)]
pub struct Hosts(Mutex<HashMap<String, Host>>);

/// The memory of one host.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) challenge: Option<Challenge>,
    /// The memory of each repository, by its name. A guest's repositories have keys of their own.
    pub(super) repositories: HashMap<String, Repository>,
    pub(super) sharing: Sharing,
    /// When a HEAD last had no digest, although the GET after it had one.
    pub(super) head_without_digest: Option<Instant>,
    put_off: Option<(Instant, String)>,
    /// The reason of the last pause that was logged, until the host has recovered. So an outage of hours is
    /// logged once.
    logged: Option<String>,
}

/// The memory of one repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    /// The token, which others may share.
    pub(super) token: Option<Arc<Token>>,
    /// `None` once the repository could be read with that token.
    pub(super) part: Option<Part>,
    /// The scopes that challenges asked for.
    pub(super) scopes: Vec<String>,
    /// Whether the newest token that was used could read it.
    pub(super) can_be_read: bool,
}

/// The part of a repository in a token that it has not used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The token is for this repository only.
    Alone,
    /// The token is for others too, and this repository comes first in the request.
    First,
    /// The token was requested for another repository, and for this one too.
    Other,
}

/// Whether the registry grants one token for several repositories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sharing {
    #[default]
    Untried,
    Works,
    Refused,
}

impl Hosts {
    /// Reads or changes the memory of a host, and holds the lock only for that.
    pub(super) fn of<T>(&self, name: &str, change: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.lock();
        match hosts.get_mut(name) {
            Some(host) => change(host),
            None => {
                if hosts.len() >= MOST {
                    let now = Instant::now();
                    hosts.retain(|_, host| host.put_off_until(now).is_some());
                }
                change(hosts.entry(name.to_owned()).or_default())
            }
        }
    }

    /// The hosts that are put off now, in alphabetical order.
    pub(super) fn put_offs(&self, now: Instant) -> Vec<PutOff> {
        let mut found: Vec<PutOff> = Vec::new();
        for (name, host) in self.lock().iter() {
            let Some((until, reason)) = host.put_off_until(now) else {
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
    /// [`Kind::PutOff`] while the host is put off.
    pub(super) fn check(&self, name: &str, now: Instant) -> Result<()> {
        match self.of(name, |host| host.put_off_until(now)) {
            Some((until, reason)) => Err(Error::put_off(name, until, reason)),
            None => Ok(()),
        }
    }

    /// Puts the host off after a 429, and after a 503 that names a time.
    pub(super) fn put_off_if_asked(&self, name: &str, error: &Error, now: Instant) {
        let Kind::Refused {
            status,
            retry_after,
        } = error.kind()
        else {
            return;
        };
        let wait = match (status, retry_after) {
            (429 | 503, Some(wait)) => *wait,
            (429, None) => DEFAULT_PUT_OFF,
            _ => return,
        };
        self.put_off(name, now, wait, format!("it answered {status}"));
    }

    /// Forgets the last logged pause, after a round without a pause.
    pub(super) fn mark_recovered(&self, name: &str) {
        self.of(name, |host| host.logged = None);
    }

    /// Puts the host off for `wait`, and logs that. A longer pause that was asked for before stays.
    pub(super) fn put_off(&self, name: &str, now: Instant, wait: Duration, reason: String) {
        let until = now + wait;
        self.of(name, |host| {
            let is_longer = |(other, _): &(Instant, String)| *other < until;
            if host.put_off.as_ref().is_none_or(is_longer) {
                let at = rfc3339(SystemTime::now() + wait);
                let words = format!("{name}: put off until {at}, because {reason}");
                if host.logged.as_ref() == Some(&reason) {
                    debug(format_args!("{words}"));
                } else {
                    log::warn!("{words}");
                    host.logged = Some(reason.clone());
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
    /// Whether this host has to be asked by GET, because its HEAD has no digest.
    pub(super) fn needs_get(&self) -> bool {
        self.head_without_digest
            .is_some_and(|at| at.elapsed() < GET_FOR)
    }

    pub(super) fn repository(&self, key: &str) -> Option<&Repository> {
        self.repositories.get(key)
    }

    /// The memory of a repository, which is made if need be.
    pub(super) fn repository_mut(&mut self, key: &str) -> &mut Repository {
        if self.repositories.len() >= MOST && !self.repositories.contains_key(key) {
            self.repositories.clear();
        }
        self.repositories.entry(key.to_owned()).or_default()
    }

    pub(super) fn token(&self, key: &str) -> Option<&Arc<Token>> {
        self.repository(key)?.token.as_ref()
    }

    pub(super) fn remember_token(&mut self, key: &str, token: &Arc<Token>, part: Part) {
        let known = self.repository_mut(key);
        known.token = Some(Arc::clone(token));
        known.part = Some(part);
    }

    pub(super) fn forget_token(&mut self, key: &str) {
        self.repository_mut(key).token = None;
    }

    /// Remembers the scopes of a challenge. Returns whether they are new. A challenge without scopes changes
    /// nothing, because some registries leave the scopes out if the request had a token.
    pub(super) fn remember_scopes(&mut self, key: &str, scopes: Vec<String>) -> bool {
        let known = self.repository_mut(key);
        let is_new = !scopes.is_empty() && known.scopes != scopes;
        if is_new {
            known.scopes = scopes;
        }
        is_new
    }

    /// The scopes that challenges for this key asked for.
    pub(super) fn scopes(&self, key: &str) -> &[String] {
        self.repository(key).map_or(&[], |known| &known.scopes)
    }

    /// The end and the reason of the pause, if the host is put off.
    fn put_off_until(&self, now: Instant) -> Option<(SystemTime, String)> {
        let (until, reason) = self.put_off.as_ref()?;
        let left = until.checked_duration_since(now)?;
        (left > Duration::ZERO).then(|| (SystemTime::now() + left, reason.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_tried_again_after_a_while() {
        let mut host = Host::default();
        assert!(!host.needs_get());
        host.head_without_digest = Some(Instant::now());
        assert!(host.needs_get());
        host.head_without_digest = Instant::now().checked_sub(GET_FOR);
        assert!(!host.needs_get());
    }

    #[test]
    fn ever_new_names_do_not_fill_memory_and_end_no_put_off() {
        let hosts = Hosts::default();
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        hosts.put_off("busy", now, minute, "it said so".to_owned());
        let token = Token::parse(b"{\"token\":\"t\"}", now).expect("a token");
        let token = Arc::new(token);
        for number in 0..3 * MOST {
            hosts.of(&format!("{number}.example"), |_| ());
            hosts.of("one.example", |host| {
                host.remember_token(&number.to_string(), &token, Part::Alone);
                host.remember_scopes(&number.to_string(), vec!["scope".to_owned()]);
                assert!(host.repositories.len() <= MOST);
            });
        }
        assert!(hosts.lock().len() <= MOST);
        assert!(hosts.check("busy", now).is_err());
        assert!(hosts.check("busy", now + minute).is_ok());
    }
}
