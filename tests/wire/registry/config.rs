//! The labels of an image that is not here, from registries good and bad.

use crate::support::server::Answer;
use crate::support::server::Server;
use imagewatch::credentials::Credentials;
use imagewatch::http::Proxies;
use imagewatch::provenance::Provenance;
use imagewatch::reference::Digest;
use imagewatch::registry::Registry;
use serde_json::Value;
use serde_json::json;
use std::collections::HashMap;

/// A registry's files, by their digests.
#[derive(Default)]
pub(crate) struct Files(HashMap<String, Vec<u8>>);

impl Files {
    /// Adds a file, and returns its digest.
    pub(crate) fn add(&mut self, contents: impl Into<Vec<u8>>) -> String {
        let contents = contents.into();
        let hash = ring::digest::digest(&ring::digest::SHA256, &contents);
        let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let digest = format!("sha256:{hex}");
        self.0.insert(digest.clone(), contents);
        digest
    }

    /// Puts contents under a digest that is not theirs.
    pub(crate) fn put(&mut self, digest: &str, contents: &str) {
        self.0.insert(digest.to_owned(), contents.into());
    }

    /// Adds an image with these labels, and returns the digest of its manifest.
    pub(crate) fn image(&mut self, labels: &Value) -> String {
        let config = json!({"architecture": "amd64", "config": {"Labels": labels}});
        let config = self.add(config.to_string());
        let manifest = json!({"schemaVersion": 2, "config": {"digest": config}, "layers": []});
        self.add(manifest.to_string())
    }

    /// Adds an index of these manifests, each with its architecture.
    pub(crate) fn index(&mut self, manifests: &[(&str, &str)]) -> String {
        let entry = |(digest, architecture): &(&str, &str)| json!({"digest": digest, "platform": {"os": "linux", "architecture": architecture}});
        let list: Vec<Value> = manifests.iter().map(entry).collect();
        self.add(json!({"schemaVersion": 2, "manifests": list}).to_string())
    }

    /// The answer to a GET of a manifest or a blob.
    pub(crate) fn answer(&self, target: &str) -> Answer {
        let name = target.rsplit('/').next().unwrap_or_default();
        match self.0.get(name) {
            Some(contents) => Answer::new(200, &[], contents.clone()),
            None => Answer::new(404, &[], ""),
        }
    }
}

fn labels(version: &str) -> Value {
    json!({
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.source": "https://github.com/acme/api",
        "org.opencontainers.image.revision": "1b2c3d4",
        "maintainer": "me",
    })
}

fn ask(server: &Server, digest: &str) -> Result<Provenance, String> {
    let registry = Registry::new(Credentials::default(), None, Proxies::default(), Vec::new());
    let reference = format!("{}/acme/api:latest", server.host());
    let digest: Digest = digest.parse().expect("a digest");
    let reference = reference.parse().expect("valid");
    let outcome = registry.provenance(&reference, &digest, "linux/arm64");
    outcome.map_err(|error| error.to_string())
}

#[test]
fn the_labels_of_the_platforms_image_are_read() {
    let mut files = Files::default();
    let [amd64, arm64] = ["1.3.9", "1.4.0"].map(|version| files.image(&labels(version)));
    let index = files.index(&[("unknown", "unknown"), (&amd64, "amd64"), (&arm64, "arm64")]);
    let server = Server::tcp(move |seen| files.answer(&seen.target));
    let found = ask(&server, &index).expect("labels");
    assert_eq!(found.version.as_deref(), Some("1.4.0"));
    assert_eq!(found.source.as_deref(), Some("https://github.com/acme/api"));
    assert_eq!(found.revision.as_deref(), Some("1b2c3d4"));
    let lines = server.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], format!("GET /v2/acme/api/manifests/{index}"));
    assert_eq!(lines[1], format!("GET /v2/acme/api/manifests/{arm64}"));
    assert!(
        lines[2].starts_with("GET /v2/acme/api/blobs/sha256:"),
        "{lines:?}"
    );
    assert_eq!(
        ask(&server, &amd64).expect("labels").version.as_deref(),
        Some("1.3.9")
    );
}

#[test]
fn an_image_without_labels_tells_nothing() {
    for labels in [
        Value::Null,
        json!({}),
        json!({"org.opencontainers.image.version": 7}),
    ] {
        let mut files = Files::default();
        let digest = files.image(&labels);
        let server = Server::tcp(move |seen| files.answer(&seen.target));
        assert_eq!(ask(&server, &digest), Ok(Provenance::default()));
    }
}

#[test]
fn a_storage_elsewhere_gets_no_token() {
    let mut files = Files::default();
    let digest = files.image(&labels("1.4.0"));
    let of_registry = files.0.clone();
    let storage = Server::tcp(move |seen| {
        assert_eq!(seen.header("authorization"), None);
        files.answer(&seen.target)
    });
    let host = storage.host();
    let registry = Server::tcp(move |seen| {
        let name = seen.target.rsplit('/').next().unwrap_or_default();
        let is_ours = seen.header("authorization") == Some("Bearer good");
        match seen.target.split('/').nth(4) {
            _ if seen.target.starts_with("/token") => Answer::json(200, &json!({"token": "good"})),
            Some("manifests") if is_ours => Answer::new(200, &[], of_registry[name].clone()),
            Some("blobs") if is_ours => {
                let target = format!("http://{host}/bucket/{name}");
                Answer::new(307, &[("Location", &target)], "")
            }
            _ => {
                let realm = format!("http://{}/token", seen.header("host").expect("a host"));
                let value = format!("Bearer realm=\"{realm}\",service=\"s\"");
                Answer::new(401, &[("WWW-Authenticate", &value)], "")
            }
        }
    });
    let found = ask(&registry, &digest).expect("labels");
    assert_eq!(found.version.as_deref(), Some("1.4.0"));
    assert_eq!(storage.lines().len(), 1);
}

#[test]
fn a_registry_cannot_make_it_ask_for_anything_else() {
    for config in ["../../../admin", "sha256:../../x", "", "sha256:1"] {
        let mut files = Files::default();
        let digest = files.add(json!({"config": {"digest": config}}).to_string());
        let server = Server::tcp(move |seen| files.answer(&seen.target));
        let error = ask(&server, &digest).expect_err("refused");
        assert!(error.contains("no digest"), "{error}");
        assert_eq!(server.lines().len(), 1);
    }
}

#[test]
fn files_are_bounded_and_what_their_digests_say() {
    let mut files = Files::default();
    let large = json!({"config": {"Labels": labels("1.4.0")}, "x": "y".repeat(256 * 1024)});
    let large = files.add(large.to_string());
    let other = files.add(json!({"config": {"Labels": labels("6.6.6")}}).to_string());
    let real = files.add(json!({"config": {"Labels": labels("1.4.0")}}).to_string());
    let forged = files.0[&other].clone();
    files.0.insert(real.clone(), forged);
    let html = files.add("<html>");
    let manifest = |config: &str| json!({"config": {"digest": config}}).to_string();
    let missing = format!("sha256:{}", "0".repeat(64));
    let cases = [
        (files.add(manifest(&large)), "longer than"),
        (files.add(manifest(&real)), "not the file with this digest"),
        (
            files.add(manifest(&html)),
            "neither a manifest nor a configuration",
        ),
        (files.add(manifest(&missing)), "404"),
        (files.add("[]"), "no digest"),
        (files.add(""), "neither a manifest nor a configuration"),
        (missing.clone(), "404"),
    ];
    let server = Server::tcp(move |seen| files.answer(&seen.target));
    for (digest, expected) in cases {
        let error = ask(&server, &digest).expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
}
