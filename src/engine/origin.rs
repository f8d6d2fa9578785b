//! The origin of an image: a registry, or this host.
//!
//! Docker's older store gives a digest only to images that were pulled or pushed. Its newer store (containerd) and
//! Podman give a digest to every image with a name. containerd keeps sources in a label,
//! `containerd.io/distribution.source.HOST=REPOSITORY,…`, without the port. API 1.53 shows this label as `Identity`.
//! Before, only the `index.json` of an export shows it. Podman keeps a journal of its pulls.

use super::Call;
use super::Deadline;
use super::Engine;
use super::about::ApiVersion;
use super::image::Image;
use super::segment;
use crate::error::Result;
use crate::http;
use crate::json;
use crate::logging::debug;
use crate::reference::Reference;
use serde_json::Value;
use std::io;
use std::io::Read;
use ureq::http::Method;

/// The beginning of containerd's label for the source of an image.
const SOURCE: &str = "containerd.io/distribution.source.";
/// Largest `index.json` that is read. Real ones are below 10 KiB.
const INDEX_LIMIT: u64 = 1024 * 1024;

/// The origin of an image, as far as the Engine knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The image was pulled from the repository, or pushed to it.
    Registry,
    /// The image was built, imported, loaded or named on this host.
    Here,
    /// The Engine does not tell.
    Unknown,
}

impl Engine {
    /// Whether an image came from the repository of `reference`, as far as the image itself tells.
    ///
    /// # Errors
    /// When the Engine does not tell its kind.
    #[cold]
    pub fn origin(&self, image: &Image, reference: &Reference) -> Result<Origin> {
        if image.digests_of(reference).next().is_none() {
            return Ok(Origin::Here);
        }
        if image.is_in_containerd() {
            return Ok(Origin::Unknown);
        }
        Ok(match self.about()?.is_podman() {
            false => Origin::Registry,
            // Podman puts `localhost` in front of the name of an image that was built here.
            true if reference.registry() == "localhost" => Origin::Here,
            true => Origin::Unknown,
        })
    }

    /// The same, from the Engine's memory. That may take long: with Docker before API 1.53 the whole image is read
    /// (`GET /images/{id}/get`), with Podman its journal (`GET /events`). After an error the origin is unknown.
    pub fn remembered_origin(&self, image: &Image, reference: &Reference) -> Origin {
        let remembered = if image.is_in_containerd() {
            self.sources_of(image).map(|sources| {
                let of = |(host, repository): &(String, String)| is_of(host, repository, reference);
                if sources.iter().any(of) {
                    Origin::Registry
                } else {
                    Origin::Here
                }
            })
        } else {
            self.journal_of(image)
                .map(|journal| origin_in(&journal, reference))
        };
        remembered.unwrap_or_else(|error| {
            debug(format_args!(
                "{reference}: the origin of its image is not known: {error}"
            ));
            Origin::Unknown
        })
    }

    /// The sources of an image: hosts, without their ports, and repositories.
    fn sources_of(&self, image: &Image) -> Result<Vec<(String, String)>> {
        let identity = self.identity_of(image)?;
        if let Some(identity) = identity {
            let pulls = identity["Pull"].as_array().into_iter().flatten();
            let names = pulls.filter_map(|pull| pull["Repository"].as_str()?.split_once('/'));
            return Ok(names.map(|(a, b)| (a.to_owned(), b.to_owned())).collect());
        }
        let path = format!("/images/{}/get", http::percent_encode(image.id(), ":"));
        let call = Call {
            deadline: Deadline::Total(self.deadlines.silence),
            ..Call::new(Method::GET, &path, self.deadlines.call)
        };
        let tar = self.call(&call)?.into_body().into_reader();
        let request = self.named(&Method::GET, &path);
        let found = file_of_tar(tar, "index.json");
        let index = found.map_err(|error| http::read_failure(&request, &error))?;
        self.parse(&Method::GET, &path, &index.unwrap_or_default())
            .map(|index| sources_in(&index))
    }

    /// The field of API 1.53 that shows an image's origin (`GET /images/{id}/json`), or `None` before that version.
    fn identity_of(&self, image: &Image) -> Result<Option<Value>> {
        self.api()?;
        if self
            .offered()
            .is_none_or(|offered| offered < ApiVersion::IDENTITY)
        {
            return Ok(None);
        }
        let path = format!("/images/{}/json", http::percent_encode(image.id(), ":"));
        let call = Call {
            version: Some(ApiVersion::IDENTITY),
            ..Call::new(Method::GET, &path, self.deadlines.call)
        };
        let bytes = self.finish(&call)?;
        let mut json = self.parse(&Method::GET, &path, &bytes)?;
        Ok(Some(json["Identity"].take()))
    }

    /// Podman's journal of an image, a line for each event.
    fn journal_of(&self, image: &Image) -> Result<String> {
        let id = image.id().trim_start_matches("sha256:");
        let filters = format!(r#"{{"type":["image"],"image":["{}"]}}"#, segment(id));
        let path = format!(
            "/events?stream=false&since=0&filters={}",
            http::percent_encode(&filters, "")
        );
        let bytes = self.finish(&Call::new(Method::GET, &path, self.deadlines.call))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The sources that an export's index names.
fn sources_in(index: &Value) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for manifest in index["manifests"].as_array().into_iter().flatten() {
        let annotations = manifest["annotations"].as_object().into_iter().flatten();
        for (key, value) in annotations {
            let (Some(host), Some(list)) = (key.strip_prefix(SOURCE), value.as_str()) else {
                continue;
            };
            sources.extend(list.split(',').map(|one| (host.to_owned(), one.to_owned())));
        }
    }
    sources
}

fn is_of(host: &str, repository: &str, reference: &Reference) -> bool {
    let registry = reference.registry();
    let without_port = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    (host == registry || host == without_port) && repository == reference.repository()
}

/// The origin according to Podman's journal of one image.
fn origin_in(journal: &str, reference: &Reference) -> Origin {
    let mut origin = Origin::Unknown;
    for event in journal.lines() {
        let event: Value = json::parse(event).unwrap_or_default();
        let name = event["Actor"]["Attributes"]["name"].as_str();
        let is_it = |name: &str| {
            let named = name.parse::<Reference>();
            named.is_ok_and(|named| named.name() == reference.name())
        };
        match event["Action"].as_str() {
            Some("pull" | "push") if name.is_some_and(is_it) => return Origin::Registry,
            Some("build" | "commit" | "import" | "loadfromarchive") => origin = Origin::Here,
            _ => {}
        }
    }
    origin
}

/// Reads one file of a tar, and skips the others (POSIX.1-2001, pax, "ustar Interchange Format"; GNU tar, for sizes
/// in binary).
fn file_of_tar(mut tar: impl Read, wanted: &str) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 512];
    loop {
        tar.read_exact(&mut header)?;
        let name = header[..100].split(|byte| *byte == 0).next();
        let name = name.unwrap_or_default();
        if name.is_empty() {
            return Ok(None);
        }
        let size = size_in(&header[124..136])
            .ok_or_else(|| io::Error::other("not a tar: an entry without a size"))?;
        if name == wanted.as_bytes() && size <= INDEX_LIMIT {
            let mut file = Vec::new();
            tar.by_ref().take(size).read_to_end(&mut file)?;
            return Ok(Some(file));
        }
        let padded = size.next_multiple_of(512);
        if io::copy(&mut tar.by_ref().take(padded), &mut io::sink())? < padded {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Reads a size: octal digits or, if the first bit is set, a binary number.
fn size_in(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let bytes = field[4..].try_into().ok()?;
        return Some(u64::from_be_bytes(bytes)).filter(|size| *size < 1 << 50);
    }
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(name: &str, size: &[u8], contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[124..124 + size.len()].copy_from_slice(size);
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    #[test]
    fn one_file_of_a_tar_is_found_among_others_and_rubbish_is_none() {
        let first = entry("blobs/sha256/a", b"00000001002\0", &[7; 514]);
        let binary = entry("big", b"\x80\0\0\0\0\0\0\0\0\0\0\x03", b"abc");
        let wanted = entry("index.json", b"00000000002\0", b"{}");
        let end = vec![0; 1024];
        let all = [first.clone(), binary, wanted, end.clone()].concat();
        let found = file_of_tar(&all[..], "index.json").expect("a tar");
        assert_eq!(found.as_deref(), Some(&b"{}"[..]));
        let none = [first.clone(), end].concat();
        assert_eq!(file_of_tar(&none[..], "index.json").expect("a tar"), None);
        for broken in [&first[..700], &entry("a", b"x", b"")[..], b"short"] {
            assert!(file_of_tar(broken, "index.json").is_err());
        }
    }

    #[test]
    fn a_source_is_a_repository_on_a_host_whatever_its_port() {
        let index = |annotations: Value| json!({"manifests": [{"annotations": annotations}]});
        let source = |host: &str| format!("{SOURCE}{host}");
        for (reference, annotations, expected) in [
            ("nginx", json!({source("docker.io"): "library/nginx"}), true),
            (
                "nginx",
                json!({source("docker.io"): "a/b,library/nginx"}),
                true,
            ),
            (
                "nginx",
                json!({source("docker.io"): "library/nginx-x"}),
                false,
            ),
            ("nginx", json!({source("ghcr.io"): "library/nginx"}), false),
            (
                "10.0.0.1:5000/a/b",
                json!({source("10.0.0.1"): "a/b"}),
                true,
            ),
            (
                "10.0.0.1:5000/a/b",
                json!({source("10.0.0.1:5000"): "a/b"}),
                true,
            ),
            ("nginx", json!({"other": "library/nginx"}), false),
            ("nginx", Value::Null, false),
        ] {
            let reference: Reference = reference.parse().expect("valid");
            let mut sources = sources_in(&index(annotations.clone())).into_iter();
            let found = sources.any(|(host, repository)| is_of(&host, &repository, &reference));
            assert_eq!(found, expected, "{reference} {annotations}");
        }
    }

    #[test]
    fn podmans_journal_tells_pulls_from_builds() {
        let event = |action: &str, name: &str| {
            json!({"Action": action, "Actor": {"Attributes": {"name": name}}}).to_string()
        };
        let reference: Reference = "docker.io/library/app".parse().expect("valid");
        for (events, expected) in [
            (&[("pull", "app:latest")][..], Origin::Registry),
            (
                &[("build", ""), ("push", "docker.io/library/app")],
                Origin::Registry,
            ),
            (&[("pull", "quay.io/x/app")], Origin::Unknown),
            (&[("build", ""), ("tag", "app")], Origin::Here),
            (&[("loadfromarchive", "app")], Origin::Here),
            (&[("tag", "app")], Origin::Unknown),
            (&[], Origin::Unknown),
        ] {
            let lines: Vec<String> = events.iter().map(|(a, n)| event(a, n)).collect();
            assert_eq!(
                origin_in(&lines.join("\n"), &reference),
                expected,
                "{events:?}"
            );
        }
        assert_eq!(origin_in("not JSON", &reference), Origin::Unknown);
    }
}
