//! One request to a registry: its redirects, challenges and tokens.

use super::Lookup;
use super::Registry;
use super::challenge::Challenge;
use super::host_memory::Host;
use super::redirect;
use super::refusal::refused;
use super::token;
use super::token::Token;
use crate::credentials::Login;
use crate::error::Error;
use crate::error::Result;
use crate::http;
use crate::secret::Secret;
use std::borrow::Cow;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Instant;
use ureq::Body;
use ureq::http::Method;
use ureq::http::Response;
use ureq::http::Uri;

/// The accepted types: always all four, and in this order, because the digest of the answer depends on them
/// (OCI distribution spec, "Pulling manifests"). Without the index types, some registries convert the
/// manifest, and answer another digest.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// The largest answer of a token endpoint. Real ones are below 4 KiB.
const TOKEN_LIMIT: u64 = 64 * 1024;

/// The most redirects that one look-up follows.
const MAX_REDIRECTS: usize = 5;

impl Registry {
    /// Sends the request, follows redirects, and answers challenges.
    pub(super) fn fetch(
        &self,
        method: &Method,
        mut lookup: Lookup,
    ) -> Result<(String, Response<Body>)> {
        let (mut uri, mut answer) = self.authorised(method, &lookup)?;
        for followed in 0.. {
            let request = format!("{method} {}", http::redacted(&uri));
            let Some(target) = redirect::target(&uri, &answer) else {
                return Ok((request, answer));
            };
            if followed == MAX_REDIRECTS {
                break;
            }
            let target = redirect::follow(&self.client, &uri, &target, &request)?;
            let host = http::authority(&target);
            if host == lookup.host {
                lookup.path = redirect::path_and_query(&target);
                (uri, answer) = self.authorised(method, &lookup)?;
            } else {
                // Another host gets neither the login nor the token of the first one.
                let path = redirect::path_and_query(&target);
                let repository = redirect::repository_in(&path).map(str::to_owned);
                lookup = Lookup {
                    repository: repository.map_or(lookup.repository, Cow::Owned),
                    path,
                    host,
                    login: None,
                    is_guest: true,
                    next: &[],
                };
                answer = self.as_guest(method, &target, &lookup)?;
                uri = target;
            }
        }
        Err(Error::malformed(
            format!("{method} {}", http::redacted(&uri)),
            format!("more than {MAX_REDIRECTS} redirects"),
        ))
    }

    /// Sends the request with the remembered challenge answered, and once more after a new challenge.
    fn authorised(&self, method: &Method, lookup: &Lookup) -> Result<(Uri, Response<Body>)> {
        let known = self.hosts.of(&lookup.host, |host| host.challenge.clone());
        let (is_new, uri, answer) = match &known {
            Some(challenge) => self
                .answered(challenge, method, lookup)
                .inspect_err(|error| self.forget_challenge(&lookup.host, error)),
            None => {
                let sent = self.send(method, lookup, None);
                sent.map(|(uri, answer)| (false, uri, answer))
            }
        }?;
        if answer.status() != 401 {
            return Ok((uri, answer));
        }
        let mut challenge = challenge_of(&answer);
        let wants_more = self.remember_scopes(challenge.as_mut(), lookup);
        let is_known = challenge.is_none() || challenge == known;
        if is_new && is_known && !wants_more {
            return Ok((uri, answer));
        }
        let is_other = |challenge: &Challenge| {
            known
                .as_ref()
                .is_some_and(|known| discriminant(known) != discriminant(challenge))
        };
        if challenge.as_ref().is_none_or(is_other) {
            // Harbor answers an unknown token with another challenge than a missing token. Other registries
            // send no challenge then. The root of the API has the right one.
            challenge = self.challenge_at_root(lookup)?;
        }
        let Some(challenge) = challenge else {
            return Ok((uri, answer));
        };
        // A connection with an unread body cannot be used again.
        drop(http::read_words(answer));
        self.hosts.of(&lookup.host, |host| {
            host.forget_token(&lookup.key());
            host.challenge = Some(challenge.clone());
        });
        let (_, uri, answer) = self.answered(&challenge, method, lookup)?;
        Ok((uri, answer))
    }

    /// Sends the request with the answer to `challenge`. If the repository cannot be read with a shared token,
    /// sends it once more with one of its own. Returns also whether the answer to the challenge was new.
    fn answered(
        &self,
        challenge: &Challenge,
        method: &Method,
        lookup: &Lookup,
    ) -> Result<(bool, Uri, Response<Body>)> {
        let (header, is_new) = self.authorization(challenge, lookup)?;
        let sent = self.send(method, lookup, header.as_ref());
        let Some(is_proof) = self.enter(lookup, header.as_ref(), &sent) else {
            return sent.map(|(uri, answer)| (is_new, uri, answer));
        };
        if let Ok((_, answer)) = sent {
            drop(http::read_words(answer));
        }
        let mut alone = lookup.copy();
        alone.next = &[];
        let (header, _) = self.authorization(challenge, &alone)?;
        let sent = self.send(method, &alone, header.as_ref());
        self.enter(lookup, header.as_ref(), &sent);
        let (uri, answer) = sent?;
        if is_proof && answer.status().as_u16() < 400 {
            self.hosts.of(&lookup.host, Host::stop_sharing);
        }
        Ok((true, uri, answer))
    }

    /// Forgets the challenge if the token endpoint is gone: the host may name another one by now.
    fn forget_challenge(&self, host: &str, error: &Error) {
        if error.is_not_found() || error.is_unreachable() {
            self.hosts.of(host, |host| host.challenge = None);
        }
    }

    /// The challenge at the root of the API (OCI distribution spec, "Determining Support").
    fn challenge_at_root(&self, lookup: &Lookup) -> Result<Option<Challenge>> {
        let (_, answer) = self
            .client
            .ask_host(&Method::GET, &lookup.host, "/v2/", &[])?;
        let mut challenge = challenge_of(&answer);
        // A repository in this challenge is only an example.
        let _ = challenge.as_mut().map(Challenge::take_scopes);
        drop(http::read_words(answer));
        Ok(challenge)
    }

    /// Moves the scopes of a challenge to its repository. Returns whether they are new.
    pub(super) fn remember_scopes(
        &self,
        challenge: Option<&mut Challenge>,
        lookup: &Lookup,
    ) -> bool {
        let scopes = challenge.map(Challenge::take_scopes).unwrap_or_default();
        self.hosts.of(&lookup.host, |host| {
            host.remember_scopes(&lookup.key(), scopes)
        })
    }

    /// Asks a host that another one redirected to, and answers its challenge without a login.
    fn as_guest(&self, method: &Method, uri: &Uri, lookup: &Lookup) -> Result<Response<Body>> {
        let known = self
            .hosts
            .of(&lookup.host, |host| host.token(&lookup.key()).cloned());
        let mut headers = vec![("Accept", ACCEPT)];
        headers.extend(
            known
                .as_ref()
                .map(|token| ("Authorization", token.header.reveal())),
        );
        let answer = self.client.ask(method, uri, &headers)?;
        let Some(mut challenge) = challenge_of(&answer).filter(|_| answer.status() == 401) else {
            return Ok(answer);
        };
        self.remember_scopes(Some(&mut challenge), lookup);
        drop(http::read_words(answer));
        self.hosts
            .of(&lookup.host, |host| host.forget_token(&lookup.key()));
        let (header, _) = self.authorization(&challenge, lookup)?;
        let mut headers = vec![("Accept", ACCEPT)];
        headers.extend(header.as_ref().map(|h| ("Authorization", h.reveal())));
        self.client.ask(method, uri, &headers)
    }

    pub(super) fn send(
        &self,
        method: &Method,
        lookup: &Lookup,
        authorization: Option<&Secret>,
    ) -> Result<(Uri, Response<Body>)> {
        let mut headers = vec![("Accept", ACCEPT)];
        headers.extend(authorization.map(|h| ("Authorization", h.reveal())));
        self.client
            .ask_host(method, &lookup.host, &lookup.path, &headers)
    }

    /// The `Authorization` header that answers `challenge`, and whether the header is new.
    fn authorization(
        &self,
        challenge: &Challenge,
        lookup: &Lookup,
    ) -> Result<(Option<Secret>, bool)> {
        let Challenge::Bearer { realm, service, .. } = challenge else {
            return Ok((lookup.login.as_ref().and_then(Login::basic), true));
        };
        let cached = self
            .hosts
            .of(&lookup.host, |host| host.token(&lookup.key()).cloned());
        let is_ours =
            |token: &Arc<Token>| token.owner == lookup.login && token.is_fresh(Instant::now());
        if let Some(token) = cached.filter(is_ours) {
            return Ok((Some(token.header.clone()), false));
        }
        let token = self.new_token(realm, service.as_deref(), lookup)?;
        Ok((Some(token.header.clone()), true))
    }

    /// See [`Host::enter`].
    fn enter(
        &self,
        lookup: &Lookup,
        header: Option<&Secret>,
        sent: &Result<(Uri, Response<Body>)>,
    ) -> Option<bool> {
        let status = sent
            .as_ref()
            .ok()
            .map(|(_, answer)| answer.status().as_u16());
        self.hosts.of(&lookup.host, |host| {
            host.enter(&lookup.key(), header?, status)
        })
    }

    /// The secrets that were sent to the host. An error text must not repeat them.
    pub(super) fn secrets(&self, lookup: &Lookup) -> Vec<Secret> {
        let token = self
            .hosts
            .of(&lookup.host, |host| host.token(&lookup.key()).cloned());
        let token = token.and_then(|token| {
            let text = token.header.reveal().strip_prefix("Bearer ");
            text.map(Secret::new)
        });
        let login = lookup.login.iter().flat_map(Login::secrets);
        login.chain(token).collect()
    }

    /// Asks the token endpoint (distribution spec, "Requesting a Token"), for `others` too.
    pub(super) fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        lookup: &Lookup,
        others: &[&str],
    ) -> Result<Arc<Token>> {
        let asked = format!("token for {}/{}", lookup.host, lookup.repository);
        let scheme = self.client.scheme(&lookup.host);
        let base = http::parse_uri(&Method::GET, &format!("{scheme}://{}/", lookup.host))?;
        let realm = match realm.strip_prefix('/') {
            Some(path) => format!("{base}{path}"),
            None => realm.to_owned(),
        };
        let realm = redirect::follow(&self.client, &base, &realm, &asked)?;
        let scopes = self.hosts.of(&lookup.host, |host| {
            let mut scopes = token::scopes(host.scopes(&lookup.key()), &lookup.repository);
            for other in others {
                scopes.extend(token::scopes(host.scopes(other), other));
            }
            scopes
        });
        let (request, answer) = if let Some(Login::IdentityToken(token)) = &lookup.login {
            let form = token::refresh_form(token, service, &scopes);
            let request = format!("POST {}", http::redacted(&realm));
            (request, self.client.post_form(&realm, &form)?)
        } else {
            let url = token::url(&realm, service, &scopes);
            let uri = http::parse_uri(&Method::GET, &url)?;
            let basic = lookup.login.as_ref().and_then(Login::basic);
            let headers: Vec<(&str, &str)> = basic
                .iter()
                .map(|header| ("Authorization", header.reveal()))
                .collect();
            let request = format!("GET {}", http::redacted(&uri));
            (request, self.client.ask(&Method::GET, &uri, &headers)?)
        };
        if answer.status() != 200 {
            return Err(refused(
                &request,
                answer,
                lookup.login.is_some(),
                &self.secrets(lookup),
            ));
        }
        let body = http::read_body(&request, answer, TOKEN_LIMIT)?;
        let mut token = Token::parse(&body, Instant::now())
            .map_err(|reason| Error::malformed(request, reason))?;
        token.owner = lookup.login.clone();
        Ok(Arc::new(token))
    }
}

fn challenge_of(answer: &Response<Body>) -> Option<Challenge> {
    let values = answer.headers().get_all("www-authenticate");
    Challenge::best(values.iter().filter_map(|value| value.to_str().ok()))
}
