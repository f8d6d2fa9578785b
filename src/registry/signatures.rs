//! The signatures of an image: in its registry, beside the image (OCI distribution spec, "Listing Referrers"; cosign's
//! tags). Nothing here decides whether a signature is good.

use super::Lookup;
use super::Page;
use super::Registry;
use super::api_host;
use super::sha256;
use super::tags;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::json::at;
use crate::json::list_at;
use crate::json::read;
use crate::json::text_at;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::trust::SIGNATURE;
use serde_json::Value;
use std::time::Duration;
use std::time::Instant;

/// The most manifests that are looked into, and the most layers of each.
const MOST: usize = 16;
/// The most pages of one list.
const MOST_PAGES: usize = 8;
/// The most requests of one search.
const MOST_REQUESTS: usize = 48;
/// No request of a search begins later. A slow registry must not keep a round.
const LONGEST: Duration = Duration::from_secs(30);
/// The largest list of manifests. An entry takes about 300 bytes.
const LIST_LIMIT: u64 = 256 * 1024;
/// The largest manifest and the largest signature that are read. Real ones are below 10 KiB.
const LIMIT: u64 = 64 * 1024;

/// The path of the list of manifests that are about another one.
const REFERRERS: &str = "referrers/";
/// The type of cosign's classic payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The beginning of the types of a sigstore bundle: each version has its own.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// Something that may be a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature<'a> {
    /// The payload of cosign's classic layout, with the annotations that hold its signature.
    Payload(&'a [u8], &'a Value),
    /// A sigstore bundle.
    Bundle(&'a [u8]),
}

/// A search for a good signature.
struct Search<'a> {
    registry: &'a Registry,
    reference: &'a Reference,
    is_good: &'a mut dyn FnMut(Signature) -> Option<bool>,
    /// How many more requests may be sent, and until when.
    left: usize,
    until: Instant,
    /// The manifests that were looked into.
    seen: Vec<String>,
    /// Whether there was any signature.
    has_any: bool,
    /// The first failure that leaves open whether there are more signatures.
    trouble: Option<Error>,
}

impl Registry {
    /// Passes the signatures of the image with `digest` to `is_good`, until one is. Returns whether one is good, and
    /// whether there was any. `is_good` returns nothing for a text that signs no image.
    ///
    /// # Errors
    /// If no signature is good, and the registry did not answer every question.
    #[cold]
    pub fn signatures(
        &self,
        reference: &Reference,
        digest: &Digest,
        is_good: &mut dyn FnMut(Signature) -> Option<bool>,
    ) -> Result<(bool, bool)> {
        let search = Search {
            registry: self,
            reference,
            is_good,
            left: MOST_REQUESTS,
            until: Instant::now() + LONGEST,
            seen: Vec::new(),
            has_any: false,
            trouble: None,
        };
        search.run(digest)
    }
}

impl Search<'_> {
    fn run(mut self, digest: &Digest) -> Result<(bool, bool)> {
        let tag = digest.as_str().replace(":", "-");
        let found = self.in_lists(format!("{REFERRERS}{digest}"))
            || self.in_lists(format!("manifests/{tag}"))
            || self.in_manifest(&format!("manifests/{tag}.sig"));
        match self.trouble {
            Some(trouble) if !found => Err(trouble),
            _ => Ok((found, self.has_any)),
        }
    }

    /// Looks into a list, and into its further pages, which a header `Link` names.
    fn in_lists(&mut self, mut path: String) -> bool {
        for _ in 0..MOST_PAGES {
            let Some(page) = self.get(&path, LIST_LIMIT) else {
                return false;
            };
            let list = read(&page.body).unwrap_or_default();
            if self.in_list(list_at(&list, "manifests")) {
                return true;
            }
            match tags::next(&page.links, api_host(self.reference.registry())) {
                Ok(Some(next)) if self.seen.len() < MOST => path = next,
                _ => return false,
            }
        }
        false
    }

    /// Looks into the manifests of a list. Registries write different types into the list, so the type only decides
    /// which ones come first.
    fn in_list(&mut self, entries: &[Value]) -> bool {
        for is_first in [true, false] {
            for entry in entries {
                let digest = text_at(entry, "digest");
                let is_bundle = text_at(entry, "artifactType").starts_with(BUNDLE);
                let is_new = !self.seen.iter().any(|seen| seen == digest);
                if is_bundle != is_first || !is_new || self.seen.len() >= MOST {
                    continue;
                }
                self.seen.push(digest.to_owned());
                if digest.parse::<Digest>().is_ok()
                    && self.in_manifest(&format!("manifests/{digest}"))
                {
                    return true;
                }
            }
        }
        false
    }

    /// Looks at the layers of a manifest.
    fn in_manifest(&mut self, path: &str) -> bool {
        let manifest = self.get(path, LIMIT);
        let Some(manifest) = manifest.and_then(|page| read(&page.body)) else {
            return false;
        };
        let layers = list_at(&manifest, "layers");
        for layer in layers.iter().take(MOST) {
            let annotations = at(layer, "annotations");
            let is_signed = annotations.get(SIGNATURE).is_some_and(Value::is_string);
            let kind = text_at(layer, "mediaType");
            let is_bundle = kind.starts_with(BUNDLE);
            if !is_bundle && (kind != PAYLOAD || !is_signed) {
                continue;
            }
            self.has_any |= !is_bundle;
            let digest = text_at(layer, "digest");
            let is_small = at(layer, "size").as_u64().is_none_or(|size| size <= LIMIT);
            if digest.parse::<Digest>().is_err() || !is_small {
                continue;
            }
            let blob = self.get(&format!("blobs/{digest}"), LIMIT);
            let blob = blob.map(|page| page.body).unwrap_or_default();
            if sha256(&blob) != digest {
                continue;
            }
            let signature = if is_bundle {
                Signature::Bundle(&blob)
            } else {
                Signature::Payload(&blob, annotations)
            };
            let is_good = (self.is_good)(signature);
            self.has_any |= is_good.is_some();
            if is_good == Some(true) {
                return true;
            }
        }
        false
    }

    /// Sends a GET about the repository. A registry without such a file, or without such lists, answers in many ways.
    fn get(&mut self, path: &str, limit: u64) -> Option<Page> {
        self.left = self.left.checked_sub(1)?;
        let outcome = if Instant::now() < self.until {
            self.registry.ask_once(self.reference, path, limit)
        } else {
            let words = "the search for signatures takes too long";
            Err(Error::given_up(self.reference.registry(), words))
        };
        match outcome {
            Ok(page) => Some(page),
            Err(error) => {
                // Some registries forbid a list that they do not know.
                let is_list = path.starts_with(REFERRERS);
                let is_answer = match error.kind() {
                    Kind::Refused {
                        status: 401 | 403, ..
                    } => is_list,
                    Kind::Refused { status, .. } => !matches!(status, 408 | 429 | 500..),
                    Kind::Malformed => true,
                    _ => false,
                };
                if !is_answer && self.trouble.is_none() {
                    self.trouble = Some(error);
                }
                None
            }
        }
    }
}

impl Registry {
    /// The answer to a GET, with the login that the last look-up used. An answer to a question that a registry may not
    /// know says nothing about the login. A path that begins with `/` is whole; any other one is in the repository.
    fn ask_once(&self, reference: &Reference, path: &str, limit: u64) -> Result<Page> {
        let host = api_host(reference.registry());
        self.hosts.check(host, Instant::now())?;
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/v2/{}/{path}", reference.repository())
        };
        let lookup = Lookup {
            host: host.to_owned(),
            path,
            repository: reference.repository().into(),
            login: self.credentials.kept_login(reference),
            is_guest: false,
            next: &[],
        };
        let is_refused = self.credentials.is_refused(reference);
        let outcome = self.page(lookup, limit, is_refused);
        if let Err(error) = &outcome {
            self.hosts.put_off_if_asked(host, error, Instant::now());
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;
    use crate::http::Proxies;
    use std::io::Read;
    use std::io::Write;
    use std::net::TcpListener;

    #[test]
    fn no_request_begins_after_the_time_of_a_search() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let until = Instant::now() + Duration::from_millis(300);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut requests = 0;
            let mut bytes = [0; 4096];
            // Each answer comes when the time is over.
            while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                requests += 1;
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).expect("it listens");
            }
            requests
        });
        let registry = Registry::new(Credentials::default(), None, Proxies::default(), Vec::new());
        let digest = format!("sha256:{}", "0".repeat(64));
        let search = Search {
            registry: &registry,
            reference: &format!("{host}/acme/app").parse().expect("valid"),
            is_good: &mut |_| Some(true),
            left: MOST_REQUESTS,
            until,
            seen: Vec::new(),
            has_any: false,
            trouble: None,
        };
        let found = search.run(&digest.parse().expect("a digest"));
        let error = found.expect_err("nothing is known");
        assert!(matches!(error.kind(), Kind::GivenUp), "{error}");
        assert!(error.to_string().contains("takes too long"), "{error}");
        drop(registry);
        assert_eq!(server.join().expect("no panic"), 1);
    }
}
