//! Trust: which images need a signature, and whether a signature is good. Pure.
//!
//! A signature is about a digest. It comes as cosign's classic payload, or as a sigstore bundle. Log entries and
//! certificates decide nothing here: only the configured keys do.

mod key;

use crate::json::at;
use crate::json::list_at;
use crate::json::read;
use crate::json::text_at;
use crate::reference::Digest;
use crate::reference::Reference;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use key::Key;
use serde_json::Value;

/// The type of the payload in a bundle.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// The kind of statement that approves an image.
const APPROVAL: &str = "https://sigstore.dev/cosign/sign/v1";

/// Whose signatures are needed, and for which images.
#[derive(Debug, Default)]
pub struct Trust {
    keys: Vec<Key>,
    prefixes: Vec<String>,
}

impl Trust {
    /// Reads PEM public keys. `prefixes` are the beginnings of the names that need a signature; none means all names.
    ///
    /// # Errors
    /// The reason why the keys cannot be used. It does not repeat them.
    #[cold]
    pub fn new(keys: &str, prefixes: Vec<String>) -> Result<Self, String> {
        let keys = key::parse(keys)?;
        Ok(Self { keys, prefixes })
    }

    /// Whether there is any key.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether an image of this name needs a signature, unless a label says otherwise.
    #[must_use]
    pub fn concerns(&self, reference: &Reference) -> bool {
        if !self.has_keys() || self.prefixes.is_empty() {
            return self.has_keys();
        }
        // A host means the same in any case.
        let name = reference.to_string().to_ascii_lowercase();
        let mut prefixes = self.prefixes.iter();
        prefixes.any(|prefix| name.starts_with(prefix))
    }

    /// Whether one of the keys signed this payload in cosign's classic layout, and the payload is about `digest`.
    #[must_use]
    #[cold]
    pub fn approves_payload(&self, digest: &Digest, payload: &[u8], signature: &str) -> bool {
        self.is_signed(payload, signature)
            && read(payload).is_some_and(|payload| {
                let digest_in = text_at(&payload, "critical.image.docker-manifest-digest");
                let kind = text_at(&payload, "critical.type");
                kind == "cosign container image signature" && digest_in == digest.as_str()
            })
    }

    /// Whether one of the keys signed the statement in this sigstore bundle, and the statement approves `digest`. Only
    /// cosign's own kind of statement approves an image: a provenance tells how it was built. Nothing is returned for
    /// such another kind.
    #[must_use]
    #[cold]
    pub fn approves_bundle(&self, digest: &Digest, bundle: &[u8]) -> Option<bool> {
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
        Trust::new(keys, Vec::new()).expect("keys")
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
                    trust.approves_payload(&digest, text("payload").as_bytes(), text("signature"))
                }
                _ => {
                    let bundle = vector["bundle"].to_string();
                    let found = trust.approves_bundle(&digest, bundle.as_bytes());
                    assert_eq!(found.is_none(), text("name").contains("provenance"));
                    found.unwrap_or(false)
                }
            };
            let found = approves(&trust(keys));
            // A key that is there twice is read once, so the last one counts.
            let wanted = vector["want"].as_bool().unwrap_or(true);
            assert_eq!(found, wanted, "{}", text("name"));
            let p521 = vectors["keys"]["p521"].as_str().expect("a key");
            assert!(Trust::new(p521, Vec::new()).is_err());
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
            let trust = Trust::new(&keys, prefixes).expect("keys");
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
            assert_ne!(trust.approves_bundle(digest, input), Some(true));
            assert!(!trust.approves_payload(digest, input, "MEUCIQ=="));
            let statement: Value = serde_json::from_slice(input).unwrap_or_default();
            let _ = is_about(&statement, digest);
        });
    }
}
