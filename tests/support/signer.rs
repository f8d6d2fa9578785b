//! Signatures of images, made with a throw-away key and pushed as cosign does.

use super::images::Registry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
use ring::signature::EcdsaKeyPair;
use ring::signature::KeyPair;
use serde_json::Value;
use serde_json::json;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// How a signature is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout {
    Classic,
    Bundle,
}

/// A P-256 key.
pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        Self(EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random).expect("a key"))
    }

    /// The public key.
    pub(crate) fn pem(&self) -> String {
        let head = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
        let der = [&head[..], self.0.public_key().as_ref()].concat();
        let text = STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// A signature over these bytes, in Base64.
    pub(crate) fn signature(&self, message: &[u8]) -> String {
        let signature = self.0.sign(&SystemRandom::new(), message);
        STANDARD.encode(signature.expect("a signature"))
    }

    /// Signs an image of the registry. An earlier signature in the same layout is replaced.
    pub(crate) fn sign(&self, registry: &Registry, repository: &str, digest: &str, layout: Layout) {
        let (text, annotations) = match layout {
            Layout::Classic => {
                let payload = json!({"critical": {"identity": {"docker-reference": repository}, "image":
                    {"docker-manifest-digest": digest}, "type": "cosign container image signature"}, "optional": null});
                let payload = payload.to_string();
                let signature = self.signature(payload.as_bytes());
                let annotations = json!({"dev.cosignproject.cosign/signature": signature});
                (payload, annotations)
            }
            Layout::Bundle => {
                let statement = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType":
                    "https://sigstore.dev/cosign/sign/v1", "predicate": {}, "subject":
                    [{"name": "", "digest": {"sha256": digest.replace("sha256:", "")}}]});
                let payload = statement.to_string();
                let (kind, length) = (STATEMENT.len(), payload.len());
                let message = format!("DSSEv1 {kind} {STATEMENT} {length} {payload}");
                let bundle = json!({"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": ""}},
                    "dsseEnvelope": {"payload": STANDARD.encode(&payload), "payloadType": STATEMENT,
                        "signatures": [{"sig": self.signature(message.as_bytes())}]}});
                (bundle.to_string(), json!({}))
            }
        };
        put(registry, (repository, digest), layout, &text, &annotations);
    }
}

/// Pushes a signature of an image, as cosign does. An earlier one in the same layout is replaced.
pub(crate) fn put(
    registry: &Registry,
    (repository, digest): (&str, &str),
    layout: Layout,
    text: &str,
    annotations: &Value,
) {
    let tag = digest.replacen(':', "-", 1);
    let config = registry.put_blob(repository, b"{}");
    let config =
        json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2});
    let kind = match layout {
        Layout::Classic => "application/vnd.dev.cosign.simplesigning.v1+json",
        Layout::Bundle => BUNDLE,
    };
    let blob = registry.put_blob(repository, text.as_bytes());
    let layer =
        json!({"mediaType": kind, "digest": blob, "size": text.len(), "annotations": annotations});
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let manifest = manifest.to_string();
    match layout {
        Layout::Classic => {
            registry.put_manifest(repository, &format!("{tag}.sig"), MANIFEST, &manifest);
        }
        Layout::Bundle => {
            let own = super::images::sha256(manifest.as_bytes());
            registry.put_manifest(repository, &own, MANIFEST, &manifest);
            let entry = json!({"mediaType": MANIFEST, "digest": own, "size": manifest.len(),
                    "artifactType": "application/vnd.oci.empty.v1+json"});
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
            registry.put_manifest(repository, &tag, INDEX, &index.to_string());
        }
    }
}
