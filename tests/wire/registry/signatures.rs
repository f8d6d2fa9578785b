//! The signatures of an image, in registries of every kind.

use super::config::Files;
use crate::support::server::Answer;
use crate::support::server::Server;
use imagewatch::credentials::Credentials;
use imagewatch::http::Proxies;
use imagewatch::reference::Digest;
use imagewatch::registry::Registry;
use imagewatch::registry::Signature;
use imagewatch::trust::SIGNATURE;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const DIGEST: &str = "sha256:51a5ef117189bf686b374576df7e5a0122f0358d3de67d40c587b99c97458a6e";

/// A file of the registry, with its size.
struct Blob(String, usize);

/// A repository: its files, and the answers to the three questions.
#[derive(Default)]
struct Repository {
    files: Files,
    answers: Vec<(&'static str, Answer)>,
}

impl Repository {
    fn blob(&mut self, text: &str) -> Blob {
        Blob(self.files.add(text), text.len())
    }

    /// Adds a manifest with one layer, and returns its digest.
    fn manifest(&mut self, kind: &str, signature: Option<&str>, blob: &Blob) -> (String, Value) {
        let mut layer = json!({"mediaType": kind, "digest": blob.0, "size": blob.1});
        if let Some(signature) = signature {
            layer["annotations"] = json!({ SIGNATURE: signature });
        }
        let manifest = json!({"schemaVersion": 2, "layers": [layer]});
        (self.files.add(manifest.to_string()), manifest)
    }

    fn says(&mut self, place: &'static str, answer: Answer) {
        self.answers.push((place, answer));
    }

    /// Asks for signatures: `good` is one, `other` signs no image. Returns the answer and the requests.
    fn ask(self) -> (Result<(bool, bool), String>, Vec<String>) {
        let hex = DIGEST.replacen(':', "-", 1);
        let server = Server::tcp(move |seen| {
            if seen.target == "/v2/" {
                return Answer::new(200, &[], "");
            }
            let rest = seen.target.strip_prefix("/v2/acme/app/").expect("a path");
            let place = match rest {
                _ if rest == format!("referrers/{DIGEST}") => "referrers",
                _ if rest == format!("referrers/{DIGEST}?n=1&last=x") => "second",
                _ if rest == format!("manifests/{hex}") => "index",
                _ if rest == format!("manifests/{hex}.sig") => "sig",
                _ => return self.files.answer(rest),
            };
            let mut answers = self.answers.iter();
            let found = answers.find(|(known, _)| *known == place);
            found.map_or(
                Answer::new(404, &[], "404 page not found"),
                |(_, answer)| answer.clone(),
            )
        });
        let registry = Registry::new(Credentials::default(), None, Proxies::default(), Vec::new());
        let reference = format!("{}/acme/app:latest", server.host());
        let digest: Digest = DIGEST.parse().expect("a digest");
        let mut judge = |signature: Signature| match signature {
            Signature::Payload(text, annotations) => {
                Some(text == b"good" && annotations[SIGNATURE] == "c2ln")
            }
            Signature::Bundle(b"other") => None,
            Signature::Bundle(text) => Some(text == b"good"),
        };
        let found = registry.signatures(&reference.parse().expect("valid"), &digest, &mut judge);
        (found.map_err(|error| error.to_string()), server.lines())
    }
}

fn list(entries: &[(&str, &str)]) -> Value {
    let entry = |(digest, kind): &(&str, &str)| json!({"digest": digest, "artifactType": kind});
    json!({"schemaVersion": 2, "manifests": entries.iter().map(entry).collect::<Vec<_>>()})
}

#[test]
fn the_classic_layout_takes_four_requests() {
    let mut repository = Repository::default();
    let blob = repository.blob("good");
    let (_, manifest) = repository.manifest(PAYLOAD, Some("c2ln"), &blob);
    repository.says("sig", Answer::json(200, &manifest));
    let (found, lines) = repository.ask();
    assert_eq!(found, Ok((true, true)));
    let places = [
        "referrers/sha256:",
        "manifests/sha256-",
        ".sig",
        "blobs/sha256:",
    ];
    assert_eq!(lines.len(), places.len(), "{lines:?}");
    for (line, place) in lines.iter().zip(places) {
        assert!(line.starts_with("GET ") && line.contains(place), "{line}");
    }
}

#[test]
fn a_bundle_is_found_by_referrers_or_by_tag_whatever_type_its_list_says() {
    for (place, kind) in [
        ("referrers", BUNDLE),
        ("referrers", "application/vnd.oci.empty.v1+json"),
        ("index", BUNDLE),
        ("index", "application/vnd.oci.empty.v1+json"),
    ] {
        let mut repository = Repository::default();
        let blob = repository.blob("good");
        let (digest, _) = repository.manifest(BUNDLE, None, &blob);
        let index = list(&[("sha256:none", "x"), (&digest, kind)]);
        repository.says(place, Answer::json(200, &index));
        assert_eq!(repository.ask().0, Ok((true, true)), "{place} {kind}");
    }
}

/// A list with a link to another one.
fn page(list: &Value, next: &str) -> Answer {
    let link = format!("<{next}>; rel=\"next\"");
    Answer::new(200, &[("Link", &link)], list.to_string())
}

#[test]
fn a_list_is_read_to_its_last_page() {
    let next = format!("/v2/acme/app/referrers/{DIGEST}?n=1&last=x");
    for (link, expected, requests) in [
        (&*next, Ok((true, true)), 4),
        // Anything else is no page of this list.
        ("https://127.0.0.1:9/v2/x", Ok((false, false)), 3),
        ("", Ok((false, false)), 3),
    ] {
        let mut repository = Repository::default();
        let blob = repository.blob("good");
        let (digest, _) = repository.manifest(BUNDLE, None, &blob);
        repository.says("referrers", page(&list(&[]), link));
        repository.says("second", Answer::json(200, &list(&[(&digest, BUNDLE)])));
        let (found, lines) = repository.ask();
        assert_eq!(found, expected, "{link}");
        assert_eq!(lines.len(), requests, "{lines:?}");
    }
    // Pages that never end are not read for ever, and the next place is still asked.
    let mut repository = Repository::default();
    let blob = repository.blob("good");
    let (_, manifest) = repository.manifest(PAYLOAD, Some("c2ln"), &blob);
    repository.says("sig", Answer::json(200, &manifest));
    for place in ["referrers", "second"] {
        repository.says(place, page(&list(&[]), &next));
    }
    let (found, lines) = repository.ask();
    assert_eq!(found, Ok((true, true)));
    assert_eq!(lines.len(), 8 + 3, "{lines:?}");
    // A page that is known to be there, and does not come, leaves the question open.
    let mut repository = Repository::default();
    repository.says("referrers", page(&list(&[]), &next));
    repository.says("second", Answer::new(403, &[], ""));
    let error = repository.ask().0.expect_err("open");
    assert!(error.contains("403"), "{error}");
}

#[test]
fn every_answer_without_a_signature_goes_on_to_the_next_place() {
    for answer in [
        Answer::new(404, &[], "404 page not found"),
        Answer::json(404, &json!({"errors": [{"code": "MANIFEST_UNKNOWN"}]})),
        Answer::json(200, &json!({"manifests": []})),
        Answer::json(200, &json!({"manifests": null})),
        Answer::json(200, &json!({"manifests": [{"digest": "../../x"}, 7]})),
        Answer::new(200, &[], "<html>"),
        // GHCR sends some clients to its page for people.
        Answer::new(303, &[("Location", "https://127.0.0.1:9/page")], ""),
        Answer::new(307, &[("Location", "/v2/")], ""),
        Answer::new(302, &[], ""),
        Answer::json(200, &json!({"manifests": [{"digest": "sha256:00"}, {}]})),
        Answer::json(200, &json!([])),
        Answer::Close,
        Answer::new(200, &[], vec![b' '; 300 * 1024]),
        Answer::new(400, &[], ""),
        Answer::new(405, &[], ""),
        // These two leave it open whether there is more, but a good signature is one.
        Answer::new(403, &[], ""),
        Answer::new(500, &[], ""),
    ] {
        let mut repository = Repository::default();
        let blob = repository.blob("good");
        let (_, manifest) = repository.manifest(PAYLOAD, Some("c2ln"), &blob);
        repository.says("sig", Answer::json(200, &manifest));
        repository.says("referrers", answer.clone());
        repository.says("index", answer.clone());
        assert_eq!(repository.ask().0, Ok((true, true)), "{answer:.80?}");
    }
}

#[test]
fn what_is_missing_or_bad_is_told_apart() {
    assert_eq!(Repository::default().ask().0, Ok((false, false)));
    for (kind, signature, text, expected) in [
        (PAYLOAD, Some("c2ln"), "bad", true),
        (PAYLOAD, Some("eA=="), "good", true),
        (PAYLOAD, None, "good", false),
        (BUNDLE, None, "bad", true),
        (BUNDLE, None, "other", false),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip",
            None,
            "good",
            false,
        ),
    ] {
        let mut repository = Repository::default();
        let blob = repository.blob(text);
        let (_, manifest) = repository.manifest(kind, signature, &blob);
        repository.says("sig", Answer::json(200, &manifest));
        assert_eq!(repository.ask().0, Ok((false, expected)), "{kind} {text}");
    }
}

#[test]
fn a_registry_that_does_not_say_leaves_the_question_open() {
    for place in ["referrers", "index", "sig"] {
        for status in [401, 403, 429, 500, 503] {
            let mut repository = Repository::default();
            repository.says(place, Answer::new(status, &[], ""));
            let found = repository.ask().0;
            // A list that a registry does not know may be forbidden.
            if place == "referrers" && status < 429 {
                assert_eq!(found, Ok((false, false)), "{status}");
                continue;
            }
            let error = found.expect_err("open");
            assert!(error.contains(&status.to_string()), "{error}");
        }
    }
    let mut repository = Repository::default();
    repository.says("index", Answer::Close);
    assert!(repository.ask().0.is_err());
}

#[test]
fn a_blob_that_is_another_or_too_large_does_not_count() {
    let mut repository = Repository::default();
    let blob = repository.blob("good");
    let large = Blob(blob.0.clone(), 70_000);
    let (_, manifest) = repository.manifest(PAYLOAD, Some("c2ln"), &large);
    repository.says("sig", Answer::json(200, &manifest));
    let (found, lines) = repository.ask();
    assert_eq!(found, Ok((false, true)));
    assert_eq!(lines.len(), 3, "{lines:?}");

    let mut repository = Repository::default();
    let blob = repository.blob("good");
    let swapped = Blob(DIGEST.replace("51a5", "0000"), 4);
    let (_, manifest) = repository.manifest(PAYLOAD, Some("c2ln"), &swapped);
    repository.files.put(&swapped.0, "good");
    repository.says("sig", Answer::json(200, &manifest));
    assert_eq!(repository.ask().0, Ok((false, true)));
    drop(blob);
}

#[test]
fn a_registry_with_thousands_of_signatures_is_not_asked_for_ever() {
    let mut repository = Repository::default();
    let layers: Vec<Value> = (0..200)
        .map(|number| {
            let blob = repository.blob(&format!("bad {number}"));
            json!({"mediaType": BUNDLE, "digest": blob.0, "size": blob.1})
        })
        .collect();
    let digests: Vec<String> = (0..100)
        .map(|number| {
            let manifest = json!({"layers": layers, "annotations": {"n": number}});
            repository.files.add(manifest.to_string())
        })
        .collect();
    let entries: Vec<(&str, &str)> = digests.iter().map(|one| (one.as_str(), BUNDLE)).collect();
    repository.says("referrers", Answer::json(200, &list(&entries)));
    let (found, lines) = repository.ask();
    assert_eq!(found, Ok((false, true)));
    assert!(lines.len() <= 48, "{}", lines.len());
}

#[test]
fn a_refused_question_does_not_spend_the_login() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen_by = Arc::clone(&asked);
    let server = Server::tcp(move |seen| {
        let login = seen.header("authorization").map(str::to_owned);
        seen_by.lock().expect("no panic").push(login.clone());
        match (&login, seen.target.contains("/referrers/")) {
            (None, _) => Answer::new(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], ""),
            (Some(_), true) => Answer::new(403, &[], ""),
            (Some(_), false) => Answer::new(404, &[], ""),
        }
    });
    let folder = crate::support::Folder::new();
    let auths = json!({"auths": {server.host(): {"auth": "bWU6aHVudGVyMg=="}}});
    folder.write("config.json", auths.to_string());
    let file = folder.path().join("config.json");
    let registry = Registry::new(
        Credentials::new(None, vec![file]),
        None,
        Proxies::default(),
        Vec::new(),
    );
    let reference = format!("{}/acme/app:latest", server.host());
    let reference = reference.parse().expect("valid");
    let digest: Digest = DIGEST.parse().expect("a digest");
    for _ in 0..2 {
        let found = registry.signatures(&reference, &digest, &mut |_| Some(true));
        assert_eq!(found.ok(), Some((false, false)));
    }
    let asked = asked.lock().expect("no panic");
    assert_eq!(
        asked.iter().filter(|login| login.is_none()).count(),
        1,
        "{asked:?}"
    );
}
