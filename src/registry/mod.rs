//! Registries: from a [`Reference`] to the [`Digest`] that its tag points at now.
//!
//! A look-up is one HEAD. A token is asked for only if none is at hand, and is remembered. A host's first
//! 401 says how the host wants to be asked, and that is remembered too. This room never pulls an image, and
//! holds no policy: other rooms decide when to look, and what to do then.

mod challenge;
mod host_memory;
mod redirect;
mod refusal;
mod request;
mod token;

pub use challenge::Challenge;

use crate::credentials::Credentials;
use crate::credentials::Login;
use crate::credentials::Refused;
use crate::error::Error;
use crate::error::Result;
use crate::http;
use crate::http::Client;
use crate::http::Proxies;
use crate::journal::PutOff;
use crate::reference::DOCKER_HUB;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::thread::queue;
use host_memory::DEFAULT_PUT_OFF;
use host_memory::Hosts;
use refusal::refused;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use ureq::http::HeaderMap;
use ureq::http::Method;
use ureq::tls::Certificate;

/// The host of Docker Hub's API. `docker.io` itself does not answer.
const DOCKER_HUB_API: &str = "registry-1.docker.io";
/// The largest manifest that is read if a registry's HEAD has no digest (OCI distribution spec, "Pushing
/// manifests": registries must take 4 MiB).
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// After so many unanswered look-ups in a row, a host is not asked for the rest of the round.
const UNANSWERED: usize = 2;
/// After so many answers 5xx in a row, and no other answer, a host is put off for [`DEFAULT_PUT_OFF`].
const BROKEN: usize = 4;
/// So many look-ups of one host follow each other without a pause. Further look-ups are [`PACE`] apart, so
/// that hundreds of references do not look like an attack. Quay allows a few requests per second and address,
/// with bursts. Docker Hub allows some thousands per minute.
const BURST: usize = 20;
/// The pause between look-ups after the first [`BURST`].
const PACE: Duration = Duration::from_millis(50);
/// The most hosts that are asked at the same time.
const PARALLEL_HOSTS: usize = 8;

/// A client for all registries.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    credentials: Credentials,
    hosts: Hosts,
}

/// The state of one look-up: the host to ask, and the login to use.
struct Lookup<'a> {
    host: String,
    path: String,
    repository: Cow<'a, str>,
    login: Option<Login>,
    /// Whether another host redirected the look-up here. A guest uses no login, and has tokens of its own.
    is_guest: bool,
}

impl Registry {
    /// `certificates` are trusted besides the built-in roots. `insecure` hosts are asked over plain HTTP.
    #[must_use]
    pub fn new(
        credentials: Credentials,
        certificates: Option<&[Certificate<'static>]>,
        proxies: Proxies,
        insecure: Vec<String>,
    ) -> Self {
        Self {
            client: Client::new(certificates, proxies, insecure),
            credentials,
            hosts: Hosts::default(),
        }
    }

    /// The digest that `reference`'s tag points at now. A pinned reference has its own digest.
    ///
    /// # Errors
    /// An error that names the failed request, with a hint. [`Error::PutOff`] while the host is put off.
    pub fn digest(&self, reference: &Reference) -> Result<Digest> {
        self.credentials.renew();
        self.kept_digest(reference)
    }

    /// The same, with the logins as of their last renewal.
    fn kept_digest(&self, reference: &Reference) -> Result<Digest> {
        if let Some(digest) = reference.digest() {
            return Ok(digest.clone());
        }
        let host = api_host(reference.registry());
        self.hosts.check(host)?;
        let outcome = self.look_up(host, reference);
        if let Err(error) = &outcome {
            self.hosts.put_off_if_asked(host, error);
        }
        outcome
    }

    /// Whether the registry has `digest` in the repository of `reference`, under any tag or none.
    ///
    /// # Errors
    /// See [`Registry::digest`].
    pub fn holds(&self, reference: &Reference, digest: &Digest) -> Result<bool> {
        let host = api_host(reference.registry());
        self.hosts.check(host)?;
        self.credentials.renew();
        let pinned = format!("{}@{digest}", reference.name());
        match self.look_up(host, &pinned.parse()?) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => {
                self.hosts.put_off_if_asked(host, &error);
                Err(error)
            }
        }
    }

    /// The hosts that are put off now, in alphabetical order.
    #[must_use]
    pub fn put_offs(&self) -> Vec<PutOff> {
        self.hosts.put_offs()
    }

    /// Looks up all `references`, and calls `sink` for each one as soon as its digest is known. The hosts are
    /// asked side by side, so no host delays another. The references of one host are asked one after the
    /// other, on one connection, in the given order.
    pub fn digests(
        &self,
        references: &[Reference],
        mut sink: impl FnMut(&Reference, Result<Digest>),
    ) {
        self.credentials.renew();
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
            self.look_up_in_order(only, &mut sink);
            return;
        }
        let next = AtomicUsize::new(0);
        let (inlet, outlet) = queue();
        std::thread::scope(|scope| {
            for _ in 0..hosts.len().min(PARALLEL_HOSTS) {
                let (hosts, next, inlet) = (&hosts, &next, inlet.clone());
                let work = move || {
                    while let Some((_, list)) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.look_up_in_order(list, |reference, outcome| {
                            inlet.push((reference, outcome));
                        });
                    }
                };
                let thread = std::thread::Builder::new().name("look-up".to_owned());
                if let Err(error) = thread.spawn_scoped(scope, work) {
                    log::warn!(
                        "look-up: cannot start another thread ({error}), going on with fewer"
                    );
                }
            }
            drop(inlet);
            while let Some((reference, outcome)) = outlet.pop() {
                sink(reference, outcome);
            }
        });
        // Some hosts are left only if no thread could be started.
        while let Some((_, list)) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.look_up_in_order(list, &mut sink);
        }
    }

    /// Looks up one host's references in order. After some unanswered look-ups the rest are not tried, because
    /// each one would cost another deadline.
    fn look_up_in_order<'r>(
        &self,
        references: &[&'r Reference],
        mut sink: impl FnMut(&'r Reference, Result<Digest>),
    ) {
        let (mut silent, mut broken, mut answered) = (0, 0, false);
        for (number, reference) in references.iter().enumerate() {
            let host = api_host(reference.registry());
            if number >= BURST && silent < UNANSWERED && self.hosts.check(host).is_ok() {
                std::thread::sleep(PACE);
                self.credentials.renew();
            }
            if silent == UNANSWERED {
                sink(reference, Err(given_up(host)));
                continue;
            }
            let outcome = self.kept_digest(reference);
            (silent, broken) = match &outcome {
                Err(Error::Unreachable { .. }) => (silent + 1, 0),
                Err(Error::Refused { status, .. }) if *status >= 500 => (0, broken + 1),
                _ => (0, 0),
            };
            answered |= outcome.is_ok();
            // If the host answers for other repositories, only this repository is in trouble.
            if broken >= BROKEN && !answered {
                self.hosts
                    .put_off(host, DEFAULT_PUT_OFF, "it is in trouble".to_owned());
            }
            sink(reference, outcome);
        }
        let host = references.first().map(|one| api_host(one.registry()));
        if let Some(host) = host.filter(|host| answered && self.hosts.check(host).is_ok()) {
            self.hosts.mark_recovered(host);
        }
    }

    /// Looks up with the login, and once more without it if the login is refused. An expired login hides even
    /// public images (GHCR answers 403).
    fn look_up(&self, host: &str, reference: &Reference) -> Result<Digest> {
        let login = self.credentials.kept_login(reference);
        let outcome = self.look_up_as(host, reference, login.clone());
        let how_far = match &outcome {
            Err(error) if error.status() == Some(401) => self.hosts.of(host, |host| {
                // A login that got a token is known. distribution answers 401 if such a login may not read.
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
        // The refused login may have been replaced meanwhile.
        self.credentials.renew();
        let next = self.credentials.kept_login(reference);
        self.look_up_as(host, reference, next).or(outcome)
    }

    fn look_up_as(
        &self,
        host: &str,
        reference: &Reference,
        login: Option<Login>,
    ) -> Result<Digest> {
        let lookup = Lookup {
            host: host.to_owned(),
            path: format!(
                "/v2/{}/manifests/{}",
                reference.repository(),
                reference
                    .digest()
                    .map_or(reference.tag().unwrap_or("latest"), Digest::as_str)
            ),
            repository: reference.repository().into(),
            login,
            is_guest: false,
        };
        if self.hosts.of(host, |host| host.needs_get()) {
            return self.digest_of_body(lookup);
        }
        let (request, answer) = self.fetch(&Method::HEAD, lookup.copy())?;
        match answer.status().as_u16() {
            200 => {
                if let Some(digest) = digest_header(answer.headers()) {
                    return Ok(digest);
                }
            }
            // Some proxies do not support HEAD.
            405 | 501 => {}
            _ => {
                let has_login = lookup.login.is_some() || self.credentials.is_refused(reference);
                return Err(refused(&request, answer, has_login, &self.secrets(&lookup)));
            }
        }
        let digest = self.digest_of_body(lookup)?;
        self.hosts
            .of(host, |host| host.head_without_digest = Some(Instant::now()));
        Ok(digest)
    }

    /// Computes the digest, for registries that do not send it: the SHA-256 of the manifest's bytes.
    fn digest_of_body(&self, lookup: Lookup) -> Result<Digest> {
        let has_login = lookup.login.is_some();
        let (request, answer) = self.fetch(&Method::GET, lookup.copy())?;
        if answer.status() != 200 {
            return Err(refused(&request, answer, has_login, &self.secrets(&lookup)));
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
}

impl Lookup<'_> {
    fn copy(&self) -> Self {
        Self {
            host: self.host.clone(),
            path: self.path.clone(),
            repository: self.repository.clone(),
            login: self.login.clone(),
            is_guest: self.is_guest,
        }
    }

    /// The key of its token. No repository begins with an upper-case letter, so a guest's key is unique.
    fn key(&self) -> String {
        let prefix = if self.is_guest { "GUEST/" } else { "" };
        format!("{prefix}{}", self.repository)
    }
}

/// The host on which a registry's API answers.
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

/// Whether the body is a JSON object with a schema version. The values are not kept: in memory they could
/// take twenty times the size of the body.
fn is_manifest(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(rename = "schemaVersion")]
        _schema_version: IgnoredAny,
    }
    // Serde would accept a list as the fields of an object, in order.
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
