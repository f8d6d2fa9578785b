//! Registries: from a [`Reference`] to the [`Digest`] its tag points at now.
//!
//! One HEAD a look-up. A token is asked for only when none is at hand, and kept; the way a host
//! wants to be asked is learnt from its first 401 and remembered. Nothing is ever pulled here.
//! Policy (when to look, what to do about it) lives elsewhere.

mod challenge;
mod hosts;
mod redirect;
mod refusal;
mod token;

pub use challenge::Challenge;
pub use hosts::PutOff;

use crate::config::Proxies;
use crate::credentials::Credentials;
use crate::credentials::Login;
use crate::credentials::Refused;
use crate::credentials::Secret;
use crate::error::Error;
use crate::error::Result;
use crate::http;
use crate::queue::queue;
use crate::reference::DOCKER_HUB;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::wire;
use crate::wire::Wire;
use hosts::DEFAULT_PUT_OFF;
use hosts::Hosts;
use refusal::refused;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::mem::discriminant;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use token::Token;
use ureq::Body;
use ureq::http::HeaderMap;
use ureq::http::Method;
use ureq::http::Response;
use ureq::http::Uri;
use ureq::tls::Certificate;

/// Always all four and in this order: the answer's digest depends on it (OCI distribution spec,
/// "Pulling manifests"; without the index types some registries convert and answer another one).
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";
/// Where Docker Hub's API answers; `docker.io` itself does not.
const DOCKER_HUB_API: &str = "registry-1.docker.io";
/// Largest manifest that is read where a registry's HEAD says no digest (OCI distribution spec,
/// "Pushing manifests": registries must take 4 MiB).
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// Largest token answer; real ones are below 4 KiB.
const TOKEN_LIMIT: u64 = 64 * 1024;
/// Redirects followed for one look-up.
const MAX_REDIRECTS: usize = 5;
/// A host that leaves this many look-ups in a row unanswered is left alone for the rest of the round.
const UNANSWERED: usize = 2;
/// One that answers nothing else than that it is broken (5xx), this many times in a row, is left alone
/// for [`DEFAULT_PUT_OFF`].
const BROKEN: usize = 4;
/// So many look-ups of one host follow each other at once; those after them are [`PACE`] apart, so
/// that hundreds of references do not arrive as an attack (Quay: a few requests a second and address,
/// with bursts; Docker Hub: some thousands a minute).
const BURST: usize = 20;
/// See [`BURST`].
const PACE: Duration = Duration::from_millis(50);
/// Hosts asked at the same time.
const PARALLEL_HOSTS: usize = 8;

/// A client for all registries.
#[derive(Debug)]
pub struct Registry {
    wire: Wire,
    credentials: Credentials,
    hosts: Hosts,
}

/// Where one look-up stands: whom to ask, and as whom.
struct Visit<'a> {
    host: String,
    path: String,
    repository: Cow<'a, str>,
    login: Option<Login>,
    /// Whether another host sent us there: then we are nobody, and have tokens apart.
    is_guest: bool,
}

impl Registry {
    /// `certificates` are trusted besides the built-in roots; `insecure` hosts are spoken to over
    /// plain HTTP.
    #[must_use]
    pub fn new(
        credentials: Credentials,
        certificates: Option<&[Certificate<'static>]>,
        proxies: Proxies,
        insecure: Vec<String>,
    ) -> Self {
        Self {
            wire: Wire::new(certificates, proxies, insecure),
            credentials,
            hosts: Hosts::default(),
        }
    }

    /// The digest that `reference`'s tag points at now. Of a pinned reference, its own.
    ///
    /// # Errors
    /// One that names the request which failed and what to do about it. [`Error::PutOff`] while
    /// the host asked to be left alone.
    pub fn digest(&self, reference: &Reference) -> Result<Digest> {
        if let Some(digest) = reference.digest() {
            return Ok(digest.clone());
        }
        let host = api_host(reference.registry());
        self.hosts.check(host)?;
        let outcome = self.look_up(host, reference);
        if let Err(error) = &outcome {
            self.hosts.note(host, error);
        }
        outcome
    }

    /// The hosts that are left alone now, in alphabetical order.
    #[must_use]
    pub fn put_offs(&self) -> Vec<PutOff> {
        self.hosts.put_offs()
    }

    /// Looks up all `references`, and tells `sink` of each as soon as it is known: hosts side by
    /// side, the references of one host one after the other on one connection, in the order
    /// given. So no host is held up by another.
    pub fn digests(
        &self,
        references: &[Reference],
        mut sink: impl FnMut(&Reference, Result<Digest>),
    ) {
        let mut hosts: Vec<(&str, Vec<&Reference>)> = Vec::new();
        for reference in references {
            match hosts
                .iter_mut()
                .find(|(host, _)| *host == reference.registry())
            {
                Some((_, list)) => list.push(reference),
                None => hosts.push((reference.registry(), vec![reference])),
            }
        }
        if let [(_, only)] = hosts.as_slice() {
            self.visit(only, &mut sink);
            return;
        }
        let next = AtomicUsize::new(0);
        let (inlet, outlet) = queue();
        std::thread::scope(|scope| {
            for _ in 0..hosts.len().min(PARALLEL_HOSTS) {
                let (hosts, next, inlet) = (&hosts, &next, inlet.clone());
                let work = move || {
                    while let Some((_, list)) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.visit(list, |reference, outcome| {
                            inlet.push((reference, outcome));
                        });
                    }
                };
                let thread = std::thread::Builder::new().name("look-up".to_owned());
                if let Err(error) = thread.spawn_scoped(scope, work) {
                    log::warn!("look-up: no thread ({error}), going on with fewer");
                }
            }
            drop(inlet);
            while let Some((reference, outcome)) = outlet.pop() {
                sink(reference, outcome);
            }
        });
        // Only if not one thread could be had.
        while let Some((_, list)) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.visit(list, &mut sink);
        }
    }

    /// One host's references in order. Once it shows that it does not answer, the rest are not
    /// tried: each would cost another deadline.
    fn visit<'r>(
        &self,
        references: &[&'r Reference],
        mut sink: impl FnMut(&'r Reference, Result<Digest>),
    ) {
        let (mut silent, mut broken, mut answered) = (0, 0, false);
        for (number, reference) in references.iter().enumerate() {
            let host = api_host(reference.registry());
            if number >= BURST && silent < UNANSWERED && self.hosts.check(host).is_ok() {
                std::thread::sleep(PACE);
            }
            if silent == UNANSWERED {
                sink(reference, Err(given_up(host)));
                continue;
            }
            let outcome = self.digest(reference);
            (silent, broken) = match &outcome {
                Err(Error::Unreachable { .. }) => (silent + 1, 0),
                Err(Error::Refused { status, .. }) if *status >= 500 => (0, broken + 1),
                _ => (0, 0),
            };
            answered |= outcome.is_ok();
            // Where others are answered, it is the repository that is in trouble.
            if broken >= BROKEN && !answered {
                self.hosts
                    .put_off(host, DEFAULT_PUT_OFF, "it is in trouble".to_owned());
            }
            sink(reference, outcome);
        }
        let host = references.first().map(|one| api_host(one.registry()));
        if let Some(host) = host.filter(|host| answered && self.hosts.check(host).is_ok()) {
            self.hosts.is_well(host);
        }
    }

    /// As whom we are known there, and once more as nobody if that is refused: an expired login
    /// hides even public images (GHCR answers 403).
    fn look_up(&self, host: &str, reference: &Reference) -> Result<Digest> {
        let login = self.credentials.login(reference);
        let outcome = self.look_up_as(host, reference, login.clone());
        let how_far = match &outcome {
            Err(error) if error.status() == Some(401) => self.hosts.of(host, |host| {
                // Whoever was given a token is known: distribution answers so where he may not read.
                let token = host.tokens.get(reference.repository());
                if token.is_some_and(|token| token.owner == login) {
                    Refused::Here
                } else {
                    Refused::Everywhere
                }
            }),
            Err(error) if error.status() == Some(403) => Refused::Here,
            _ => return outcome,
        };
        let Some(login) = login else { return outcome };
        self.credentials.refuse(reference, login, how_far);
        self.hosts
            .of(host, |host| host.tokens.remove(reference.repository()));
        self.look_up_as(host, reference, None).or(outcome)
    }

    fn look_up_as(
        &self,
        host: &str,
        reference: &Reference,
        login: Option<Login>,
    ) -> Result<Digest> {
        let has_login = login.is_some() || self.credentials.is_refused(reference);
        let visit = Visit {
            host: host.to_owned(),
            path: format!(
                "/v2/{}/manifests/{}",
                reference.repository(),
                reference.tag().unwrap_or("latest")
            ),
            repository: reference.repository().into(),
            login,
            is_guest: false,
        };
        if self.hosts.of(host, |host| host.knows_no_head()) {
            return self.digest_of_body(visit);
        }
        let (request, answer) = self.fetch(&Method::HEAD, visit.again())?;
        match answer.status().as_u16() {
            200 => {
                if let Some(digest) = digest_header(answer.headers()) {
                    return Ok(digest);
                }
            }
            // Some proxies do not know HEAD.
            405 | 501 => {}
            _ => return Err(refused(&request, answer, has_login, &self.secrets(&visit))),
        }
        let digest = self.digest_of_body(visit)?;
        self.hosts
            .of(host, |host| host.head_was_useless = Some(Instant::now()));
        Ok(digest)
    }

    /// For registries that do not say the digest: it is the SHA-256 of the manifest's bytes.
    fn digest_of_body(&self, visit: Visit) -> Result<Digest> {
        let has_login = visit.login.is_some();
        let (request, answer) = self.fetch(&Method::GET, visit.again())?;
        if answer.status() != 200 {
            return Err(refused(&request, answer, has_login, &self.secrets(&visit)));
        }
        let body = http::read_body(&request, answer, MANIFEST_LIMIT)?;
        if !is_manifest(&body) {
            return Err(Error::Malformed {
                request,
                reason: "neither a Docker-Content-Digest header nor a manifest".to_owned(),
            });
        }
        let hash = ring::digest::digest(&ring::digest::SHA256, &body);
        let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256:{hex}").parse()
    }

    /// Sends the request, following redirects, answering challenges.
    fn fetch(&self, method: &Method, mut visit: Visit) -> Result<(String, Response<Body>)> {
        let (mut uri, mut answer) = self.authorised(method, &visit)?;
        for followed in 0.. {
            let request = format!("{method} {}", wire::redacted(&uri));
            let Some(target) = redirect::target(&uri, &answer) else {
                return Ok((request, answer));
            };
            if followed == MAX_REDIRECTS {
                break;
            }
            let target = redirect::follow(&self.wire, &uri, &target, &request)?;
            let host = wire::authority(&target);
            if host == visit.host {
                visit.path = redirect::path_and_query(&target);
                (uri, answer) = self.authorised(method, &visit)?;
            } else {
                // Another host gets neither our login nor our token.
                let path = redirect::path_and_query(&target);
                let repository = redirect::repository_in(&path).map(str::to_owned);
                visit = Visit {
                    repository: repository.map_or(visit.repository, Cow::Owned),
                    path,
                    host,
                    login: None,
                    is_guest: true,
                };
                answer = self.as_guest(method, &target, &visit)?;
                uri = target;
            }
        }
        Err(Error::Malformed {
            request: format!("{method} {}", wire::redacted(&uri)),
            reason: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }

    /// Sends the request with what is known of the host, and once more after a challenge.
    fn authorised(&self, method: &Method, visit: &Visit) -> Result<(Uri, Response<Body>)> {
        let known = self.hosts.of(&visit.host, |host| host.challenge.clone());
        let (header, fresh) = match &known {
            Some(challenge) => self
                .authorization(challenge, visit)
                .inspect_err(|error| self.unlearn_challenge(&visit.host, error))?,
            None => (None, false),
        };
        let (uri, answer) = self.send(method, visit, header.as_ref())?;
        let mut challenge = challenge_of(&answer);
        let is_known = challenge.is_none() || challenge == known;
        if answer.status() != 401 || fresh && is_known {
            return Ok((uri, answer));
        }
        let is_other = |challenge: &Challenge| {
            known
                .as_ref()
                .is_some_and(|known| discriminant(known) != discriminant(challenge))
        };
        if challenge.as_ref().is_none_or(is_other) {
            // Harbor answers a token it no longer knows with another challenge than no token, and
            // some answer none at all: the API's root tells.
            challenge = self.challenge_at_root(visit)?;
        }
        let Some(challenge) = challenge else {
            return Ok((uri, answer));
        };
        // A body left unread would cost the connection.
        drop(http::read_words(answer));
        self.hosts.of(&visit.host, |host| {
            host.tokens.remove(&visit.key());
            host.challenge = Some(challenge.clone());
        });
        let (header, _) = self.authorization(&challenge, visit)?;
        self.send(method, visit, header.as_ref())
    }

    /// Where nobody gives tokens any more, the host may name another place by now.
    fn unlearn_challenge(&self, host: &str, error: &Error) {
        if error.is_not_found() || matches!(error, Error::Unreachable { .. }) {
            self.hosts.of(host, |host| host.challenge = None);
        }
    }

    /// What the host asks for where nothing is shown (OCI distribution spec, "Determining Support").
    fn challenge_at_root(&self, visit: &Visit) -> Result<Option<Challenge>> {
        let (_, answer) = self.wire.ask_host(&Method::GET, &visit.host, "/v2/", &[])?;
        let challenge = challenge_of(&answer);
        drop(http::read_words(answer));
        Ok(challenge)
    }

    /// For a host we were redirected to: its own challenge, answered as nobody.
    fn as_guest(&self, method: &Method, uri: &Uri, visit: &Visit) -> Result<Response<Body>> {
        let known = self
            .hosts
            .of(&visit.host, |host| host.tokens.get(&visit.key()).cloned());
        let mut headers = vec![("Accept", ACCEPT)];
        headers.extend(
            known
                .as_ref()
                .map(|token| ("Authorization", token.header.reveal())),
        );
        let answer = self.wire.ask(method, uri, &headers)?;
        let Some(challenge) = challenge_of(&answer).filter(|_| answer.status() == 401) else {
            return Ok(answer);
        };
        drop(http::read_words(answer));
        self.hosts
            .of(&visit.host, |host| host.tokens.remove(&visit.key()));
        let (header, _) = self.authorization(&challenge, visit)?;
        let mut headers = vec![("Accept", ACCEPT)];
        headers.extend(header.as_ref().map(|h| ("Authorization", h.reveal())));
        self.wire.ask(method, uri, &headers)
    }

    fn send(
        &self,
        method: &Method,
        visit: &Visit,
        authorization: Option<&Secret>,
    ) -> Result<(Uri, Response<Body>)> {
        let mut headers = vec![("Accept", ACCEPT)];
        headers.extend(authorization.map(|h| ("Authorization", h.reveal())));
        self.wire
            .ask_host(method, &visit.host, &visit.path, &headers)
    }

    /// The `Authorization` header that answers `challenge`, and whether it was made just now.
    fn authorization(
        &self,
        challenge: &Challenge,
        visit: &Visit,
    ) -> Result<(Option<Secret>, bool)> {
        let Challenge::Bearer { realm, service } = challenge else {
            return Ok((visit.login.as_ref().and_then(Login::basic), true));
        };
        let cached = self
            .hosts
            .of(&visit.host, |host| host.tokens.get(&visit.key()).cloned());
        let is_ours = |token: &Token| token.owner == visit.login && token.is_fresh(Instant::now());
        if let Some(token) = cached.filter(is_ours) {
            return Ok((Some(token.header), false));
        }
        let mut token = self.fetch_token(realm, service.as_deref(), visit)?;
        token.owner = visit.login.clone();
        let header = token.header.clone();
        self.hosts.of(&visit.host, |host| {
            host.keep(visit.key(), token);
        });
        Ok((Some(header), true))
    }

    /// What was sent there and must not be told on.
    fn secrets(&self, visit: &Visit) -> Vec<Secret> {
        let token = self
            .hosts
            .of(&visit.host, |host| host.tokens.get(&visit.key()).cloned());
        let token = token.and_then(|token| {
            let text = token.header.reveal().strip_prefix("Bearer ");
            text.map(Secret::new)
        });
        let login = visit.login.iter().flat_map(Login::secrets);
        login.chain(token).collect()
    }

    /// Asks the token endpoint (distribution spec, "Requesting a Token").
    fn fetch_token(&self, realm: &str, service: Option<&str>, visit: &Visit) -> Result<Token> {
        let asked = format!("token for {}/{}", visit.host, visit.repository);
        let scheme = self.wire.scheme(&visit.host);
        let base = wire::parse_uri(&Method::GET, &format!("{scheme}://{}/", visit.host))?;
        let realm = match realm.strip_prefix('/') {
            Some(path) => format!("{base}{path}"),
            None => realm.to_owned(),
        };
        let realm = redirect::follow(&self.wire, &base, &realm, &asked)?;
        let scope = format!("repository:{}:pull", visit.repository);
        let (request, answer) = if let Some(Login::IdentityToken(token)) = &visit.login {
            let form = token::refresh_form(token, service, &scope);
            let request = format!("POST {}", wire::redacted(&realm));
            (request, self.wire.post_form(&realm, &form)?)
        } else {
            let url = token_url(&realm, service, &scope);
            let uri = wire::parse_uri(&Method::GET, &url)?;
            let basic = visit.login.as_ref().and_then(Login::basic);
            let headers: Vec<(&str, &str)> = basic
                .iter()
                .map(|header| ("Authorization", header.reveal()))
                .collect();
            let request = format!("GET {}", wire::redacted(&uri));
            (request, self.wire.ask(&Method::GET, &uri, &headers)?)
        };
        if answer.status() != 200 {
            return Err(refused(
                &request,
                answer,
                visit.login.is_some(),
                &self.secrets(visit),
            ));
        }
        let body = http::read_body(&request, answer, TOKEN_LIMIT)?;
        Token::parse(&body, Instant::now()).map_err(|reason| Error::Malformed {
            request,
            reason: reason.to_owned(),
        })
    }
}

impl Visit<'_> {
    fn again(&self) -> Self {
        Self {
            host: self.host.clone(),
            path: self.path.clone(),
            repository: self.repository.clone(),
            login: self.login.clone(),
            is_guest: self.is_guest,
        }
    }

    /// Under which its token is kept. No repository begins with an upper-case letter.
    fn key(&self) -> String {
        let prefix = if self.is_guest { "GUEST/" } else { "" };
        format!("{prefix}{}", self.repository)
    }
}

/// Where a registry's API answers.
#[must_use]
pub fn api_host(registry: &str) -> &str {
    if registry == DOCKER_HUB {
        DOCKER_HUB_API
    } else {
        registry
    }
}

fn given_up(host: &str) -> Error {
    Error::GivenUp {
        host: host.to_owned(),
        reason: format!("it left {UNANSWERED} look-ups unanswered"),
    }
}

/// Whether it is a JSON object with a schema version. Read without keeping anything: as values in
/// memory it could take twenty times as much.
fn is_manifest(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(rename = "schemaVersion")]
        _schema_version: IgnoredAny,
    }
    // Serde would take a list for an object's fields in order.
    body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<Manifest>(body).is_ok()
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn challenge_of(answer: &Response<Body>) -> Option<Challenge> {
    let values = answer.headers().get_all("www-authenticate");
    Challenge::best(values.iter().filter_map(|value| value.to_str().ok()))
}

fn token_url(realm: &Uri, service: Option<&str>, scope: &str) -> String {
    let mut url = realm.to_string();
    let mut separator = if realm.query().is_some() { '&' } else { '?' };
    for (key, value) in [("service", service), ("scope", Some(scope))] {
        if let Some(value) = value {
            url.push(separator);
            url.push_str(&format!("{key}={}", http::percent_encode(value, ":/")));
            separator = '&';
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_one_repository() {
        let realm: Uri = "https://auth.example/token?a=b".parse().expect("URL");
        assert_eq!(
            token_url(&realm, Some("my registry"), "repository:acme/api:pull"),
            "https://auth.example/token?a=b&service=my%20registry&scope=repository:acme/api:pull"
        );
        let realm: Uri = "https://auth.example/token".parse().expect("URL");
        assert_eq!(
            token_url(&realm, None, "repository:a/b:pull"),
            "https://auth.example/token?scope=repository:a/b:pull"
        );
    }
}
