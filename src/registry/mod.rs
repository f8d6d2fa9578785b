//! Registries: from a [`Reference`] to the [`Digest`] that its tag points at now.
//!
//! A look-up is one HEAD. A token is asked for only if none is at hand, and is remembered. A host's first
//! 401 says how the host wants to be asked, and that is remembered too. This room never pulls an image, and
//! holds no policy: other rooms decide when to look, and what to do then.

mod challenge;
mod config;
mod host_memory;
mod redirect;
mod refusal;
mod request;
mod round;
mod sharing;
mod signatures;
mod tags;
mod token;
mod turn;

pub use challenge::Challenge;
pub use host_memory::Hosts;
pub use refusal::refused;
pub use signatures::Signature;
pub use turn::Turn;

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
use crate::text::hex;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
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
/// A client for all registries.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    credentials: Credentials,
    hosts: Hosts,
    /// The pause between look-ups in a long round.
    pace: Duration,
}

/// The state of one look-up: the host to ask, and the login to use.
struct Lookup<'a> {
    host: String,
    path: String,
    repository: Cow<'a, str>,
    login: Option<Login>,
    /// Whether another host redirected the look-up here. A guest uses no login, and has tokens of its own.
    is_guest: bool,
    /// The references that are looked up next at this host. Their repositories may share its token.
    next: &'a [&'a Reference],
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
            pace: turn::PACE,
        }
    }

    /// The same for somebody who waits at a terminal.
    #[must_use]
    pub fn by_hand(self) -> Self {
        Self {
            pace: turn::PACE_BY_HAND,
            ..self
        }
    }

    /// The digest that `reference`'s tag points at now. A pinned reference has its own digest.
    ///
    /// # Errors
    /// An error that names the failed request, with a hint.
    /// [`Kind::PutOff`](crate::error::Kind::PutOff) while the host is put off.
    pub fn digest(&self, reference: &Reference) -> Result<Digest> {
        if let Some(digest) = reference.digest() {
            return Ok(digest.clone());
        }
        let host = api_host(reference.registry());
        self.hosts.check(host, Instant::now())?;
        self.credentials.renew();
        let outcome = self.look_up(host, reference, &[]);
        if let Err(error) = &outcome {
            let now = Instant::now();
            self.hosts.put_off_if_asked(host, error, now);
        }
        outcome
    }

    /// Whether the registry has `digest` in the repository of `reference`, under any tag or none.
    ///
    /// # Errors
    /// See [`Registry::digest`].
    pub fn holds(&self, reference: &Reference, digest: &Digest) -> Result<bool> {
        let host = api_host(reference.registry());
        self.hosts.check(host, Instant::now())?;
        self.credentials.renew();
        let pinned = format!("{}@{digest}", reference.name());
        match self.look_up(host, &pinned.parse()?, &[]) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => {
                let now = Instant::now();
                self.hosts.put_off_if_asked(host, &error, now);
                Err(error)
            }
        }
    }

    /// The answer to a GET about the repository of `reference`.
    fn get(&self, reference: &Reference, path: &str, limit: u64) -> Result<Page> {
        let host = api_host(reference.registry());
        self.hosts.check(host, Instant::now())?;
        self.credentials.renew();
        let mut page = Page::default();
        let outcome = self.with_login(host, reference, &mut |login| {
            let lookup = Lookup {
                host: host.to_owned(),
                path: path.to_owned(),
                repository: reference.repository().into(),
                login,
                is_guest: false,
                next: &[],
            };
            page = self.page(lookup, limit, self.credentials.is_refused(reference))?;
            Ok(())
        });
        if let Err(error) = &outcome {
            self.hosts.put_off_if_asked(host, error, Instant::now());
        }
        outcome.map(|()| page)
    }

    /// Sends a GET, and reads an answer with status 200.
    fn page(&self, lookup: Lookup, limit: u64, is_refused: bool) -> Result<Page> {
        let has_login = lookup.login.is_some() || is_refused;
        let (request, answer) = self.fetch(&Method::GET, lookup.copy())?;
        if answer.status() != 200 {
            return Err(refused(&request, answer, has_login, &self.secrets(&lookup)));
        }
        let links = answer.headers().get_all("link").iter();
        let links = links.filter_map(|link| link.to_str().ok());
        let links = links.map(str::to_owned).collect();
        let body = http::read_body(&request, answer, limit)?;
        Ok(Page {
            request,
            links,
            body,
        })
    }

    /// The hosts that are put off now, in alphabetical order.
    #[must_use]
    pub fn put_offs(&self) -> Vec<PutOff> {
        self.hosts.put_offs(Instant::now())
    }

    /// Looks up with the login, and once more without it if the login is refused. An expired login hides even
    /// public images (GHCR answers 403).
    fn look_up(&self, host: &str, reference: &Reference, next: &[&Reference]) -> Result<Digest> {
        let (mut next, mut found) = (next, None);
        self.with_login(host, reference, &mut |login| {
            let next = std::mem::take(&mut next);
            found = Some(self.look_up_as(host, reference, login, next)?);
            Ok(())
        })?;
        found.ok_or_else(|| Error::malformed(reference.to_string(), "no digest"))
    }

    /// Asks with the login, and once more without it if the login is refused.
    fn with_login(
        &self,
        host: &str,
        reference: &Reference,
        ask: &mut dyn FnMut(Option<Login>) -> Result<()>,
    ) -> Result<()> {
        let login = self.credentials.kept_login(reference);
        let outcome = ask(login.clone());
        let how_far = match &outcome {
            Err(error) if error.status() == Some(401) => self.hosts.of(host, |host| {
                // A login that got a token is known. distribution answers 401 if such a login may not read.
                let token = host.token(reference.repository());
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
            .of(host, |host| host.forget_token(reference.repository()));
        // The refused login may have been replaced meanwhile.
        self.credentials.renew();
        let login = self.credentials.kept_login(reference);
        ask(login).or(outcome)
    }

    fn look_up_as(
        &self,
        host: &str,
        reference: &Reference,
        login: Option<Login>,
        next: &[&Reference],
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
            next,
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
        let Page { request, body, .. } = self.page(lookup, MANIFEST_LIMIT, false)?;
        if !is_manifest(&body) {
            return Err(Error::malformed(
                request,
                "neither a Docker-Content-Digest header nor a manifest",
            ));
        }
        sha256(&body).parse()
    }
}

/// The answer to a GET.
#[derive(Default)]
struct Page {
    /// The request, for errors.
    request: String,
    /// The values of the headers `Link`.
    links: Vec<String>,
    body: Vec<u8>,
}

impl Lookup<'_> {
    fn copy(&self) -> Self {
        Self {
            host: self.host.clone(),
            path: self.path.clone(),
            repository: self.repository.clone(),
            login: self.login.clone(),
            is_guest: self.is_guest,
            next: self.next,
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

/// The digest of some bytes, as registries write it.
fn sha256(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    format!("sha256:{}", hex(hash.as_ref()))
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
