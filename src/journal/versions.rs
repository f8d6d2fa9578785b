//! The versions of a reference: of the image that runs, and of the registry's image.

use super::watched::Watched;
use crate::provenance::Provenance;
use crate::reference::Digest;
use crate::reference::Reference;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;

/// The facts that two images of one reference tell about themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// The image that runs. Of several images, one that is behind. Without a container, the image that is here.
    pub running: Provenance,
    /// The registry's image.
    pub registry: Provenance,
    /// The digest of the registry's image, if that image is known.
    pub digest: Option<String>,
}

impl Versions {
    /// Joins what is known. `digest` is that of the registry's image.
    #[must_use]
    pub fn new(running: Provenance, digest: &Digest, registry: Option<Provenance>) -> Self {
        Self {
            running,
            digest: registry.is_some().then(|| digest.to_string()),
            registry: registry.unwrap_or_default(),
        }
    }

    /// Whether the images tell nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts().all(|(_, fact)| fact.is_none())
    }

    /// Forgets the registry's image, unless it has this digest.
    pub(super) fn keep_only(&mut self, digest: Option<&str>) {
        if self.digest.as_deref() != digest {
            (self.registry, self.digest) = (Provenance::default(), None);
        }
    }

    /// The version, or both with an arrow between them; `None` if no version is known.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let [running, registry] = [&self.running.version, &self.registry.version];
        match (running, registry) {
            (Some(running), Some(registry)) if running != registry => {
                Some(format!("{running} → {registry}"))
            }
            _ => running.clone().or_else(|| registry.clone()),
        }
    }

    /// The facts under the names of the API. Source and revision are those of the registry's image, if it tells any.
    fn facts(&self) -> impl Iterator<Item = (&'static str, Option<&String>)> {
        let Self {
            running, registry, ..
        } = self;
        let tells = |one: &Provenance| one.source.is_some() || one.revision.is_some();
        let newest = if tells(registry) { registry } else { running };
        [
            ("running", running.version.as_ref()),
            ("registry", registry.version.as_ref()),
            ("source", newest.source.as_ref()),
            ("revision", newest.revision.as_ref()),
        ]
        .into_iter()
    }
}

impl Watched {
    /// The reference and the registry's digest, if the reference is behind and that image is not known.
    #[must_use]
    pub fn lacks_version(&self) -> Option<(Reference, Digest)> {
        let digest = self.registry_digest.as_ref()?;
        if !self.state.is_behind() || self.versions.digest.is_some() {
            return None;
        }
        Some((self.reference.parse().ok()?, digest.parse().ok()?))
    }
}

impl Serialize for Versions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, fact) in self.facts() {
            if let Some(fact) = fact {
                map.serialize_entry(key, fact)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_facts_are_shown() {
        let text = |text: &str| Some(text.to_owned());
        let of = |version: &str, source: &str| Provenance {
            version: text(version).filter(|text| !text.is_empty()),
            source: text(source).filter(|text| !text.is_empty()),
            revision: None,
        };
        for (running, registry, shown, json) in [
            (of("", ""), of("", ""), None, "{}"),
            (
                of("1", ""),
                of("2", "http://b"),
                text("1 → 2"),
                r#"{"running":"1","registry":"2","source":"http://b"}"#,
            ),
            (
                of("1", "http://a"),
                of("1", ""),
                text("1"),
                r#"{"running":"1","registry":"1","source":"http://a"}"#,
            ),
            (of("1", ""), of("", ""), text("1"), r#"{"running":"1"}"#),
            (of("", ""), of("2", ""), text("2"), r#"{"registry":"2"}"#),
        ] {
            let mut versions = Versions {
                running,
                registry,
                digest: text("a"),
            };
            assert_eq!(versions.text(), shown);
            assert_eq!(serde_json::to_string(&versions).expect("JSON"), json);
            assert_eq!(versions.is_empty(), json == "{}");
            versions.keep_only(Some("a"));
            assert_eq!(versions.text(), shown);
            versions.keep_only(Some("b"));
            assert_eq!(versions.registry, Provenance::default());
        }
    }
}
