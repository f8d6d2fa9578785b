//! One token for several repositories of a host, where the registry grants that.
//!
//! No answer says whether a token is good for all its scopes, so that is tried. Only repositories take part that
//! could be read before, and that this round is about to look up. The first try is a token for two. If the second
//! repository can be read with it, up to [`MOST_SHARERS`] share a token from then on. If a repository cannot be
//! read with a shared token, but with one of its own, no token is shared any more at that host. So a registry that
//! grants only one scope costs one or two requests more, once.

use super::Lookup;
use super::Registry;
use super::host_memory::Host;
use super::host_memory::Part;
use super::host_memory::Sharing;
use super::token;
use super::token::Token;
use crate::credentials::Login;
use crate::error::Result;
use crate::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// The most repositories that share a token. Their scopes fit into a URL that every server accepts.
const MOST_SHARERS: usize = 20;
/// The longest shared token, in bytes. Some servers refuse longer headers.
const LONGEST_SHARED: usize = 4 * 1024;
/// If a token of this age is refused, it may have ended.
const SURELY_ALIVE: Duration = Duration::from_secs(50);

impl Registry {
    /// Fetches and remembers a token, for the next repositories too if they may share it.
    pub(super) fn new_token(
        &self,
        realm: &str,
        service: Option<&str>,
        lookup: &Lookup,
    ) -> Result<Arc<Token>> {
        let others = self.hosts.of(&lookup.host, |host| host.sharers(lookup));
        if !others.is_empty() {
            match self.fetch_token(realm, service, lookup, &others) {
                Ok(token) if token.header.reveal().len() <= LONGEST_SHARED => {
                    self.hosts.of(&lookup.host, |host| {
                        host.remember_token(&lookup.key(), &token, Part::First);
                        for other in &others {
                            host.remember_token(other, &token, Part::Other);
                        }
                    });
                    return Ok(token);
                }
                Err(error) if error.status() == Some(429) => return Err(error),
                _ => {}
            }
        }
        let alone = self.fetch_token(realm, service, lookup, &[]);
        self.hosts.of(&lookup.host, |host| match &alone {
            Ok(token) => {
                if !others.is_empty() {
                    host.stop_sharing();
                }
                host.remember_token(&lookup.key(), token, Part::Alone);
            }
            // In an outage, the next repositories ask only once.
            Err(_) => {
                for other in &others {
                    host.repository_mut(other).can_be_read = false;
                }
            }
        });
        alone
    }
}

impl Host {
    /// The repositories among the next ones for which a token may be requested together with this one's.
    fn sharers<'r>(&self, lookup: &Lookup<'r>) -> Vec<&'r str> {
        let limit = match self.sharing {
            Sharing::Works => MOST_SHARERS - 1,
            Sharing::Untried => 1,
            Sharing::Refused => 0,
        };
        let mut found: Vec<&str> = Vec::new();
        if limit == 0 || !self.may_share(&lookup.key()) {
            return found;
        }
        let next = lookup.next.iter().filter(|next| next.digest().is_none());
        for name in next.map(|next| next.repository()) {
            let is_other = *name != *lookup.repository && !found.contains(&name);
            if is_other && self.may_share(name) && self.needs_token(name, lookup.login.as_ref()) {
                found.push(name);
            }
            if found.len() == limit {
                break;
            }
        }
        found
    }

    /// Whether a repository can be read with just the scope that its name makes.
    fn may_share(&self, key: &str) -> bool {
        self.repository(key)
            .is_some_and(|known| known.can_be_read && token::scopes(&known.scopes, key).len() == 1)
    }

    /// Whether a repository has an old token of this login. Where sharing works, a token that is still good is
    /// replaced too, so that all end at the same time.
    fn needs_token(&self, key: &str, login: Option<&Login>) -> bool {
        let known = self.repository(key).filter(|known| known.part.is_none());
        let token = known.and_then(|known| known.token.as_ref());
        token.is_some_and(|token| {
            token.owner.as_ref() == login
                && (self.sharing == Sharing::Works || !token.is_sure_to_last(Instant::now()))
        })
    }

    /// Enters the status of an answer to a request with a token. `None` is no answer. Returns whether the request
    /// has to be sent again with a token for this repository alone, and then whether its success is a proof that
    /// sharing does not work.
    pub(super) fn enter(
        &mut self,
        key: &str,
        header: &Secret,
        status: Option<u16>,
    ) -> Option<bool> {
        let known = self.repositories.get_mut(key)?;
        let token = known.token.as_ref()?;
        if token.header != *header || status == Some(429) {
            return None;
        }
        if status.is_some_and(|status| status < 400) {
            known.can_be_read = true;
            let is_proof = known.part.take() == Some(Part::Other);
            if is_proof && self.sharing == Sharing::Untried {
                self.sharing = Sharing::Works;
            }
            return None;
        }
        match known.part? {
            Part::Alone => {
                known.can_be_read = false;
                None
            }
            Part::First | Part::Other => {
                let is_alive = token.since.elapsed() < SURELY_ALIVE;
                known.token = None;
                Some(is_alive)
            }
        }
    }

    /// Shares no token any more, and forgets the shared ones that were not used yet.
    pub(super) fn stop_sharing(&mut self) {
        self.sharing = Sharing::Refused;
        for known in self.repositories.values_mut() {
            if matches!(known.part, Some(Part::First | Part::Other)) {
                known.token = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_young_shared_token_that_is_refused_is_a_proof() {
        for (part, age, status, expected) in [
            (Part::First, 0, Some(401), Some(true)),
            (Part::Other, 0, Some(403), Some(true)),
            (Part::Other, 0, None, Some(true)),
            (Part::Other, 60, Some(401), Some(false)),
            (Part::Other, 0, Some(429), None),
            (Part::Other, 0, Some(200), None),
            (Part::Alone, 0, Some(401), None),
        ] {
            let since = Instant::now().checked_sub(Duration::from_secs(age));
            let token = Token::parse(b"{\"token\":\"t\"}", since.expect("a time"));
            let mut host = Host::default();
            host.remember_token("acme/api", &Arc::new(token.expect("a token")), part);
            let header = Secret::new("Bearer t");
            let found = host.enter("acme/api", &header, status);
            assert_eq!(found, expected, "{part:?} {age} {status:?}");
            let keeps_token = host.token("acme/api").is_some();
            assert_eq!(keeps_token, expected.is_none(), "{part:?} {age} {status:?}");
            assert_eq!(
                host.enter("acme/api", &Secret::new("Bearer u"), Some(401)),
                None
            );
        }
    }
}
