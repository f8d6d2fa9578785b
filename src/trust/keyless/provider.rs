//! The cryptography of the verifier: ring, as everywhere here.

use ring::digest;
use ring::signature;
use ring::signature::UnparsedPublicKey;
use ring::signature::VerificationAlgorithm;
use sigstore_verify::crypto::CryptoProvider;
use sigstore_verify::crypto::Error;
use sigstore_verify::crypto::HashContext;
use sigstore_verify::crypto::Result;
use sigstore_verify::crypto::SigningScheme;
use sigstore_verify::types::HashAlgorithm;
use std::cell::RefCell;

thread_local! {
    /// The message of the digest that the verifier asks about. ring verifies messages only.
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs the work while signatures over the digest of this message can be verified.
pub(super) fn with_message<T>(message: &[u8], work: impl FnOnce() -> T) -> T {
    MESSAGE.set(message.to_vec());
    let outcome = work();
    MESSAGE.take();
    outcome
}

/// ring, for the verifier.
#[derive(Debug)]
pub(super) struct Ring;

struct Hash(digest::Context);

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

/// ring's name of a hash.
fn hash_of(algorithm: HashAlgorithm) -> Result<&'static digest::Algorithm> {
    match algorithm {
        HashAlgorithm::Sha2256 => Ok(&digest::SHA256),
        HashAlgorithm::Sha2384 => Ok(&digest::SHA384),
        HashAlgorithm::Sha2512 => Ok(&digest::SHA512),
        _ => Err(unknown()),
    }
}

fn unknown() -> Error {
    Error::UnsupportedAlgorithm("ring does not know it".to_owned())
}

/// ring's name of a kind of signature.
fn algorithm_of(scheme: SigningScheme) -> Result<&'static dyn VerificationAlgorithm> {
    Ok(match scheme {
        SigningScheme::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
        SigningScheme::EcdsaP256Sha384 => &signature::ECDSA_P256_SHA384_ASN1,
        SigningScheme::EcdsaP384Sha256 => &signature::ECDSA_P384_SHA256_ASN1,
        SigningScheme::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
        SigningScheme::Ed25519 => &signature::ED25519,
        SigningScheme::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        SigningScheme::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        SigningScheme::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
        SigningScheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SigningScheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        SigningScheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(unknown()),
    })
}

impl CryptoProvider for Ring {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        let algorithm = hash_of(algorithm)?;
        Ok(Box::new(Hash(digest::Context::new(algorithm))))
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let key = UnparsedPublicKey::new(algorithm_of(scheme)?, key);
        let outcome = key.verify(data, signature);
        outcome.map_err(|_| Error::Verification("the signature is not good".to_owned()))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let algorithm = scheme.hash_algorithm().ok_or_else(unknown)?;
        let algorithm = hash_of(algorithm)?;
        MESSAGE.with_borrow(|message| {
            if digest::digest(algorithm, message).as_ref() != digest {
                return Err(unknown());
            }
            self.verify_raw(scheme, key, message, signature)
        })
    }
}
