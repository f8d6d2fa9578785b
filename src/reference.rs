//! Image references and digests: parse, print, compare. No I/O.
//!
//! The grammar and the normalisation are those of Docker (`distribution/reference`): `nginx` means
//! `docker.io/library/nginx:latest`. A [`Reference`] is always in that canonical form, so two
//! spellings of the same image compare equal.

use crate::error::Error;
use crate::error::Result;
use std::fmt;
use std::str::FromStr;

/// The registry of a reference without a host.
pub const DOCKER_HUB: &str = "docker.io";
/// Docker Hub's older name, which configuration files still use.
const DOCKER_HUB_LEGACY: &str = "index.docker.io";
/// Longest repository path (`distribution/reference`, `RepositoryNameTotalLengthMax`).
const LONGEST_PATH: usize = 255;
/// Longest tag (OCI distribution spec, "Pulling manifests").
const LONGEST_TAG: usize = 128;

/// `registry/repository[:tag][@digest]` in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host, with a port if one was given, e.g. `ghcr.io`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry, e.g. `library/nginx`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only for a reference that is pinned to a digest without one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that this reference is pinned to. A pinned reference never moves.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The image with this digest in the same repository, whatever its tags are.
    #[must_use]
    pub fn pinned_to(&self, digest: &Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest.clone()),
            ..self.clone()
        }
    }

    /// `registry/repository`, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Parses a reference, and brings it into canonical form.
    ///
    /// # Errors
    /// [`Kind::Reference`](crate::error::Kind::Reference), which names the part that is wrong.
    fn from_str(input: &str) -> Result<Self> {
        let fail = |reason: &str| Error::reference(input, reason);
        let (rest, digest) = match input.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest).map_err(&fail)?)),
            None => (input, None),
        };
        let (name, tag) = split_tag(rest);
        if let Some(tag) = tag {
            check_tag(tag).map_err(&fail)?;
        }
        if is_hex(name, 64) {
            return Err(fail("64 hex digits are an image id, not a name"));
        }
        let (registry, path) = split_registry(name);
        check_registry(registry).map_err(&fail)?;
        check_path(path).map_err(&fail)?;
        let (registry, repository) = normalise(registry, path);
        if repository.len() > LONGEST_PATH {
            return Err(fail("repository: longer than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag,
        };
        Ok(Self {
            registry,
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The digest of a manifest or an index, e.g. `sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The algorithm and the first twelve hex digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        short(&self.0)
    }
}

/// Shortens a digest or an image id to the algorithm and the first twelve hex digits, for people.
#[must_use]
pub fn short(digest: &str) -> &str {
    let begin = digest.find(':').map_or(0, |colon| colon + 1);
    digest.get(..begin + 12).unwrap_or(digest)
}

impl FromStr for Digest {
    type Err = Error;

    /// Parses `algorithm:hex`.
    ///
    /// # Errors
    /// [`Kind::Reference`](crate::error::Kind::Reference) for an unknown algorithm or the wrong length.
    fn from_str(input: &str) -> Result<Self> {
        parse_digest(input).map_err(|reason| Error::reference(input, reason))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Accepts the algorithms and lengths of the OCI image spec, "Digests".
fn parse_digest(text: &str) -> std::result::Result<Digest, &'static str> {
    let (algorithm, hex) = text.split_once(':').ok_or("digest: no algorithm")?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err("digest: unsupported algorithm"),
    };
    if !is_hex(hex, length) {
        return Err("digest: wrong length or not lower-case hex");
    }
    Ok(Digest(text.to_owned()))
}

/// Splits the tag off. The tag begins after the last colon; if a slash follows, that colon is a port's.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Splits the registry off. The first component is a registry if it is `localhost`, or has a dot, a colon or
/// an upper-case letter: a repository cannot have those. Any other name is on Docker Hub.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn normalise(registry: Option<&str>, path: &str) -> (String, String) {
    let registry = match registry {
        None | Some(DOCKER_HUB_LEGACY) => DOCKER_HUB,
        Some(other) => other,
    };
    let path = if registry == DOCKER_HUB && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    (registry.to_owned(), path)
}

fn check_registry(registry: Option<&str>) -> std::result::Result<(), &'static str> {
    let Some(registry) = registry else {
        return Ok(());
    };
    let host = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or("registry: missing ]")?;
            let legal = |c: char| c.is_ascii_hexdigit() || c == ':';
            if address.is_empty() || !address.chars().all(legal) {
                return Err("registry: not an IPv6 address");
            }
            return match port.strip_prefix(':') {
                Some(port) => check_port(port),
                None if port.is_empty() => Ok(()),
                None => Err("registry: text after ]"),
            };
        }
        None => match registry.split_once(':') {
            Some((host, port)) => {
                check_port(port)?;
                host
            }
            None => registry,
        },
    };
    let legal = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    if host.split('.').all(legal) {
        Ok(())
    } else {
        Err("registry: not a host name")
    }
}

fn check_port(port: &str) -> std::result::Result<(), &'static str> {
    match port.parse::<u16>() {
        Ok(_) if port.chars().all(|c| c.is_ascii_digit()) => Ok(()),
        _ => Err("registry: not a port"),
    }
}

fn check_path(path: &str) -> std::result::Result<(), &'static str> {
    if path.is_empty() {
        return Err("repository: empty");
    }
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("repository: must be lower case");
    }
    if path.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err("repository: lower-case letters and digits, joined by one of . _ __ or dashes")
    }
}

/// Whether the text matches `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_path_component(component: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !component.starts_with(plain) || !component.ends_with(plain) {
        return false;
    }
    component
        .split(plain)
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.chars().all(|c| c == '-'))
}

fn check_tag(tag: &str) -> std::result::Result<(), &'static str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if tag.len() <= LONGEST_TAG
        && tag.starts_with(word)
        && tag.chars().all(|c| word(c) || c == '.' || c == '-')
    {
        Ok(())
    } else {
        Err("tag: a letter, digit or _ and at most 127 more of those, dots or dashes")
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// An image that is followed or updated, and its name in reports: a runtime's name, e.g. `claude-code`, or
/// the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name in reports.
    pub name: String,
    /// The reference of the image.
    pub reference: Reference,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(input: &str) -> String {
        match input.parse::<Reference>() {
            Ok(reference) => reference.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn references_are_normalised_as_docker_does() {
        let f64 = "f".repeat(64);
        let pinned = format!("test:5000/repo:tag@sha256:{f64}");
        let hex63 = "d".repeat(63);
        let hub_hex = format!("docker.io/{f64}");
        let long = format!("example.com/{}:tag", "a".repeat(255));
        for (input, expected) in [
            ("foo", "docker.io/library/foo:latest"),
            ("docker/migrator", "docker.io/docker/migrator:latest"),
            ("test.com/foo", "test.com/foo:latest"),
            ("test_com/foo", "docker.io/test_com/foo:latest"),
            ("test.com:8080/foo", "test.com:8080/foo:latest"),
            ("test-com:8080/foo", "test-com:8080/foo:latest"),
            ("xn--n3h.com:18080/foo", "xn--n3h.com:18080/foo:latest"),
            ("docker.io/foo", "docker.io/library/foo:latest"),
            (
                "docker.io/library/foo/bar",
                "docker.io/library/foo/bar:latest",
            ),
            ("localhost/fooo", "localhost/fooo:latest"),
            ("LOCALDOMAIN/fooo/bar", "LOCALDOMAIN/fooo/bar:latest"),
            ("Foo/bar", "Foo/bar:latest"),
            ("index.docker.io/fooo/bar", "docker.io/fooo/bar:latest"),
            (
                "127.0.0.1:8000/private/moonbase",
                "127.0.0.1:8000/private/moonbase:latest",
            ),
            (
                "index.docker.io/library/ubuntu-12.04-base",
                "docker.io/library/ubuntu-12.04-base:latest",
            ),
            (&hex63, &format!("docker.io/library/{hex63}:latest")),
            (&hub_hex, &format!("docker.io/library/{f64}:latest")),
            ("busybox", "docker.io/library/busybox:latest"),
            (
                "docker.io/busybox:latest",
                "docker.io/library/busybox:latest",
            ),
            ("gcr.io/library/busybox", "gcr.io/library/busybox:latest"),
            (
                &format!("busybox@sha256:{f64}"),
                &format!("docker.io/library/busybox@sha256:{f64}"),
            ),
            (
                &format!("busybox:latest@sha256:{f64}"),
                &format!("docker.io/library/busybox:latest@sha256:{f64}"),
            ),
            (&pinned, &pinned),
            ("test.com:5000", "docker.io/library/test.com:5000"),
            ("192.168.1.1:5000/repo:5050", "192.168.1.1:5000/repo:5050"),
            (
                "b.gcr.io/test.example.com/my-app:test.example.com",
                "b.gcr.io/test.example.com/my-app:test.example.com",
            ),
            ("foo_bar.com:8080", "docker.io/library/foo_bar.com:8080"),
            (
                "lowercase:Uppercase",
                "docker.io/library/lowercase:Uppercase",
            ),
            ("[2001:db8::1]:5000/repo:tag", "[2001:db8::1]:5000/repo:tag"),
            (&long, &long),
            ("dock__er/docker", "docker.io/dock__er/docker:latest"),
            (
                "docker---rules/docker",
                "docker.io/docker---rules/docker:latest",
            ),
            ("d/docker", "docker.io/d/docker:latest"),
        ] {
            assert_eq!(canonical(input), *expected, "{input}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_with_a_reason() {
        let f64 = "f".repeat(64);
        for (input, reason) in [
            ("", "repository: empty"),
            (":justtag", "repository: empty"),
            (&*format!("@sha256:{f64}"), "repository: empty"),
            (&format!("repo@sha256:{}", "f".repeat(34)), "digest: wrong"),
            (&format!("validname@invaliddigest:{f64}"), "unsupported"),
            ("Uppercase:tag", "lower case"),
            // With `library/` in front it is too long.
            (&"a".repeat(250), "longer than 255"),
            ("test:5000/Uppercase/lowercase:tag", "lower case"),
            ("docker/Docker", "lower case"),
            ("aa/asdf$$^/aa", "repository:"),
            ("[2001:db8::1]", "tag:"),
            ("[2001:db8::1]:5000", "repository:"),
            ("[fe80::1%eth0]:5000/repo", "not an IPv6 address"),
            ("https://github.com/docker/docker", "registry:"),
            ("docker///docker", "repository:"),
            ("docker/", "repository:"),
            ("-docker", "repository:"),
            ("docker-/docker", "repository:"),
            ("dock..er/docker", "registry:"),
            ("dock_.er/docker", "registry:"),
            ("____/____", "repository:"),
            (&f64, "image id"),
            ("fc00::1:5000/debian", "registry:"),
            (&format!("example.com/{}:tag", "a".repeat(256)), "longer"),
            ("name:tag with space", "tag:"),
            (&format!("name:{}", "t".repeat(129)), "tag:"),
            ("ghcr.io/a/b:", "tag:"),
            ("a.b:99999/x", "not a port"),
        ] {
            let error = canonical(input);
            assert!(
                error.starts_with("error:") && error.contains(reason),
                "{input}: {error}"
            );
        }
    }

    #[test]
    fn printing_and_parsing_are_inverse() {
        for input in ["foo", "a.b:1/c/d:e", "[::1]:5000/x:y"] {
            let reference: Reference = input.parse().expect("valid");
            assert_eq!(reference.to_string().parse(), Ok(reference));
        }
    }

    #[test]
    fn a_short_digest_keeps_its_algorithm() {
        let digest: Digest = format!("sha256:{}", "0123456789abcdef".repeat(4))
            .parse()
            .expect("valid");
        assert_eq!(digest.short(), "sha256:0123456789ab");
    }
}
