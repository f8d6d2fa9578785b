//! Which images need a signature, and what is told where one is missing.

use crate::support::Folder;
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::program::run;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;

/// A public key that nobody signs with.
fn key() -> String {
    let vectors: Value =
        serde_json::from_str(include_str!("../../support/trust_vectors.json")).expect("JSON");
    vectors["keys"]["p256"].as_str().expect("a key").to_owned()
}

fn vars<'v>(crowd: &'v Crowd, more: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
    let mut vars = vec![
        ("DOCKER_HOST", crowd.socket()),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_SELECT", "all"),
        ("IMAGEWATCH_SETTLE", "0s"),
    ];
    vars.extend_from_slice(more);
    vars
}

fn names(report: &Value, list: &str) -> Vec<String> {
    let name = |one: &Value| one["name"].as_str().or(one.as_str()).map(str::to_owned);
    let list = report[list].as_array().map_or(&[][..], Vec::as_slice);
    let mut names: Vec<String> = list.iter().filter_map(name).collect();
    names.sort();
    names
}

/// Crowds of two containers each for the references 0 to 2.
fn crowd(labels: &[(usize, &str)]) -> Crowd {
    let crowd = Crowd::new(6, |number| number / 2);
    for (number, value) in labels {
        crowd.label(*number, "imagewatch.verify", value);
    }
    crowd.publish([0, 1, 2]);
    crowd
}

#[test]
fn without_a_signature_only_what_a_label_frees_is_updated() {
    let key = key();
    let crowd = crowd(&[(0, "false"), (1, "no"), (2, "false")]);
    let vars = vars(&crowd, &[("IMAGEWATCH_VERIFY", &key)]);
    // The commands say the same as the server.
    let (code, text, _) = run(&["check", "--json"], &vars);
    let table: Value = serde_json::from_str(&text).expect("JSON");
    let states: Vec<&Value> = (table["references"].as_array().expect("references"))
        .iter()
        .map(|row| &row["state"])
        .collect();
    assert_eq!(states, ["outdated", "unsigned", "unsigned"], "{table}");
    assert_eq!(code, Some(10));
    let (code, text, _) = run(&["refresh", "--dry-run", "--json"], &vars);
    let plan: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(names(&plan, "would_recreate").len(), 2, "{plan}");
    assert_eq!(names(&plan, "failed").len(), 2, "{plan}");
    assert_eq!(code, Some(1), "{plan}");
    let program = Program::start(&vars);
    for _ in 0..2 {
        let (status, report) = program.ask("POST", "/v1/update");
        assert_eq!(status, 200);
        assert_eq!(names(&report, "failed").len(), 2, "{report}");
        assert_eq!(names(&report, "skipped").len(), 2, "{report}");
        let reason = report["skipped"][0]["reason"].as_str().expect("a reason");
        assert!(reason.contains("unsigned"), "{report}");
        assert_eq!(names(&report, "rolled_back").len(), 0);
    }
    assert_eq!(
        crowd.created().len(),
        2,
        "of the reference whose labels agree"
    );
    // One container of the three labelled ones shares its image with one that wants a signature.
    let name = "stack0-app-2";
    let path = format!("/admin/containers/{name}/update");
    let (_, report) = program.ask("POST", &path);
    assert_eq!(names(&report, "recreated").len(), 0, "{report}");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["rejected"], json!([]));
    let (_, _, metrics) = program.ask_text("GET", "/metrics");
    let line = "imagewatch_verifications_total{outcome=\"unsigned\"} ";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(program.ask("GET", "/health").0, 200);
    assert!(crowd.asked().searches >= 3);
}

#[test]
fn a_label_asks_for_a_signature_whatever_the_name_is() {
    let key = key();
    let crowd = crowd(&[(2, "true")]);
    let more = [
        ("IMAGEWATCH_VERIFY", &*key),
        ("IMAGEWATCH_VERIFY_FOR", "ghcr.io/acme/"),
    ];
    let program = Program::start(&vars(&crowd, &more));
    let (_, report) = program.ask("POST", "/v1/update");
    let recreated = [
        "stack0-app-0",
        "stack0-app-1",
        "stack0-app-4",
        "stack0-app-5",
    ];
    assert_eq!(names(&report, "recreated"), recreated, "{report}");
    assert_eq!(names(&report, "failed").len(), 1, "{report}");
}

#[test]
fn a_label_that_asks_for_a_signature_without_a_key_leaves_its_container_alone() {
    let crowd = crowd(&[(2, "true"), (4, "maybe")]);
    let program = Program::start(&vars(&crowd, &[]));
    let (_, report) = program.ask("POST", "/v1/update");
    let recreated = [
        "stack0-app-0",
        "stack0-app-1",
        "stack0-app-3",
        "stack0-app-5",
    ];
    assert_eq!(names(&report, "recreated"), recreated, "{report}");
    let (_, status) = program.ask("GET", "/admin/status");
    let one = |name: &str| {
        let mut all = status["containers"].as_array().expect("containers").iter();
        all.find(|one| one["name"] == name)
            .expect("it is there")
            .to_string()
    };
    assert!(
        one("stack0-app-2").contains("needs IMAGEWATCH_VERIFY"),
        "{status}"
    );
    assert!(
        one("stack0-app-4").contains("imagewatch.verify"),
        "{status}"
    );
    assert_eq!(crowd.asked().searches, 0);
}

#[test]
fn a_missing_signature_is_told_once_after_a_quarter_of_an_hour() {
    let (key, crowd, state) = (key(), Crowd::new(1, |_| 0), Folder::new());
    let receiver = Server::tcp(|_| Answer::new(200, &[], ""));
    let url = format!("http://{}/", receiver.host());
    let more = [
        ("IMAGEWATCH_VERIFY", key.as_str()),
        ("IMAGE_AUTO_REFRESH", "true"),
        ("IMAGEWATCH_INTERVAL", "1s"),
        ("IMAGEWATCH_NOTIFY", &url),
        ("IMAGEWATCH_STATE", state.path().to_str().expect("UTF-8")),
    ];
    let vars = vars(&crowd, &more);
    let mut program = Program::start(&vars);
    program.await_line("none is behind");
    crowd.publish([0]);
    program.await_line("not pulled yet");
    let searches = crowd.asked().searches;
    eventually("more rounds", || {
        (crowd.asked().searches >= searches + 9).then_some(())
    });
    assert_eq!(receiver.lines().len(), 0, "told at once");
    program.signal("TERM");
    program.await_exit();
    // Sixteen minutes later.
    let file = state.path().join("imagewatch.json");
    let text = std::fs::read_to_string(&file).expect("the state");
    let mut found: Value = serde_json::from_str(&text).expect("JSON");
    assert!(found["seen"][0]["since"].is_string(), "{found}");
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(16 * 60);
    found["seen"][0]["since"] = json!(imagewatch::time::rfc3339(before));
    std::fs::write(&file, found.to_string()).expect("written");
    let mut program = Program::start(&vars);
    eventually("the message", || {
        (!receiver.lines().is_empty()).then_some(())
    });
    let body = receiver.seen()[0].body.clone();
    let message = String::from_utf8_lossy(&body).into_owned();
    assert!(message.contains("is unsigned"), "{message}");
    let searches = crowd.asked().searches;
    eventually("more rounds", || {
        (crowd.asked().searches >= searches + 9).then_some(())
    });
    program.kill();
    // Nor does another process tell it again.
    let program = Program::start(&vars);
    let searches = crowd.asked().searches;
    eventually("more rounds", || {
        (crowd.asked().searches >= searches + 6).then_some(())
    });
    assert_eq!(receiver.lines().len(), 1, "{:?}", receiver.lines());
    assert_eq!(crowd.created().len(), 0);
    drop(program);
}

#[cfg(not(feature = "keyless"))]
#[test]
fn an_identity_is_refused_at_the_start_and_the_other_build_named() {
    let crowd = crowd(&[]);
    let name = "https://github.com/acme/app/.github/workflows/publish.yml@refs/heads/main";
    let key = key();
    for more in [&[][..], &[("IMAGEWATCH_VERIFY", &*key)]] {
        let mut vars = vars(&crowd, more);
        vars.push(("IMAGEWATCH_VERIFY_IDENTITY", name));
        for command in [&["serve"][..], &["check"], &["refresh"]] {
            let (code, _, error) = run(command, &vars);
            assert_eq!(code, Some(2), "{error}");
            assert!(
                error.contains("only imagewatch:keyless checks identities"),
                "{error}"
            );
        }
    }
    assert_eq!(crowd.asked().heads, 0);
}

#[cfg(feature = "keyless")]
mod keyless {
    use super::*;
    use crate::support::fulcio::APPROVAL;
    use crate::support::fulcio::Fulcio;
    use crate::support::fulcio::PROVENANCE;
    use crate::support::fulcio::Signing;
    use crate::support::fulcio::WORKFLOW;
    use crate::support::images::sha256;

    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

    /// Puts a manifest with one signature at this path, or under its digest into the list of referrers.
    fn put(crowd: &Crowd, reference: usize, kind: &str, blob: &str, annotations: &Value) {
        let digest = sha256(blob.as_bytes());
        crowd.put(reference, &format!("blobs/{digest}"), blob);
        let layer = json!({"mediaType": kind, "digest": digest, "size": blob.len(), "annotations": annotations});
        let manifest = json!({"schemaVersion": 2, "layers": [layer]}).to_string();
        let image = crowd.published(reference);
        if kind == PAYLOAD {
            let tag = image.replacen(':', "-", 1);
            return crowd.put(reference, &format!("manifests/{tag}.sig"), manifest);
        }
        let digest = sha256(manifest.as_bytes());
        crowd.put(reference, &format!("manifests/{digest}"), manifest);
        let list =
            json!({"schemaVersion": 2, "manifests": [{"digest": digest, "artifactType": kind}]});
        crowd.put(reference, &format!("referrers/{image}"), list.to_string());
    }

    #[test]
    fn only_what_the_workflow_signed_is_updated_and_the_reason_names_the_signer() {
        let (fulcio, folder) = (Fulcio::new(), Folder::new());
        let crowd = Crowd::new(6, |number| number);
        crowd.publish(0..6);
        let root = folder.write("trusted_root.json", fulcio.trusted_root().to_string());
        let (ours, other) = (
            Signing::default(),
            Signing {
                name: "https://github.com/acme/app/.github/workflows/test.yml@refs/heads/main",
                ..Signing::default()
            },
        );
        let bundle = |reference, signing, kind| {
            let bundle = fulcio.bundle(signing, kind, &crowd.published(reference));
            put(&crowd, reference, BUNDLE, &bundle.to_string(), &json!({}));
        };
        bundle(0, &ours, APPROVAL);
        bundle(1, &ours, PROVENANCE);
        bundle(2, &other, PROVENANCE);
        bundle(3, &ours, "https://cyclonedx.org/bom");
        let (payload, annotations) = fulcio.classic(&ours, &crowd.published(4));
        put(&crowd, 4, PAYLOAD, &payload, &annotations);
        let stranger = Fulcio::new().bundle(&ours, APPROVAL, &crowd.published(5));
        put(&crowd, 5, BUNDLE, &stranger.to_string(), &json!({}));
        let more = [
            ("IMAGEWATCH_VERIFY_IDENTITY", WORKFLOW),
            ("IMAGEWATCH_TRUSTED_ROOT", &root),
        ];
        let program = Program::start(&vars(&crowd, &more));
        let (_, report) = program.ask("POST", "/v1/update");
        let recreated = ["stack0-app-0", "stack0-app-1", "stack0-app-4"];
        assert_eq!(names(&report, "recreated"), recreated, "{report}");
        assert_eq!(names(&report, "failed").len(), 3, "{report}");
        let reasons = report["skipped"].to_string();
        for words in [
            &format!("a keyless signature is by {}", other.name)[..],
            "unsigned: no signature was found",
            "a keyless signature has a log entry that the trusted root does not know",
            "or an identity of IMAGEWATCH_VERIFY_IDENTITY",
        ] {
            assert!(reasons.contains(words), "{words}: {reasons}");
        }
        let (_, _, metrics) = program.ask_text("GET", "/metrics");
        for line in ["verified\"} 3", "unsigned\"} 1", "badly_signed\"} 2"] {
            let line = format!("imagewatch_verifications_total{{outcome=\"{line}");
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
    }
}
