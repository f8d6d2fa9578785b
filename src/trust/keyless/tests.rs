use super::*;

#[path = "../../../tests/support/fulcio.rs"]
mod fulcio;

use fulcio::Fulcio;
use fulcio::Signing;
use fulcio::WORKFLOW;
use std::path::PathBuf;
use std::time::Duration;

const DIGEST: &str = "sha256:51a5ef117189bf686b374576df7e5a0122f0358d3de67d40c587b99c97458a6e";
const OTHER: &str = "sha256:00a5ef117189bf686b374576df7e5a0122f0358d3de67d40c587b99c97458a6e";

fn keyless(identity: &str, root: Option<&Value>) -> Keyless {
    let root = root.map(Value::to_string);
    Keyless::new(&[identity.to_owned()], root.as_deref()).expect("usable")
}

fn digest(text: &str) -> Digest {
    text.parse().expect("a digest")
}

/// The answer of the workflow's verifier about a bundle, and the remark.
fn judge(root: &Value, bundle: &str) -> (Option<bool>, String) {
    let mut remark = String::new();
    let keyless = keyless(WORKFLOW, Some(root));
    let found = keyless.approves_bundle(&digest(DIGEST), bundle.as_bytes(), &mut remark);
    (found, remark)
}

#[test]
fn a_signature_and_a_provenance_of_the_workflow_are_good() {
    let fulcio = Fulcio::new();
    let root = fulcio.trusted_root();
    for kind in [fulcio::APPROVAL, fulcio::PROVENANCE] {
        let bundle = fulcio.bundle(&Signing::default(), kind, DIGEST);
        let (found, remark) = judge(&root, &bundle.to_string());
        assert_eq!((found, &*remark), (Some(true), ""), "{kind}");
        for beginning in [
            "https://github.com/acme/",
            "https://github.com/acme/app/",
            &WORKFLOW[..58],
        ] {
            let keyless = keyless(beginning, Some(&root));
            let bundle = bundle.to_string();
            let found =
                keyless.approves_bundle(&digest(DIGEST), bundle.as_bytes(), &mut String::new());
            assert_eq!(found, Some(true), "{beginning}");
        }
    }
    // A list of components says nothing of who approves.
    let bundle = fulcio.bundle(&Signing::default(), "https://cyclonedx.org/bom", DIGEST);
    assert_eq!(judge(&root, &bundle.to_string()), (None, String::new()));
    for text in ["", "{", "[]", "{}", "null", "\u{feff}{}"] {
        assert_eq!(judge(&root, text), (None, String::new()));
    }
}

#[test]
fn another_signer_is_named() {
    let fulcio = Fulcio::new();
    let root = fulcio.trusted_root();
    let mine = Signing::default;
    for (signing, words) in [
        (
            Signing {
                name: "https://github.com/acme/app/.github/workflows/publish.yml@refs/heads/main2",
                ..mine()
            },
            "a keyless signature is by https://github.com/acme/app/.github/workflows/publish.yml@refs/heads/main2",
        ),
        (
            Signing {
                name: "https://github.com/acme-evil/app/.github/workflows/publish.yml@refs/heads/main",
                repository: "https://github.com/acme-evil/app",
                ..mine()
            },
            "a keyless signature is by https://github.com/acme-evil/app/.github/workflows/publish.yml@refs/heads/main",
        ),
        // Anybody may call a reusable workflow.
        (
            Signing {
                repository: "https://github.com/mallory/app",
                ..mine()
            },
            "a keyless signature is by https://github.com/acme/app/.github/workflows/publish.yml@refs/heads/main in a run of \
             https://github.com/mallory/app",
        ),
        (
            Signing {
                repository: "https://github.com/acme",
                ..mine()
            },
            "a keyless signature is by https://github.com/acme/app/.github/workflows/publish.yml@refs/heads/main in a run of \
             https://github.com/acme",
        ),
        (
            Signing {
                issuer: "https://accounts.example",
                ..mine()
            },
            "a keyless signature is by somebody whom https://accounts.example vouches for",
        ),
    ] {
        let bundle = fulcio.bundle(&signing, fulcio::APPROVAL, DIGEST);
        let (found, remark) = judge(&root, &bundle.to_string());
        assert_eq!((found, &*remark), (Some(false), words));
        let (payload, annotations) = fulcio.classic(&signing, DIGEST);
        let mut remark = String::new();
        let keyless = keyless(WORKFLOW, Some(&root));
        assert!(!keyless.signed_payload(payload.as_bytes(), &annotations, &mut remark));
        assert_eq!(remark, words);
    }
}

const UNKNOWN: &str = " that the trusted root does not know: it is newer than this build, of another instance, or forged (use a newer \
                       imagewatch:keyless, or set IMAGEWATCH_TRUSTED_ROOT)";

#[test]
fn a_part_that_the_root_does_not_know_is_named() {
    let (fulcio, stranger) = (Fulcio::new(), Fulcio::new());
    let root = fulcio.trusted_root();
    let bundle = fulcio.bundle(&Signing::default(), fulcio::APPROVAL, DIGEST);
    for (part, key) in [
        ("log entry", "tlogs"),
        ("certificate", "certificateAuthorities"),
        ("certificate", "ctlogs"),
    ] {
        let mut other = root.clone();
        other[key] = stranger.trusted_root()[key].clone();
        let (found, remark) = judge(&other, &bundle.to_string());
        assert_eq!(found, Some(false), "{key}");
        assert_eq!(remark, format!("a keyless signature has a {part}{UNKNOWN}"));
    }
    let unseen = Signing {
        is_seen: false,
        ..Signing::default()
    };
    let bundle = fulcio.bundle(&unseen, fulcio::APPROVAL, DIGEST);
    let (found, remark) = judge(&root, &bundle.to_string());
    assert!(
        found == Some(false) && remark.contains("has a certificate"),
        "{remark}"
    );
    // A root without a log of certificates, as that of GitHub's own instance, asks for none.
    let mut without = root.clone();
    without["ctlogs"] = json!([]);
    assert_eq!(judge(&without, &bundle.to_string()).0, Some(true));
    // One of two roots is enough, in any order.
    let bundle = fulcio
        .bundle(&Signing::default(), fulcio::APPROVAL, DIGEST)
        .to_string();
    for roots in [[&fulcio, &stranger], [&stranger, &fulcio]] {
        let roots = roots.map(|one| one.trusted_root().to_string()).join("\n");
        let identities = [WORKFLOW.to_owned()];
        let keyless = Keyless::new(&identities, Some(&roots)).expect("usable");
        let found = keyless.approves_bundle(&digest(DIGEST), bundle.as_bytes(), &mut String::new());
        assert_eq!(found, Some(true));
    }
    // The built-in one knows none of them.
    let mut remark = String::new();
    let found =
        keyless(WORKFLOW, None).approves_bundle(&digest(DIGEST), bundle.as_bytes(), &mut remark);
    assert_eq!(found, Some(false));
    assert_eq!(
        remark,
        format!("a keyless signature has a log entry{UNKNOWN}")
    );
}

/// Changes one place of a bundle.
fn changed(bundle: &Value, place: &str, with: impl Fn(&mut Value)) -> String {
    let mut bundle = bundle.clone();
    with(bundle.pointer_mut(place).expect(place));
    bundle.to_string()
}

/// Changes one character of a base64 text.
fn flip(value: &mut Value) {
    let mut bytes = STANDARD
        .decode(value.as_str().expect("a text"))
        .expect("base64");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *value = json!(STANDARD.encode(bytes));
}

#[test]
fn a_bundle_that_was_changed_anywhere_is_bad() {
    let fulcio = Fulcio::new();
    let root = fulcio.trusted_root();
    let bundle = fulcio.bundle(&Signing::default(), fulcio::APPROVAL, DIGEST);
    let second = fulcio.bundle(&Signing::default(), fulcio::APPROVAL, DIGEST);
    let entry = "/verificationMaterial/tlogEntries/0";
    let at = |path: &str| format!("{entry}/{path}");
    let other = fulcio.bundle(&Signing::default(), fulcio::APPROVAL, OTHER);
    let old = Signing {
        made: Duration::from_secs(3600),
        ..Signing::default()
    };
    let future = Signing {
        made: Duration::from_secs(60),
        ..Signing::default()
    };
    for (what, text) in [
        ("another digest", other.to_string()),
        (
            "a certificate that had ended",
            fulcio.bundle(&old, fulcio::APPROVAL, DIGEST).to_string(),
        ),
        (
            "a certificate that had not begun",
            fulcio.bundle(&future, fulcio::APPROVAL, DIGEST).to_string(),
        ),
        (
            "payload",
            changed(&bundle, "/dsseEnvelope/payload", |place| {
                *place = second["dsseEnvelope"]["payload"].clone()
            }),
        ),
        (
            "signature",
            changed(&bundle, "/dsseEnvelope/signatures/0/sig", flip),
        ),
        (
            "another's signature",
            changed(&bundle, "/dsseEnvelope/signatures", |place| {
                *place = second["dsseEnvelope"]["signatures"].clone()
            }),
        ),
        (
            "two signatures",
            changed(&bundle, "/dsseEnvelope/signatures", |place| {
                let first = place[0].clone();
                place.as_array_mut().expect("a list").push(first);
            }),
        ),
        (
            "no signature",
            changed(&bundle, "/dsseEnvelope/signatures", |place| {
                *place = json!([])
            }),
        ),
        (
            "type",
            changed(&bundle, "/dsseEnvelope/payloadType", |place| {
                *place = json!("text/plain")
            }),
        ),
        (
            "certificate",
            changed(&bundle, "/verificationMaterial/certificate/rawBytes", flip),
        ),
        (
            "another's certificate",
            changed(&bundle, "/verificationMaterial/certificate", |place| {
                *place = second["verificationMaterial"]["certificate"].clone()
            }),
        ),
        (
            "a key instead",
            changed(&bundle, "/verificationMaterial", |place| {
                place
                    .as_object_mut()
                    .expect("an object")
                    .remove("certificate");
                place["publicKey"] = json!({"hint": ""});
            }),
        ),
        (
            "no log entry",
            changed(&bundle, "/verificationMaterial/tlogEntries", |place| {
                *place = json!([])
            }),
        ),
        (
            "another's log entry",
            changed(&bundle, entry, |place| {
                *place = second["verificationMaterial"]["tlogEntries"][0].clone()
            }),
        ),
        (
            "a log entry too many",
            changed(&bundle, "/verificationMaterial/tlogEntries", |place| {
                place
                    .as_array_mut()
                    .expect("a list")
                    .push(second["verificationMaterial"]["tlogEntries"][0].clone());
            }),
        ),
        (
            "time",
            changed(&bundle, &at("integratedTime"), |place| {
                *place = json!("1700000000")
            }),
        ),
        (
            "index",
            changed(&bundle, &at("logIndex"), |place| *place = json!("1")),
        ),
        (
            "promise",
            changed(&bundle, &at("inclusionPromise/signedEntryTimestamp"), flip),
        ),
        (
            "no promise",
            changed(&bundle, entry, |place| {
                place
                    .as_object_mut()
                    .expect("an object")
                    .remove("inclusionPromise");
            }),
        ),
        (
            "no proof",
            changed(&bundle, entry, |place| {
                place
                    .as_object_mut()
                    .expect("an object")
                    .remove("inclusionProof");
            }),
        ),
        (
            "root hash",
            changed(&bundle, &at("inclusionProof/rootHash"), flip),
        ),
        (
            "path",
            changed(&bundle, &at("inclusionProof/hashes/0"), flip),
        ),
        (
            "no path",
            changed(&bundle, &at("inclusionProof/hashes"), |place| {
                *place = json!([])
            }),
        ),
        (
            "checkpoint",
            changed(
                &bundle,
                &at("inclusionProof/checkpoint/envelope"),
                |place| {
                    *place = json!(
                        place
                            .as_str()
                            .expect("a text")
                            .replace("log.example\n2", "log.example\n3")
                    );
                },
            ),
        ),
        ("body", changed(&bundle, &at("canonicalizedBody"), flip)),
        (
            "media type",
            changed(&bundle, "/mediaType", |place| {
                *place = json!("application/vnd.dev.sigstore.bundle.v9+json")
            }),
        ),
    ] {
        let (found, remark) = judge(&root, &text);
        if what == "payload" {
            // Both say the same of the same image, so the bytes are the same.
            assert_eq!(found, Some(true));
            continue;
        }
        assert_ne!(found, Some(true), "{what}");
        let is_told = remark.starts_with("a keyless signature ");
        assert!(
            found.is_none() || is_told || what == "a key instead",
            "{what}: {remark}"
        );
    }
}

#[test]
fn a_signed_list_of_components_does_not_pass_as_an_approval() {
    let fulcio = Fulcio::new();
    let root = fulcio.trusted_root();
    let list = fulcio.bundle(&Signing::default(), "https://cyclonedx.org/bom", DIGEST);
    let fake = fulcio.bundle(&Signing::default(), fulcio::APPROVAL, DIGEST);
    let envelope = |one: &Value| format!("\"dsseEnvelope\":{}", one["dsseEnvelope"]);
    let rest = format!(
        "\"mediaType\":{},\"verificationMaterial\":{}",
        list["mediaType"], list["verificationMaterial"]
    );
    for envelopes in [[&list, &fake], [&fake, &list]] {
        let envelopes = envelopes.map(envelope).join(",");
        for text in [
            format!("{{{rest},{envelopes}}}"),
            format!("{{{envelopes},{rest}}}"),
        ] {
            assert_ne!(judge(&root, &text).0, Some(true), "{text}");
        }
    }
    let payload = |one: &Value| format!("\"payload\":{}", one["dsseEnvelope"]["payload"]);
    let text = list.to_string();
    let text = text.replace(&payload(&list), &[payload(&list), payload(&fake)].join(","));
    assert_ne!(judge(&root, &text).0, Some(true), "{text}");
}

#[test]
fn the_classic_layout_is_verified_as_strictly() {
    let fulcio = Fulcio::new();
    let keyless = keyless(WORKFLOW, Some(&fulcio.trusted_root()));
    let (payload, annotations) = fulcio.classic(&Signing::default(), DIGEST);
    let judge = |payload: &str, annotations: &Value| {
        let mut remark = String::new();
        let found = keyless.signed_payload(payload.as_bytes(), annotations, &mut remark);
        assert!(!found || remark.is_empty(), "{remark}");
        found
    };
    assert!(judge(&payload, &annotations));
    assert!(!judge(&format!("{payload} "), &annotations));
    let (_, second) = fulcio.classic(&Signing::default(), OTHER);
    let stranger = Fulcio::new();
    let (_, foreign) = stranger.classic(&Signing::default(), DIGEST);
    for name in [super::super::SIGNATURE, CERTIFICATE, LOG_ENTRY] {
        for value in [
            &second[name],
            &foreign[name],
            &json!(""),
            &json!("{}"),
            &json!(7),
            &Value::Null,
        ] {
            let mut changed = annotations.clone();
            changed[name] = value.clone();
            assert!(!judge(&payload, &changed), "{name}: {value}");
        }
    }
    let mut changed = annotations.clone();
    let entry = annotations[LOG_ENTRY].as_str().expect("a text");
    let mut entry: Value = serde_json::from_str(entry).expect("JSON");
    for (place, value) in [
        ("integratedTime", json!(1_700_000_000)),
        ("logIndex", json!(1)),
        ("logID", json!("00")),
        ("logID", json!("é")),
        ("body", json!("e30=")),
    ] {
        let before = std::mem::replace(&mut entry["Payload"][place], value);
        changed[LOG_ENTRY] = json!(entry.to_string());
        assert!(!judge(&payload, &changed), "{place}");
        entry["Payload"][place] = before;
    }
    // The chain beside the certificate decides nothing.
    changed = annotations.clone();
    changed["dev.sigstore.cosign/chain"] = json!("x");
    assert!(judge(&payload, &changed));
    // The whole way: only a payload about the image approves it.
    let mut trust = super::super::Trust::default();
    let root = fulcio.trusted_root().to_string();
    trust
        .add_identities(&[WORKFLOW.to_owned()], Some(&root))
        .expect("usable");
    for (about, expected) in [(DIGEST, true), (OTHER, false)] {
        let payload = payload.as_bytes();
        let found =
            trust.approves_payload(&digest(about), payload, &annotations, &mut String::new());
        assert_eq!(found, expected);
    }
}

/// The folder of real bundles that the verifier's package brings.
fn samples() -> PathBuf {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--format-version",
            "1",
            "--features",
            "keyless",
        ])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = found["packages"].as_array().expect("packages");
    let package = packages.iter().find(|one| one["name"] == "sigstore-verify");
    let manifest = package.expect("it is there")["manifest_path"].as_str();
    let folder = PathBuf::from(manifest.expect("a path"));
    folder.parent().expect("a folder").join("test_data")
}

/// Verifies a real bundle. A flaw is given by its words.
fn verify(keyless: &Keyless, name: &str, hash: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(samples().join(name)).expect(name);
    let bundle = Bundle::from_json(&text).expect("a bundle");
    let hash = Sha256Hash::from_hex(hash).expect("a hash");
    let mut remark = String::new();
    match keyless.is_good(
        keyless.verify(&bundle, &Artifact::from_digest(hash)),
        &mut remark,
    ) {
        true => Ok(()),
        false => Err(remark),
    }
}

#[test]
fn real_bundles_are_verified_against_the_real_roots() {
    const CONDA: &str = "bundles/conda-attestation.sigstore.json";
    const HASH: &str = "54303491a8418fbed24344b513546182c29b43bf282ceb433af65e2299f9271f";
    let name = "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main";
    for identity in [
        name,
        "https://github.com/prefix-dev/",
        &name[..name.len() - 4].replace("heads", "heads/"),
    ] {
        let found = verify(&keyless(identity, None), CONDA, HASH);
        let expected = match identity.contains("heads//") {
            true => Err(format!("a keyless signature is by {name}")),
            false => Ok(()),
        };
        assert_eq!(found, expected, "{identity}");
    }
    let ours = keyless(WORKFLOW, None);
    let signer = |name: &str| Err(format!("a keyless signature is by {name}"));
    assert_eq!(verify(&ours, CONDA, HASH), signer(name));
    let broken = Err("a keyless signature is damaged, or about something else".to_owned());
    assert_eq!(
        verify(&keyless(name, None), CONDA, &HASH.replace("54", "55")),
        broken
    );
    // A person of another instance, with the second version of the log and an RFC 3161 time stamp: with the root of that
    // instance, only the issuer is wrong.
    let person = "bundles/conda-attestation-rekor2.sigstore.json";
    let unknown = |part: &str| Err(format!("a keyless signature has a {part}{UNKNOWN}"));
    assert_eq!(verify(&ours, person, HASH), unknown("log entry"));
    let root = sigstore_verify::trust_root::SIGSTORE_STAGING_TRUSTED_ROOT;
    let root: Value = serde_json::from_str(root).expect("JSON");
    let found = verify(&keyless(WORKFLOW, Some(&root)), person, HASH);
    assert!(
        found
            .clone()
            .is_err_and(|words| words.contains("vouches for")),
        "{found:?}"
    );
    // GitHub's own instance: its root is not built in, and can be given.
    let private = "bundles/github-private-attestation.sigstore.json";
    let hash = "76f1fe8593bf227cca2c089e3c16dc95014a8d3e89c5dd220530469ca043c428";
    let found = verify(&ours, private, hash);
    assert!(
        found
            .clone()
            .is_err_and(|words| words.contains("no log entry")),
        "{found:?}"
    );
    let root = sigstore_verify::trust_root::SIGSTORE_GITHUB_TRUSTED_ROOT;
    let root: Value = serde_json::from_str(root).expect("JSON");
    let found = verify(&keyless(WORKFLOW, Some(&root)), private, hash);
    assert!(
        found
            .clone()
            .is_err_and(|words| words.contains("vouches for")),
        "{found:?}"
    );
}

#[test]
fn the_second_version_of_the_log_is_verified_with_ring() {
    let _ = keyless(WORKFLOW, None);
    let folder = samples().join("upstream/sigstore-python");
    let root = sigstore_verify::trust_root::SIGSTORE_STAGING_TRUSTED_ROOT;
    let roots = read_roots(root).expect("usable");
    let read = |name: &str| std::fs::read(folder.join(name)).expect(name);
    let bundle = |name: &str| Bundle::from_json(&String::from_utf8(read(name)).expect("UTF-8"));
    let anybody = VerificationPolicy::any_identity();
    let dsse = bundle("a.dsse.staging-rekor-v2.txt.sigstore.json").expect("a bundle");
    let hash = "a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf";
    let hash = Sha256Hash::from_hex(hash).expect("a hash");
    roots[0]
        .verifier
        .verify(hash, &dsse, &anybody)
        .expect("good");
    // ring verifies no digest, so the message has to be at hand.
    let text = read("staging-rekor-v2.txt");
    let message = bundle("staging-rekor-v2.txt.sigstore.json").expect("a bundle");
    let verify = || roots[0].verifier.verify(&text, &message, &anybody);
    assert!(verify().is_err());
    provider::with_message(&text, verify).expect("good");
    assert!(provider::with_message(b"another", verify).is_err());
}

#[test]
fn a_root_that_verifies_nothing_is_refused() {
    let fulcio = Fulcio::new();
    let root = fulcio.trusted_root();
    let new = |root: &str| Keyless::new(&[WORKFLOW.to_owned()], Some(root)).map(drop);
    assert_eq!(new(&root.to_string()), Ok(()));
    assert_eq!(new(&format!("{root}\n{root}\n")), Ok(()));
    for key in ["certificateAuthorities", "tlogs"] {
        let mut without = root.clone();
        without[key] = json!([]);
        let words = "a trusted root with certificateAuthorities, and tlogs or timestampAuthorities";
        assert_eq!(new(&without.to_string()), Err(words.to_owned()));
    }
    for bad in [
        root.to_string()
            .replace("\"rawBytes\":\"M", "\"rawBytes\":\"A"),
        format!("{root} x"),
        root.to_string()[..900].to_owned(),
    ] {
        let found = new(&bad);
        assert!(
            found
                .clone()
                .is_err_and(|words| words.starts_with("a trusted root")),
            "{found:?}"
        );
    }
    assert!(Keyless::new(&[], None).is_err());
}

#[test]
fn no_bundle_and_no_annotation_panics_or_is_good() {
    static KNOWN: std::sync::OnceLock<(Keyless, String, Value)> = std::sync::OnceLock::new();
    const WORDS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "null",
        "\"\"",
        "9e999",
        "\"\\ud800\"",
        "\"dsseEnvelope\":",
        "\"payload\":",
        "\"e30=\"",
        "\"signatures\":",
        "\"sig\":",
        "\"verificationMaterial\":",
        "\"certificate\":",
        "\"rawBytes\":",
        "\"x509CertificateChain\":",
        "\"tlogEntries\":",
        "\"inclusionProof\":",
        "\"treeSize\":",
        "\"-1\"",
        "\"checkpoint\":",
        "\"timestampVerificationData\":{\"rfc3161Timestamps\":[{\"signedTimestamp\":\"MIIC\"}]}",
    ];
    crate::fuzz::fuzz("keyless", WORDS, |input| {
        let (keyless, good, annotations) = KNOWN.get_or_init(|| {
            let fulcio = Fulcio::new();
            let good = fulcio.bundle(&Signing::default(), fulcio::APPROVAL, DIGEST);
            let (_, annotations) = fulcio.classic(&Signing::default(), DIGEST);
            let keyless = keyless(WORKFLOW, Some(&fulcio.trusted_root()));
            (keyless, good.to_string(), annotations)
        });
        let mut remark = String::new();
        let digest = digest(DIGEST);
        assert_ne!(
            keyless.approves_bundle(&digest, input, &mut remark),
            Some(true)
        );
        // The good one, with some bytes changed where the input says.
        let mut bytes = good.clone().into_bytes();
        for pair in input.chunks_exact(3).take(4) {
            let place = usize::from(u16::from_be_bytes([pair[0], pair[1]])) % bytes.len();
            bytes[place] = pair[2];
        }
        let found = keyless.approves_bundle(&digest, &bytes, &mut remark);
        if found == Some(true) && bytes != good.as_bytes() {
            // White space, and what nobody reads.
            let read = |text: &[u8]| Bundle::from_json(&String::from_utf8_lossy(text)).ok();
            let index = |bundle: Option<Bundle>| bundle.map(|one| one.content);
            assert_eq!(index(read(&bytes)), index(read(good.as_bytes())));
        }
        let mut changed = annotations.clone();
        for name in [CERTIFICATE, LOG_ENTRY] {
            changed[name] = json!(String::from_utf8_lossy(input));
            assert!(!keyless.signed_payload(input, &changed, &mut remark));
        }
        assert!(remark.len() < 400, "{remark}");
    });
}
