//! The labels of an image that is not here: in its registry, the digest leads to a manifest, and the manifest to a
//! small file with the image's configuration (OCI image spec).

use super::Page;
use super::Registry;
use super::sha256;
use crate::error::Error;
use crate::error::Result;
use crate::provenance::Provenance;
use crate::reference::Digest;
use crate::reference::Reference;
use serde_json::Value;
use std::cmp::Reverse;

/// The largest manifest and the largest configuration that are read. Real ones are below 50 KiB.
const LIMIT: u64 = 256 * 1024;

impl Registry {
    /// The facts that the image with `digest` tells about itself, for this platform. Its layers are not touched.
    ///
    /// # Errors
    /// See [`Registry::digest`].
    pub fn provenance(
        &self,
        reference: &Reference,
        digest: &Digest,
        platform: &str,
    ) -> Result<Provenance> {
        let mut manifest = self.json(reference, "manifests", digest.as_str())?;
        if let Some(one) = of_platform(&manifest["manifests"], platform) {
            manifest = self.json(reference, "manifests", one)?;
        }
        let config = manifest["config"]["digest"].as_str().unwrap_or_default();
        let config = self.json(reference, "blobs", config)?;
        let labels = &config["config"]["Labels"];
        Ok(Provenance::of(&|name| labels[name].as_str()))
    }

    /// A file of the repository that has this digest, as JSON.
    #[cold]
    fn json(&self, reference: &Reference, kind: &str, digest: &str) -> Result<Value> {
        let path = format!("/v2/{}/{kind}/{digest}", reference.repository());
        // The registry wrote the digest, so it may be any text.
        if digest.parse::<Digest>().is_err() {
            return Err(Error::malformed(
                reference.to_string(),
                "no digest of its configuration",
            ));
        }
        let Page { request, body, .. } = self.get(reference, &path, LIMIT)?;
        if digest.starts_with("sha256:") && sha256(&body) != digest {
            return Err(Error::malformed(request, "not the file with this digest"));
        }
        let json = serde_json::from_slice(&body);
        json.map_err(|_| Error::malformed(request, "neither a manifest nor a configuration"))
    }
}

/// The digest of the manifest for `platform` in an index, or else of the first one that can run. Manifests for the
/// platform `unknown` are signatures and the like.
fn of_platform<'m>(manifests: &'m Value, platform: &str) -> Option<&'m str> {
    let manifests = manifests.as_array()?.iter();
    let is = |one: &Value, key: &str, wanted: &str| one["platform"][key] == wanted;
    let rank = |one: &&Value| {
        let pairs = ["os", "architecture", "variant"]
            .into_iter()
            .zip(platform.split('/'));
        let same = pairs
            .take_while(|(key, wanted)| is(one, key, wanted))
            .count();
        (is(one, "os", "unknown"), Reverse(same))
    };
    manifests.min_by_key(rank)?["digest"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_manifest_of_the_platform_is_chosen() {
        let one = |digest: &str, os: &str, architecture: &str, variant: &str| json!({"digest": digest, "platform": {"os": os, "architecture": architecture, "variant": variant}});
        let index = json!([
            one("attestation", "unknown", "unknown", ""),
            one("windows", "windows", "amd64", ""),
            one("amd64", "linux", "amd64", ""),
            one("v6", "linux", "arm", "v6"),
            one("v7", "linux", "arm", "v7"),
            {"digest": "bare"},
        ]);
        for (platform, expected) in [
            ("linux/amd64", "amd64"),
            ("linux/arm", "v6"),
            ("linux/arm/v7", "v7"),
            ("linux/s390x", "amd64"),
            ("plan9/x", "windows"),
            ("", "windows"),
        ] {
            assert_eq!(of_platform(&index, platform), Some(expected), "{platform}");
        }
        assert_eq!(of_platform(&json!([]), "linux/amd64"), None);
        assert_eq!(of_platform(&Value::Null, "linux/amd64"), None);
        assert_eq!(of_platform(&json!([7, {"digest": 8}]), "linux/amd64"), None);
    }
}
