//! A sigstore of one's own, with throw-away keys: a certificate authority, a log of certificates and a log of signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CustomExtension;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::PublicKeyData;
use rcgen::SanType;
use ring::digest::SHA256;
use ring::digest::digest;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
use ring::signature::EcdsaKeyPair;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

pub(crate) const ISSUER: &str = "https://token.actions.githubusercontent.com";
pub(crate) const WORKFLOW: &str =
    "https://github.com/acme/app/.github/workflows/publish.yml@refs/heads/main";
pub(crate) const APPROVAL: &str = "https://sigstore.dev/cosign/sign/v1";
pub(crate) const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Who signs, and what goes wrong meanwhile.
#[derive(Clone)]
pub(crate) struct Signing {
    pub(crate) name: &'static str,
    pub(crate) repository: &'static str,
    pub(crate) issuer: &'static str,
    /// Whether a log of certificates has seen the certificate.
    pub(crate) is_seen: bool,
    /// How long ago the certificate was made. It is good for ten minutes; the log has the signature from five minutes ago.
    pub(crate) made: Duration,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            name: WORKFLOW,
            repository: "https://github.com/acme/app",
            issuer: ISSUER,
            is_seen: true,
            made: Duration::from_secs(6 * 60),
        }
    }
}

/// The certificate authority and the logs.
pub(crate) struct Fulcio {
    authority: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
    certificates: KeyPair,
    signatures: KeyPair,
}

/// A certificate for one signature, with its key.
struct Leaf {
    der: Vec<u8>,
    key: KeyPair,
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sign(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let pkcs8 = key.serialize_der();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random);
    let signature = key.expect("a key").sign(&random, message);
    signature.expect("a signature").as_ref().to_vec()
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len().div_ceil(64))
        .map(|line| &text[line * 64..text.len().min(line * 64 + 64)])
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short").to_be_bytes();
    let head = match length {
        [0, short @ ..0x80] => vec![tag, short],
        [0, byte] => vec![tag, 0x81, byte],
        _ => vec![tag, 0x82, length[0], length[1]],
    };
    [head, content.to_vec()].concat()
}

/// The signed part of a certificate.
fn tbs(certificate: &[u8]) -> &[u8] {
    let content = &certificate[4..];
    let length = 4 + usize::from(u16::from_be_bytes([content[2], content[3]]));
    assert_eq!((certificate[1], content[1]), (0x82, 0x82), "long lengths");
    &content[..length]
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).expect("later").as_secs()
}

impl Fulcio {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            certificate: certificate.der().to_vec(),
            authority: Issuer::new(params, key),
            certificates: KeyPair::generate().expect("a key"),
            signatures: KeyPair::generate().expect("a key"),
        }
    }

    /// What a verifier trusts.
    pub(crate) fn trusted_root(&self) -> Value {
        let valid = json!({"start": "2020-01-01T00:00:00Z"});
        let log = |key: &KeyPair| {
            let spki = key.subject_public_key_info();
            json!({"baseUrl": "https://log.example", "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": STANDARD.encode(&spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": valid},
                "logId": {"keyId": STANDARD.encode(sha256(&spki))}})
        };
        let certificates = json!([{"rawBytes": STANDARD.encode(&self.certificate)}]);
        json!({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.signatures)], "ctlogs": [log(&self.certificates)], "timestampAuthorities": [],
            "certificateAuthorities": [{"subject": {"organization": "x", "commonName": "x"},
                "uri": "https://ca.example", "certChain": {"certificates": certificates}, "validFor": valid}]})
    }

    fn leaf(&self, signing: &Signing) -> Leaf {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        let name = signing.name.try_into().expect("ASCII");
        params.subject_alt_names = vec![SanType::URI(name)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(vec![7; 16].into());
        let made = SystemTime::now() - signing.made;
        params.not_before = made.into();
        params.not_after = (made + Duration::from_secs(600)).into();
        let claim = |number, text: &str| {
            let content = der(0x0c, text.as_bytes());
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, number], content)
        };
        params.custom_extensions = vec![claim(8, signing.issuer), claim(12, signing.repository)];
        let certificate = |params: &CertificateParams| {
            let certificate = params.signed_by(&key, &self.authority);
            certificate.expect("a certificate").der().to_vec()
        };
        let unseen = certificate(&params);
        if !signing.is_seen {
            return Leaf { der: unseen, key };
        }
        let list = self.seen(&unseen, made);
        let oid = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
        let seen = CustomExtension::from_oid_content(&oid, der(4, &list));
        params.custom_extensions.push(seen);
        let der = certificate(&params);
        Leaf { der, key }
    }

    /// The list of timestamps by the log of certificates (RFC 6962, 3.2 and 3.3).
    fn seen(&self, certificate: &[u8], time: SystemTime) -> Vec<u8> {
        let time = (seconds(time) * 1000).to_be_bytes();
        let tbs = tbs(certificate);
        let length = u32::try_from(tbs.len()).expect("short").to_be_bytes();
        let issuer = sha256(&self.authority.key().subject_public_key_info());
        let head = [&[0, 0], &time[..], &[0, 1], &issuer, &length[1..]].concat();
        let signature = sign(&self.certificates, &[&head, tbs, &[0, 0]].concat());
        let log = sha256(&self.certificates.subject_public_key_info());
        let prefixed = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
            [&length[..], bytes].concat()
        };
        let signature = prefixed(&signature);
        let one = [&[0][..], &log, &time, &[0, 0, 4, 3], &signature].concat();
        prefixed(&prefixed(&one))
    }

    /// A log entry as a bundle has it.
    fn entry(&self, body: &Value) -> Value {
        let body = body.to_string();
        let log = sha256(&self.signatures.subject_public_key_info());
        let time = seconds(SystemTime::now()) - 300;
        let promise = self.promise(&body, time, &log);
        // A tree of two entries.
        let leaf = sha256(&[&[0], body.as_bytes()].concat());
        let other = sha256(&[0]);
        let root = sha256(&[&[1], &leaf[..], &other].concat());
        let note = format!("log.example\n2\n{}\n", STANDARD.encode(&root));
        let signature = [&log[..4], &sign(&self.signatures, note.as_bytes())].concat();
        let note = format!("{note}\n— log.example {}\n", STANDARD.encode(signature));
        json!({"logIndex": "0", "logId": {"keyId": STANDARD.encode(&log)}, "integratedTime": time.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": promise},
            "inclusionProof": {"logIndex": "0", "rootHash": STANDARD.encode(&root), "treeSize": "2",
                "hashes": [STANDARD.encode(&other)], "checkpoint": {"envelope": note}},
            "canonicalizedBody": STANDARD.encode(body)})
    }

    /// The log's promise to take an entry (RFC 8785 orders the names).
    fn promise(&self, body: &str, time: u64, log: &[u8]) -> String {
        let body = STANDARD.encode(body);
        let log = hex(log);
        let text =
            format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{log}","logIndex":0}}"#);
        STANDARD.encode(sign(&self.signatures, text.as_bytes()))
    }

    /// A bundle about an image, with a statement of this kind.
    pub(crate) fn bundle(&self, signing: &Signing, kind: &str, digest: &str) -> Value {
        let leaf = self.leaf(signing);
        let hash = digest.replace("sha256:", "");
        let statement = json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": kind, "predicate": {},
            "subject": [{"name": "x", "digest": {"sha256": hash}}]});
        let payload = statement.to_string();
        let head = format!("DSSEv1 {} {STATEMENT} {} ", STATEMENT.len(), payload.len());
        let signature = sign(&leaf.key, format!("{head}{payload}").as_bytes());
        let signature = STANDARD.encode(signature);
        let body = json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": hex(&sha256(b"any"))},
            "payloadHash": {"algorithm": "sha256", "value": hex(&sha256(payload.as_bytes()))},
            "signatures": [{"signature": signature, "verifier": STANDARD.encode(pem(&leaf.der))}]}});
        let mut entry = self.entry(&body);
        entry["kindVersion"] = json!({"kind": "dsse", "version": "0.0.1"});
        json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"certificate": {"rawBytes": STANDARD.encode(&leaf.der)}, "tlogEntries": [entry]},
            "dsseEnvelope": {"payload": STANDARD.encode(&payload), "payloadType": STATEMENT,
                "signatures": [{"sig": signature}]}})
    }

    /// The payload about an image in cosign's classic layout, and its annotations.
    pub(crate) fn classic(&self, signing: &Signing, digest: &str) -> (String, Value) {
        let leaf = self.leaf(signing);
        let payload = json!({"critical": {"identity": {"docker-reference": "x"}, "image":
            {"docker-manifest-digest": digest}, "type": "cosign container image signature"}, "optional": null});
        let payload = payload.to_string();
        let signature = STANDARD.encode(sign(&leaf.key, payload.as_bytes()));
        let body = json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hex(&sha256(payload.as_bytes()))}},
            "signature": {"content": signature, "publicKey": {"content": STANDARD.encode(pem(&leaf.der))}}}});
        let entry = self.entry(&body);
        let log = sha256(&self.signatures.subject_public_key_info());
        let time = entry["integratedTime"]
            .as_str()
            .and_then(|time| time.parse::<u64>().ok());
        let bundle = json!({"SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "Payload": {"body": entry["canonicalizedBody"], "integratedTime": time, "logIndex": 0, "logID": hex(&log)}});
        let annotations = json!({"dev.cosignproject.cosign/signature": signature,
            "dev.sigstore.cosign/certificate": pem(&leaf.der), "dev.sigstore.cosign/chain": pem(&self.certificate),
            "dev.sigstore.cosign/bundle": bundle.to_string()});
        (payload, annotations)
    }
}
