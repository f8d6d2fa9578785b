//! Keyless signatures: by a workflow of GitHub Actions, which a certificate of some minutes names (sigstore's Fulcio), and
//! which a transparency log has seen (Rekor). The crate `sigstore-verify` verifies both, offline, against a trusted root.
//!
//! This room is only in a build with the feature `keyless`.

mod identity;
mod provider;

use super::APPROVAL;
use super::is_about;
use crate::error::cut;
use crate::json::at;
use crate::json::print;
use crate::json::read;
use crate::json::text_at;
use crate::pem::blocks;
use crate::reference::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::Identity;
use serde_json::Value;
use serde_json::json;
use sigstore_verify::CertificateError;
use sigstore_verify::Error;
use sigstore_verify::SubjectAltName;
use sigstore_verify::TransparencyLogError;
use sigstore_verify::VerificationPolicy;
use sigstore_verify::VerificationResult;
use sigstore_verify::Verifier;
use sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::Artifact;
use sigstore_verify::types::Bundle;
use sigstore_verify::types::LogKeyId;
use sigstore_verify::types::Sha256Hash;
use sigstore_verify::types::SignatureContent;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::panic::resume_unwind;

/// The issuer of the tokens of GitHub Actions.
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// The kind of statement that a GitHub attestation makes of an image (`actions/attest-build-provenance`).
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// The annotations of cosign's classic layout, beside the signature.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";

/// The longest foreign text in a remark, in bytes.
const LONGEST: usize = 200;

/// Whose keyless signatures are good.
pub(super) struct Keyless {
    identities: Vec<Identity>,
    roots: Vec<Root>,
}

/// A trusted root, ready to verify.
struct Root {
    verifier: Verifier,
    policy: VerificationPolicy,
    logs: Vec<LogKeyId>,
}

/// Why a signature is not good.
enum Flaw {
    /// The signer is another one.
    Signer(String),
    /// This part is by nobody in the trusted root.
    Unknown(&'static str),
    /// No log has seen it, and the trusted root has one.
    Unlogged,
    /// It is by a key, and so not keyless.
    Keyed,
    /// It is damaged, forged, or about something else.
    Broken,
}

impl std::fmt::Debug for Keyless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.identities.fmt(f)
    }
}

impl Keyless {
    /// Reads identities, and a trusted root in JSON, or several, one a line. The root of sigstore's public instance is
    /// built in.
    ///
    /// # Errors
    /// What was expected instead.
    pub(super) fn new(identities: &[String], root: Option<&str>) -> Result<Self, String> {
        // A second time, it is there already.
        let _ = sigstore_verify::crypto::install_default_provider(&provider::Ring);
        let words = "names of workflows such as https://github.com/acme/app/.github/workflows/publish.yml@refs/heads/main, \
                     or beginnings of them that end with / or @ and have the whole owner";
        let identities: Option<Vec<Identity>> =
            identities.iter().map(|one| Identity::parse(one)).collect();
        let identities = identities.filter(|all| !all.is_empty()).ok_or(words)?;
        let roots = read_roots(root.unwrap_or(SIGSTORE_PRODUCTION_TRUSTED_ROOT))?;
        Ok(Self { identities, roots })
    }

    /// Whether one of the identities signed this payload in cosign's classic layout. A remark tells why not.
    pub(super) fn signed_payload(
        &self,
        payload: &[u8],
        annotations: &Value,
        remark: &mut String,
    ) -> bool {
        let judge = || {
            let bundle = classic(annotations)?;
            let verify = || self.verify(&bundle, &Artifact::from_blob(payload));
            Some(provider::with_message(payload, verify))
        };
        let outcome = guarded(judge).flatten();
        outcome.is_some_and(|outcome| self.is_good(outcome, remark))
    }

    /// Whether one of the identities signed the statement in this bundle, and the statement approves `digest`, or tells
    /// its provenance. Nothing is returned for other statements. A remark tells why it is not good.
    pub(super) fn approves_bundle(
        &self,
        digest: &Digest,
        bundle: &[u8],
        remark: &mut String,
    ) -> Option<bool> {
        let payload = text_at(&read(bundle)?, "dsseEnvelope.payload").to_owned();
        if !is_approval(&read(&STANDARD.decode(payload).ok()?)?) {
            return None;
        }
        let outcome = guarded(|| self.judge(digest, bundle));
        Some(self.is_good(outcome.unwrap_or(Err(Flaw::Broken)), remark))
    }

    /// Verifies a bundle that seems to approve an image. The statement that counts is the one that was verified: two
    /// readers could be shown two of them.
    fn judge(&self, digest: &Digest, bundle: &[u8]) -> Result<(), Flaw> {
        let bundle = std::str::from_utf8(bundle).ok();
        let bundle = bundle.and_then(|text| Bundle::from_json(text).ok());
        let hex = digest.as_str().strip_prefix("sha256:");
        let hash = hex.and_then(|hex| Sha256Hash::from_hex(hex).ok());
        let (Some(bundle), Some(hash)) = (bundle, hash) else {
            return Err(Flaw::Broken);
        };
        if bundle.signing_certificate().is_none() {
            return Err(Flaw::Keyed);
        }
        self.verify(&bundle, &Artifact::from_digest(hash))?;
        let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
            return Err(Flaw::Broken);
        };
        let statement = read(envelope.payload.as_bytes()).unwrap_or_default();
        let fits = is_approval(&statement) && is_about(&statement, digest);
        fits.then_some(()).ok_or(Flaw::Broken)
    }

    /// Verifies a bundle against each root, until one confirms it.
    fn verify(&self, bundle: &Bundle, artifact: &Artifact) -> Result<(), Flaw> {
        let mut flaw = Flaw::Broken;
        for (index, root) in self.roots.iter().enumerate() {
            let artifact = artifact.clone();
            match root.verifier.verify(artifact, bundle, &root.policy) {
                Ok(result) => return self.is_by_us(&result),
                Err(error) if index == 0 || matches!(flaw, Flaw::Unknown(_) | Flaw::Unlogged) => {
                    flaw = root.flaw(bundle, &error);
                }
                Err(_) => {}
            }
        }
        Err(flaw)
    }

    /// Whether one of the identities covers the signer of a verified bundle.
    fn is_by_us(&self, result: &VerificationResult) -> Result<(), Flaw> {
        let claims = result.certificate().map(|one| &one.ci_claims);
        let repository = claims.and_then(|claims| claims.source_repository_uri.as_deref());
        let name = match result.identity() {
            Some(SubjectAltName::Uri(name)) if result.certificate_verified() => name,
            _ => return Err(Flaw::Broken),
        };
        // A stranger's workflow can call a reusable one of ours, and is then named like ours.
        let of = repository.filter(|one| identity::owner(one) == identity::owner(name));
        if of.is_none() {
            let repository = repository.unwrap_or("an unknown repository");
            return Err(Flaw::Signer(format!("{name} in a run of {repository}")));
        }
        let is_ours = self.identities.iter().any(|one| one.covers(name));
        is_ours
            .then_some(())
            .ok_or_else(|| Flaw::Signer(name.clone()))
    }

    /// Whether there is no flaw. The first remark stays.
    fn is_good(&self, outcome: Result<(), Flaw>, remark: &mut String) -> bool {
        let words = match outcome {
            Ok(()) => return true,
            Err(Flaw::Keyed) => return false,
            _ if !remark.is_empty() => return false,
            Err(Flaw::Broken) => {
                "a keyless signature is damaged, or about something else".to_owned()
            }
            Err(Flaw::Signer(mut name)) => {
                name.retain(|character| character.is_ascii_graphic() || character == ' ');
                cut(&mut name, LONGEST);
                format!("a keyless signature is by {name}")
            }
            Err(Flaw::Unlogged) => {
                "a keyless signature has no log entry, as those of GitHub's private repositories (set IMAGEWATCH_TRUSTED_ROOT)"
                    .to_owned()
            }
            Err(Flaw::Unknown(part)) => format!(
                "a keyless signature has a {part} that the trusted root does not know: it is newer than this build, of another \
                 instance, or forged (use a newer imagewatch:keyless, or set IMAGEWATCH_TRUSTED_ROOT)"
            ),
        };
        *remark = words;
        false
    }
}

impl Root {
    fn new(root: &TrustedRoot) -> Result<Self, Error> {
        let mut policy = VerificationPolicy::any_identity().require_issuer(ISSUER);
        // GitHub's own instance, for private repositories, has neither kind of log.
        if root.tlogs.is_empty() {
            policy = policy.skip_tlog_unsafe();
        }
        if root.ctlogs.is_empty() {
            policy = policy.skip_sct();
        }
        let logs = root.tlogs.iter().map(|log| log.log_id.key_id.clone());
        Ok(Self {
            verifier: Verifier::new(root)?,
            policy,
            logs: logs.collect(),
        })
    }

    /// The flaw behind an error, by its kind.
    fn flaw(&self, bundle: &Bundle, error: &Error) -> Flaw {
        let entries = &bundle.verification_material.tlog_entries;
        if entries.is_empty() && !self.logs.is_empty() {
            return Flaw::Unlogged;
        }
        let is_known = |log: &LogKeyId| self.logs.contains(log);
        if entries.iter().any(|entry| !is_known(&entry.log_id.key_id)) {
            return Flaw::Unknown("log entry");
        }
        match error {
            Error::IssuerMismatch { actual, .. } => {
                let issuer = actual.as_deref().unwrap_or("nobody");
                Flaw::Signer(format!("somebody whom {issuer} vouches for"))
            }
            Error::TransparencyLog(TransparencyLogError::UnknownLog { .. }) => {
                Flaw::Unknown("log entry")
            }
            Error::Certificate(
                CertificateError::ChainInvalid(_)
                | CertificateError::NoValidAuthority { .. }
                | CertificateError::Sct(_),
            ) => Flaw::Unknown("certificate"),
            Error::Timestamp(_) => Flaw::Unknown("time stamp"),
            _ => Flaw::Broken,
        }
    }
}

/// Reads one trusted root, or one a line as `gh attestation trusted-root` prints them.
fn read_roots(text: &str) -> Result<Vec<Root>, String> {
    let mut roots = Vec::new();
    let values = serde_json::Deserializer::from_str(text).into_iter::<TrustedRoot>();
    for root in values {
        let root = root.map_err(|error| format!("a trusted root in JSON ({error})"))?;
        let has_authority = !root.certificate_authorities.is_empty();
        let has_time = !root.tlogs.is_empty() || !root.timestamp_authorities.is_empty();
        if !has_authority || !has_time {
            return Err(
                "a trusted root with certificateAuthorities, and tlogs or timestampAuthorities"
                    .to_owned(),
            );
        }
        let root = Root::new(&root).map_err(|error| format!("a trusted root ({error})"))?;
        roots.push(root);
    }
    if roots.is_empty() {
        return Err("a trusted root in JSON, but the file is empty".to_owned());
    }
    Ok(roots)
}

/// Runs the work, and returns nothing if it panics: thirty packages read foreign text in it, and none may end a round.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => Some(outcome),
        Err(panic) if cfg!(test) => resume_unwind(panic),
        Err(_) => None,
    }
}

/// Whether a statement of this kind approves an image.
fn is_approval(statement: &Value) -> bool {
    [APPROVAL, PROVENANCE].contains(&text_at(statement, "predicateType"))
}

/// The annotations of cosign's classic layout as a bundle of version 0.1, which has the same content.
fn classic(annotations: &Value) -> Option<Bundle> {
    let text = |name: &str| annotations.get(name).and_then(Value::as_str);
    let (_, certificate) = blocks(text(CERTIFICATE)?).into_iter().next()?;
    let entry = read(text(LOG_ENTRY)?.as_bytes())?;
    let body = text_at(&entry, "Payload.body");
    let logged = read(&STANDARD.decode(body).ok()?)?;
    let log = from_hex(text_at(&entry, "Payload.logID"))?;
    let number = |path: &str| at(&entry, path).as_u64().map(|number| number.to_string());
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "verificationMaterial": {
            "x509CertificateChain": {"certificates": [{"rawBytes": STANDARD.encode(certificate?)}]},
            "tlogEntries": [{
                "logIndex": number("Payload.logIndex")?,
                "logId": {"keyId": STANDARD.encode(log)},
                "kindVersion": {"kind": text_at(&logged, "kind"), "version": text_at(&logged, "apiVersion")},
                "integratedTime": number("Payload.integratedTime")?,
                "inclusionPromise": {"signedEntryTimestamp": text_at(&entry, "SignedEntryTimestamp")},
                "canonicalizedBody": body,
            }],
        },
        "messageSignature": {"signature": text(super::SIGNATURE)?},
    });
    Bundle::from_json(&print(&bundle)).ok()
}

/// The bytes behind hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let byte = |pair: &[u8]| {
        let [high, low] = pair else { return None };
        u8::try_from(digit(high)? * 16 + digit(low)?).ok()
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests;
