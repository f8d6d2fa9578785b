//! Public keys: from PEM to a key that checks signatures. Pure.

use crate::pem::blocks;
use ring::signature;
use ring::signature::UnparsedPublicKey;
use ring::signature::VerificationAlgorithm;

/// The most keys that are read.
const MOST_KEYS: usize = 16;

/// A list of algorithms of one kind of key.
type Algorithms = &'static [&'static dyn VerificationAlgorithm];

/// Each kind of key of one length: the beginning of its `SubjectPublicKeyInfo` (RFC 5480, RFC 8410) up to the key itself,
/// the length of the key, and the algorithms. Signers use P-384 with either hash.
const KINDS: [(&[u8], usize, Algorithms); 3] = [
    (
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
        65,
        &[&signature::ECDSA_P256_SHA256_ASN1],
    ),
    (
        b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
        97,
        &[
            &signature::ECDSA_P384_SHA384_ASN1,
            &signature::ECDSA_P384_SHA256_ASN1,
        ],
    ),
    (
        b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
        32,
        &[&signature::ED25519],
    ),
];

/// The `AlgorithmIdentifier` of RSA keys (RFC 8017), and their algorithm.
const RSA: (&[u8], Algorithms) = (
    b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00",
    &[&signature::RSA_PKCS1_2048_8192_SHA256],
);
/// The length of the modulus of RSA keys that ring takes: 2048 to 8192 bits, behind a zero.
const RSA_LENGTHS: std::ops::RangeInclusive<usize> = 257..=1025;

/// One public key.
pub(super) struct Key {
    algorithms: Algorithms,
    bytes: Vec<u8>,
}

impl Key {
    /// Whether the owner of the key signed the message.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithms.iter().any(|algorithm| {
            let key = UnparsedPublicKey::new(*algorithm, &self.bytes);
            key.verify(message, signature).is_ok()
        })
    }

    /// Reads a `SubjectPublicKeyInfo` of a known kind.
    fn of_der(der: &[u8]) -> Option<Self> {
        let mut kinds = KINDS.iter();
        let found = kinds.find_map(|(head, length, algorithms)| {
            let key = der.strip_prefix(*head)?;
            (key.len() == *length).then_some((key, *algorithms))
        });
        let (key, algorithms) = found.or_else(|| Some((rsa(der)?, RSA.1)))?;
        Some(Self {
            algorithms,
            bytes: key.to_vec(),
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// The `RSAPublicKey` in a `SubjectPublicKeyInfo`.
fn rsa(der: &[u8]) -> Option<&[u8]> {
    let (info, end) = element(SEQUENCE, der)?;
    let (bits, after) = element(BIT_STRING, info.strip_prefix(RSA.0)?)?;
    let key = bits.strip_prefix(&[0])?;
    let (numbers, rest) = element(SEQUENCE, key)?;
    let (modulus, _) = element(INTEGER, numbers)?;
    let is_whole = end.len() + after.len() + rest.len() == 0;
    (is_whole && RSA_LENGTHS.contains(&modulus.len())).then_some(key)
}

/// Reads a list of PEM public keys. An error names the key by its number, and never repeats the text.
#[cold]
pub(super) fn parse(text: &str) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    // A variable may hold the lines in one, with `\n` between them.
    for (label, der) in blocks(&text.replace("\\n", "\n")) {
        let reason = match der.as_deref().and_then(Key::of_der) {
            _ if label != "PUBLIC KEY" => "is no PUBLIC KEY",
            _ if keys.len() == MOST_KEYS => "is one too many",
            None => "is damaged, or of another kind",
            Some(key) => {
                keys.push(key);
                continue;
            }
        };
        return Err(format!("key {} {reason}", keys.len() + 1));
    }
    if keys.is_empty() {
        return Err("there is no key".to_owned());
    }
    Ok(keys)
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Splits the first DER element off, which must have this tag, and a length of two bytes as in RSA keys. Returns its
/// content and the rest.
fn element(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let [found, 0x82, high, low, rest @ ..] = input else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    (*found == tag)
        .then(|| rest.split_at_checked(length))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::tests::vectors;

    fn pem(name: &str) -> String {
        vectors()["keys"][name].as_str().expect("a key").to_owned()
    }

    #[test]
    fn keys_of_four_kinds_are_read() {
        for name in ["p256", "p384", "ed25519", "rsa2048", "rsa4096", "other"] {
            assert_eq!(parse(&pem(name)).map(|keys| keys.len()), Ok(1), "{name}");
        }
        let several = format!(
            "# mine\n{}{}\n \r\n{}",
            pem("p256"),
            pem("rsa4096"),
            pem("other")
        );
        assert_eq!(parse(&several).map(|keys| keys.len()), Ok(3));
        for line in [" ", "\\n", "\r\n"] {
            let one_line = pem("rsa2048").trim_end().replace('\n', line);
            assert_eq!(parse(&one_line).map(|keys| keys.len()), Ok(1), "{line:?}");
        }
    }

    #[test]
    fn other_texts_are_refused_and_not_repeated() {
        let good = pem("p256");
        let inside = |from: &str, to: &str| good.replace(from, to);
        for (text, reason) in [
            (String::new(), "there is no key"),
            ("hunter2".to_owned(), "there is no key"),
            (pem("p521"), "key 1 is damaged, or of another kind"),
            (
                format!("{good}{}", inside("PUBLIC KEY", "CERTIFICATE")),
                "key 2 is no PUBLIC KEY",
            ),
            (
                inside("PUBLIC KEY", "EC PRIVATE KEY"),
                "key 1 is no PUBLIC KEY",
            ),
            (
                inside("-----END", ""),
                "key 1 is damaged, or of another kind",
            ),
            (
                inside("MFkw", "MFkx"),
                "key 1 is damaged, or of another kind",
            ),
            (
                inside("MFkwEwYHKoZ", "MFkwEwYHKoY"),
                "key 1 is damaged, or of another kind",
            ),
            (good.repeat(17), "key 17 is one too many"),
        ] {
            let found = parse(&text).map(|keys| keys.len());
            assert_eq!(found, Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_rsa_key_has_a_size() {
        let integer = |bits: usize| {
            let mut bytes = vec![0_u8];
            bytes.extend(std::iter::repeat_n(0xff, bits / 8));
            bytes
        };
        let der = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).expect("small").to_be_bytes();
            let head = match content.len() {
                short @ ..0x80 => vec![tag, short as u8],
                _ => vec![tag, 0x82, length[0], length[1]],
            };
            [&head, content].concat()
        };
        for (bits, is_good) in [
            (1024, false),
            (2040, false),
            (2048, true),
            (8192, true),
            (8200, false),
        ] {
            let numbers = [der(INTEGER, &integer(bits)), der(INTEGER, &[1, 0, 1])].concat();
            let key = [&[0][..], &der(SEQUENCE, &numbers)].concat();
            let info = [RSA.0, &der(BIT_STRING, &key)].concat();
            let found = Key::of_der(&der(SEQUENCE, &info));
            assert_eq!(found.is_some(), is_good, "{bits}");
        }
    }

    #[test]
    fn no_text_and_no_der_panics() {
        const WORDS: &[&str] = &[
            "-----BEGIN PUBLIC KEY-----",
            "-----END PUBLIC KEY-----",
            "-----BEGIN PRIVATE KEY-----",
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjydCPvyRvEzgxF3dskiNASJVyZDAKw4/nAzpLas3FAz5c+5UXY2NxyxujZbh3fvhZ3SVCNUCaA/9H0LnSulPTg==",
            "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A",
            "\\n",
            "\n",
            "=",
            "0\u{82}",
        ];
        crate::fuzz::fuzz("keys", WORDS, |input| {
            let _ = Key::of_der(input);
            let _ = rsa(input);
            if let Err(reason) = parse(&String::from_utf8_lossy(input)) {
                assert!(reason.len() < 60, "{reason}");
            }
        });
    }
}
