//! The cryptography of TLS: TLS 1.3 and 1.2, AES-GCM, and X25519, P-256 or P-384. Only an Engine gets a certificate
//! of ours.
//!
//! RFC 8446 §9.1 makes AES-128-GCM and P-256 mandatory, so every server can be reached. ChaCha20-Poly1305 is left
//! out, because its code would never run. So nothing here may take a part of rustls' own provider, because that one
//! brings every suite along.

use ring::rand::SystemRandom;
use rustls::SignatureScheme;
use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::GetRandomFailed;
use rustls::crypto::KeyProvider;
use rustls::crypto::SecureRandom;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::ring::ALL_KX_GROUPS;
use rustls::crypto::ring::cipher_suite;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use rustls::sign::SigningKey;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use ureq::tls::Certificate;
use ureq::tls::ClientCert;
use ureq::tls::PemItem;
use ureq::tls::RootCerts;
use ureq::tls::TlsConfig;
use webpki::ring::ECDSA_P256_SHA256;
use webpki::ring::ECDSA_P256_SHA384;
use webpki::ring::ECDSA_P384_SHA256;
use webpki::ring::ECDSA_P384_SHA384;
use webpki::ring::ED25519;
use webpki::ring::RSA_PKCS1_2048_8192_SHA256;
use webpki::ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS;
use webpki::ring::RSA_PKCS1_2048_8192_SHA384;
use webpki::ring::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS;
use webpki::ring::RSA_PKCS1_2048_8192_SHA512;
use webpki::ring::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS;
use webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY;
use webpki::ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY;
use webpki::ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY;

const SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// What a certificate may be signed with, and what each signature of a handshake may be: all that ring can check.
const SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        ECDSA_P256_SHA256,
        ECDSA_P256_SHA384,
        ECDSA_P384_SHA256,
        ECDSA_P384_SHA384,
        ED25519,
        RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384,
        RSA_PKCS1_2048_8192_SHA512,
        RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    // TLS 1.2 does not fix the curve.
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[ECDSA_P384_SHA384, ECDSA_P256_SHA384],
        ),
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[ECDSA_P256_SHA256, ECDSA_P384_SHA256],
        ),
        (SignatureScheme::ED25519, &[ED25519]),
        (
            SignatureScheme::RSA_PSS_SHA512,
            &[RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA384,
            &[RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA256,
            &[RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA512,
            &[RSA_PKCS1_2048_8192_SHA512],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA384,
            &[RSA_PKCS1_2048_8192_SHA384],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA256,
            &[RSA_PKCS1_2048_8192_SHA256],
        ),
    ],
};

/// The cryptography that ureq uses.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: ALL_KX_GROUPS.to_vec(),
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Random,
        key_provider: &NoKeys,
    })
}

/// The random numbers of the kernel.
#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        ring::rand::SecureRandom::fill(&SystemRandom::new(), bytes).map_err(|_| GetRandomFailed)
    }
}

/// TLS to an Engine: whom to trust, and the certificate to show. `Debug` shows neither.
#[derive(Clone)]
pub struct EngineTls {
    pub(super) config: TlsConfig,
    /// Where its files are.
    pub folder: PathBuf,
}

/// The files in the folder of an [`EngineTls`].
pub(crate) const TLS_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

impl fmt::Debug for EngineTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineTls")
    }
}

impl EngineTls {
    /// TLS to an Engine whose certificate one of `trusted` has signed.
    #[cold]
    #[must_use]
    pub fn new(folder: PathBuf, trusted: &[Certificate<'static>], own: Option<ClientCert>) -> Self {
        let config = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(trusted))
            .client_cert(own)
            .unversioned_rustls_crypto_provider(provider_with_keys());
        Self {
            config: config.build(),
            folder,
        }
    }
}

/// Reads `cert.pem`, the certificate for a client with those that lead from it to its authority, and `key.pem`.
///
/// # Errors
/// The fault in words, which hold nothing of the key.
#[cold]
pub fn client_certificate(chain: &[u8], key: &[u8]) -> Result<ClientCert, String> {
    let chain = super::certificates(chain).map_err(|words| format!("cert.pem {words}"))?;
    let key = ureq::tls::parse_pem(key).find_map(|item| match item {
        Ok(PemItem::PrivateKey(key)) => Some(key),
        _ => None,
    });
    let key = key.ok_or("key.pem holds no private key, or an encrypted one")?;
    let ders = chain.iter().map(|one| one.der().to_vec().into()).collect();
    // ureq would panic at the first connection.
    let der = PrivateKeyDer::try_from(key.der().to_vec()).map_err(str::to_owned)?;
    CertifiedKey::from_der(ders, der, &provider_with_keys())
        .map_err(|error| format!("cert.pem and key.pem do not belong together: {error}"))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

/// The cryptography that signs too.
fn provider_with_keys() -> Arc<CryptoProvider> {
    let bare = provider();
    Arc::new(CryptoProvider {
        key_provider: &Keys,
        ..CryptoProvider::clone(&bare)
    })
}

/// Reads every kind of key that ring can sign with.
#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    #[cold]
    fn load_private_key(
        &self,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        any_supported_type(&key)
    }
}

/// A provider without keys: registries and receivers of messages get no certificate, so nothing is signed.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("no client certificates".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::default_provider;

    #[test]
    fn nothing_but_what_is_cut_differs_from_the_provider_of_rustls() {
        let (ours, theirs) = (provider(), default_provider());
        let shown = |one: &WebPkiSupportedAlgorithms| format!("{one:?} {:?}", one.all);
        assert_eq!(
            shown(&ours.signature_verification_algorithms),
            shown(&theirs.signature_verification_algorithms)
        );
        let names = |one: &CryptoProvider| format!("{:?}", one.kx_groups);
        assert_eq!(names(&ours), names(&theirs));
        let mut suites = theirs.cipher_suites;
        suites.retain(|suite| !format!("{suite:?}").contains("CHACHA20"));
        assert_eq!(ours.cipher_suites, suites);
    }
}
