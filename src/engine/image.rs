//! An image as the Engine shows it: a few fields are read by name, and the rest stays JSON.

use super::container::object;
use super::container::text;
use crate::provenance::Provenance;
use crate::reference::Reference;
use serde_json::Map;
use serde_json::Value;

/// The answer of `GET /images/{name}/json`.
#[derive(Debug, Clone)]
pub struct Image {
    json: Value,
}

impl Image {
    /// Takes the answer as it came.
    #[must_use]
    pub fn new(json: Value) -> Self {
        Self { json }
    }

    /// The image without its settings and layers, for lists that are kept.
    #[must_use]
    pub fn outline(&self) -> Self {
        // `collect` would sort first, which is 5 KB of code.
        let (mut json, mut labels) = (Map::new(), Map::new());
        for key in ["Id", "Created", "RepoDigests"] {
            json.insert(key.to_owned(), self.json[key].clone());
        }
        for name in Provenance::labels() {
            if let Some(label) = self.label(name) {
                labels.insert(name.to_owned(), label.into());
            }
        }
        json.insert("Labels".to_owned(), labels.into());
        Self { json: json.into() }
    }

    /// The facts that the image tells about itself.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        Provenance::of(&|name| self.label(name))
    }

    /// A label. A list shows the labels outside of the settings.
    fn label(&self, name: &str) -> Option<&str> {
        let [of_image, of_list] = [&self.json["Config"]["Labels"], &self.json["Labels"]];
        of_image[name].as_str().or_else(|| of_list[name].as_str())
    }

    /// The id: the digest of the image's configuration or, in the containerd store, of its index.
    #[must_use]
    pub fn id(&self) -> &str {
        text(&self.json["Id"])
    }

    /// The settings that the image gives to a container if its owner sets nothing else.
    #[must_use]
    pub fn config(&self) -> &Map<String, Value> {
        object(&self.json["Config"])
    }

    /// The time of the build (RFC 3339).
    #[must_use]
    pub fn created(&self) -> &str {
        text(&self.json["Created"])
    }

    /// The platform, e.g. `linux/arm64/v8`.
    #[must_use]
    pub fn platform(&self) -> String {
        let parts = ["Os", "Architecture", "Variant"].map(|key| text(&self.json[key]));
        parts.join("/").trim_end_matches('/').to_owned()
    }

    /// The platform, if its architecture is known and not the Engine's `arch`.
    #[must_use]
    pub fn foreign_platform(&self, arch: &str) -> Option<String> {
        let own = text(&self.json["Architecture"]);
        (!own.is_empty() && !arch.is_empty() && own != arch).then(|| self.platform())
    }

    /// The tags that name the image. Docker's containerd store and Podman list names such as `NAME@DIGEST` among them.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = self.json["RepoTags"].as_array();
        let names = tags.into_iter().flatten().map(text);
        names.filter(|name| !name.contains('@') && *name != "<none>:<none>")
    }

    /// Whether its settings are known. A list does not show them.
    #[must_use]
    pub fn has_settings(&self) -> bool {
        self.json["Config"].is_object()
    }

    /// Whether any tag names the image.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.tags().next().is_some()
    }

    /// Whether both are the same image for one platform. Their ids may differ: in the containerd store an id is an
    /// index's digest, which moves for other platforms as well.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same = |key| !self.json[key].is_null() && self.json[key] == other.json[key];
        let alike = |key| self.json[key] == other.json[key];
        same("Architecture")
            && same("RootFS")
            && same("Config")
            && ["Os", "Variant", "Created", "Author"]
                .into_iter()
                .all(alike)
    }

    /// The digests of the image in the repository of `reference`. There may be several: of an index and the manifest
    /// in it, or of two indexes with the same manifest.
    pub fn digests_of(&self, reference: &Reference) -> impl Iterator<Item = &str> {
        let own = reference.name();
        self.repo_digests().filter_map(move |entry| {
            let (name, digest) = entry.split_once('@')?;
            // Most Engines write the whole name, and reading it takes longer than all else in a list of thousands.
            let is_own = name == own || name.parse::<Reference>().ok()?.name() == own;
            is_own.then_some(digest)
        })
    }

    /// Whether the image is in containerd's store, where its id is also its digest in a registry.
    pub(super) fn is_in_containerd(&self) -> bool {
        let mut digests = self.repo_digests();
        digests.any(|entry| {
            entry
                .split_once('@')
                .is_some_and(|(_, digest)| digest == self.id())
        })
    }

    /// The digest of the image's manifest, if the Engine shows it (Podman).
    #[must_use]
    pub fn manifest_digest(&self) -> Option<&str> {
        self.json["Digest"].as_str()
    }

    /// All digests of the image, each as `name@digest`.
    fn repo_digests(&self) -> impl Iterator<Item = &str> {
        let list = self.json["RepoDigests"].as_array();
        list.into_iter().flatten().filter_map(Value::as_str)
    }
}
