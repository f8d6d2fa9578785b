//! Trust: which images need a signature, and whether a signature is good. Pure.
//!
//! A signature is about a digest. It comes as cosign's classic payload, or as a sigstore bundle. For a key, log entries and
//! certificates decide nothing. For an identity they decide everything: `keyless/`, in a build of its own.

mod key;
#[cfg(feature = "keyless")]
mod keyless;
#[cfg(not(feature = "keyless"))]
#[path = "no_keyless.rs"]
mod keyless;

use crate::json::at;
use crate::json::list_at;
use crate::json::read;
use crate::json::text_at;
use crate::reference::Digest;
use crate::reference::Reference;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use key::Key;
use keyless::Keyless;
use serde_json::Value;

/// The type of the payload in a bundle.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// The kind of statement that approves an image.
const APPROVAL: &str = "https://sigstore.dev/cosign/sign/v1";

/// The annotation that holds the signature in cosign's classic layout, in base64.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Whether this build verifies identities.
pub const HAS_KEYLESS: bool = cfg!(feature = "keyless");

/// Whose signatures are needed, and for which images.
#[derive(Debug, Default)]
pub struct Trust {
    keys: Vec<Key>,
    keyless: Option<Keyless>,
    prefixes: Vec<String>,
}

impl Trust {
    /// Trusts nobody yet. `prefixes` are the beginnings of the names that need a signature; none means all names.
    #[must_use]
    pub fn new(prefixes: Vec<String>) -> Self {
        Self {
            prefixes,
            ..Self::default()
        }
    }

    /// Trusts these PEM public keys.
    ///
    /// # Errors
    /// The reason why the keys cannot be used. It does not repeat them.
    #[cold]
    pub fn add_keys(&mut self, keys: &str) -> Result<(), String> {
        self.keys = key::parse(keys)?;
        Ok(())
    }

    /// Trusts these workflows of GitHub Actions. `root` replaces the trusted root that is built in.
    ///
    /// # Errors
    /// What was expected instead. A build without [`HAS_KEYLESS`] trusts no workflow.
    #[cold]
    pub fn add_identities(
        &mut self,
        identities: &[String],
        root: Option<&str>,
    ) -> Result<(), String> {
        self.keyless = Some(Keyless::new(identities, root)?);
        Ok(())
    }

    /// Whether there is anybody who may sign.
    #[must_use]
    pub fn has_signers(&self) -> bool {
        !self.keys.is_empty() || self.keyless.is_some()
    }

    /// Whether an image of this name needs a signature, unless a label says otherwise.
    #[must_use]
    pub fn concerns(&self, reference: &Reference) -> bool {
        if !self.has_signers() || self.prefixes.is_empty() {
            return self.has_signers();
        }
        // A host means the same in any case.
        let name = reference.to_string().to_ascii_lowercase();
        let mut prefixes = self.prefixes.iter();
        prefixes.any(|prefix| name.starts_with(prefix))
    }

    /// Whether a signer signed this payload in cosign's classic layout, and the payload is about `digest`. The
    /// annotations hold the signature. A remark tells why a keyless signature is not good; the first one stays.
    #[must_use]
    #[cold]
    pub fn approves_payload(
        &self,
        digest: &Digest,
        payload: &[u8],
        annotations: &Value,
        remark: &mut String,
    ) -> bool {
        let signature = annotations.get(SIGNATURE).and_then(Value::as_str);
        let is_signed = self.is_signed(payload, signature.unwrap_or_default())
            || (self.keyless.as_ref())
                .is_some_and(|keyless| keyless.signed_payload(payload, annotations, remark));
        is_signed
            && read(payload).is_some_and(|payload| {
                let digest_in = text_at(&payload, "critical.image.docker-manifest-digest");
                let kind = text_at(&payload, "critical.type");
                kind == "cosign container image signature" && digest_in == digest.as_str()
            })
    }

    /// Whether a signer signed the statement in this sigstore bundle, and the statement approves `digest`. Nothing is
    /// returned for a kind of statement that approves no image. A remark is as for a payload.
    #[must_use]
    #[cold]
    pub fn approves_bundle(
        &self,
        digest: &Digest,
        bundle: &[u8],
        remark: &mut String,
    ) -> Option<bool> {
        let by_key = self.has_key_for(digest, bundle);
        match &self.keyless {
            Some(keyless) if by_key != Some(true) => {
                keyless.approves_bundle(digest, bundle, remark).or(by_key)
            }
            _ => by_key,
        }
    }

    /// Whether one of the keys signed the statement. Only cosign's own kind of statement approves an image for a key: a
    /// provenance tells how it was built.
    fn has_key_for(&self, digest: &Digest, bundle: &[u8]) -> Option<bool> {
        let bundle = read(bundle)?;
        let envelope = at(&bundle, "dsseEnvelope");
        let payload = STANDARD.decode(text_at(envelope, "payload")).ok()?;
        let statement = read(&payload)?;
        if text_at(&statement, "predicateType") != APPROVAL {
            return None;
        }
        let [signature] = list_at(envelope, "signatures") else {
            return Some(false);
        };
        // DSSE, "Protocol": the signature covers the type and both lengths too.
        let head = format!("DSSEv1 {} {STATEMENT} {} ", STATEMENT.len(), payload.len());
        let mut message = head.into_bytes();
        message.extend_from_slice(&payload);
        let is_good = text_at(envelope, "payloadType") == STATEMENT
            && self.is_signed(&message, text_at(signature, "sig"))
            && is_about(&statement, digest);
        Some(is_good)
    }

    /// Whether one of the keys signed the message. The signature is in base64.
    fn is_signed(&self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else {
            return false;
        };
        self.keys.iter().any(|key| key.signed(message, &signature))
    }
}

/// Whether an in-toto statement approves the image with this digest.
fn is_about(statement: &Value, digest: &Digest) -> bool {
    let hex = digest.as_str().strip_prefix("sha256:");
    let is_it = |subject: &Value| at(subject, "digest.sha256").as_str() == hex;
    hex.is_some()
        && text_at(statement, "_type") == "https://in-toto.io/Statement/v1"
        && list_at(statement, "subject").iter().any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::ECDSA_P384_SHA384_ASN1_SIGNING;
    use ring::signature::EcdsaKeyPair;
    use ring::signature::KeyPair;

    /// The vectors of several signers, with throw-away keys.
    pub(super) fn vectors() -> Value {
        let text = include_str!("../../tests/support/trust_vectors.json");
        serde_json::from_str(text).expect("JSON")
    }

    fn trust(keys: &str) -> Trust {
        let mut trust = Trust::default();
        trust.add_keys(keys).expect("keys");
        trust
    }

    fn approves_payload(trust: &Trust, digest: &Digest, payload: &[u8], signature: &str) -> bool {
        let annotations = serde_json::json!({ SIGNATURE: signature });
        trust.approves_payload(digest, payload, &annotations, &mut String::new())
    }

    #[test]
    fn each_vector_has_its_answer() {
        let vectors = vectors();
        let mut seen = 0;
        for vector in vectors["vectors"].as_array().expect("vectors") {
            let text = |key: &str| vector[key].as_str().unwrap_or_default();
            let keys = vectors["keys"][text("key")].as_str().expect("a key");
            let digest: Digest = text("digest").parse().expect("a digest");
            let approves = |trust: &Trust| match text("kind") {
                "legacy" => {
                    let payload = text("payload").as_bytes();
                    approves_payload(trust, &digest, payload, text("signature"))
                }
                _ => {
                    let bundle = vector["bundle"].to_string();
                    let found =
                        trust.approves_bundle(&digest, bundle.as_bytes(), &mut String::new());
                    assert_eq!(found.is_none(), text("name").contains("provenance"));
                    found.unwrap_or(false)
                }
            };
            let found = approves(&trust(keys));
            // A key that is there twice is read once, so the last one counts.
            let wanted = vector["want"].as_bool().unwrap_or(true);
            assert_eq!(found, wanted, "{}", text("name"));
            let p521 = vectors["keys"]["p521"].as_str().expect("a key");
            assert!(Trust::default().add_keys(p521).is_err());
            let foreign = vectors["keys"]["other"].as_str().expect("a key");
            let several = trust(&format!("{foreign}{keys}"));
            if wanted {
                assert!(approves(&several), "{}: a second key", text("name"));
                assert!(!approves(&trust(foreign)), "{}: another", text("name"));
            }
            seen += 1;
        }
        assert_eq!(seen, 25);
    }

    #[test]
    fn p384_may_go_with_either_hash() {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P384_SHA384_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a key");
        let head = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
        let der = [&head[..], pair.public_key().as_ref()].concat();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----",
            STANDARD.encode(der)
        );
        let signature = pair.sign(&random, b"x").expect("a signature");
        let trust = trust(&pem);
        assert!(trust.is_signed(b"x", &STANDARD.encode(signature.as_ref())));
        assert!(!trust.is_signed(b"y", &STANDARD.encode(signature.as_ref())));
    }

    #[test]
    fn names_are_compared_from_their_beginning() {
        let keys = vectors()["keys"]["p256"]
            .as_str()
            .expect("a key")
            .to_owned();
        let concerns = |prefixes: &[&str], name: &str| {
            let prefixes = prefixes.iter().map(|one| (*one).to_owned()).collect();
            let mut trust = Trust::new(prefixes);
            trust.add_keys(&keys).expect("keys");
            trust.concerns(&name.parse().expect("valid"))
        };
        for (prefixes, name, expected) in [
            (&[][..], "nginx", true),
            (&["ghcr.io/acme/"], "ghcr.io/acme/app:1", true),
            (&["ghcr.io/acme/"], "GHCR.io/acme/app", true),
            (&["ghcr.io/acme/"], "ghcr.io/acme-other/app", false),
            (&["ghcr.io/acme/app:1"], "ghcr.io/acme/app:1", true),
            (&["ghcr.io/acme/app:1"], "ghcr.io/acme/app:2", false),
            (&["a.b/", "docker.io/library/"], "nginx", true),
            (&["docker.io/acme/"], "acme/app", true),
            (&["docker.io/acme/"], "nginx", false),
        ] {
            assert_eq!(concerns(prefixes, name), expected, "{prefixes:?} {name}");
        }
        assert!(!Trust::default().concerns(&"nginx".parse().expect("valid")));
    }

    #[test]
    fn no_payload_and_no_bundle_panics_or_is_approved() {
        static KNOWN: std::sync::OnceLock<(Trust, Digest)> = std::sync::OnceLock::new();
        const WORDS: &[&str] = &[
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"dsseEnvelope\":",
            "\"payload\":",
            "\"e30=\"",
            "\"payloadType\":\"application/vnd.in-toto+json\"",
            "\"signatures\":",
            "\"sig\":",
            "\"critical\":",
            "\"image\":",
            "\"docker-manifest-digest\":",
            "null",
            "9e999",
            "\"\\ud800\"",
        ];
        crate::fuzz::fuzz("signatures", WORDS, |input| {
            let (trust, digest) = KNOWN.get_or_init(|| {
                let vectors = vectors();
                let digest = vectors["vectors"][0]["digest"].as_str();
                let digest = digest.unwrap_or_default().parse().expect("valid");
                (
                    trust(vectors["keys"]["p256"].as_str().expect("a key")),
                    digest,
                )
            });
            let found = trust.approves_bundle(digest, input, &mut String::new());
            assert_ne!(found, Some(true));
            assert!(!approves_payload(trust, digest, input, "MEUCIQ=="));
            let statement: Value = serde_json::from_slice(input).unwrap_or_default();
            let _ = is_about(&statement, digest);
        });
    }
}
