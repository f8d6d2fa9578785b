//! Public keys: from PEM to a key that checks signatures. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature;
use ring::signature::UnparsedPublicKey;
use ring::signature::VerificationAlgorithm;

/// The most keys that are read.
const MOST_KEYS: usize = 16;

/// A list of algorithms of one kind of key.
type Algorithms = &'static [&'static dyn VerificationAlgorithm];

/// Each kind of key: the content of its `AlgorithmIdentifier` (RFC 5480, RFC 8410, RFC 8017), the length of a key, and
/// the algorithms. Signers use P-384 with either hash. No algorithm stands for a kind that ring lacks.
const KINDS: [(&[u8], usize, Algorithms); 5] = [
    (
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
        65,
        &[&signature::ECDSA_P256_SHA256_ASN1],
    ),
    (
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22",
        97,
        &[
            &signature::ECDSA_P384_SHA384_ASN1,
            &signature::ECDSA_P384_SHA256_ASN1,
        ],
    ),
    (b"\x06\x03\x2b\x65\x70", 32, &[&signature::ED25519]),
    (
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00",
        0,
        &[&signature::RSA_PKCS1_2048_8192_SHA256],
    ),
    (
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23",
        133,
        &[],
    ),
];

/// The sizes of RSA keys that ring takes, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// One public key.
#[derive(Clone)]
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

    /// Reads a `SubjectPublicKeyInfo`.
    fn of_der(der: &[u8]) -> Result<Self, &'static str> {
        const NO_KEY: &str = "is damaged";
        let read = |tag, input| element(tag, input).ok_or(NO_KEY);
        let (info, rest) = read(SEQUENCE, der)?;
        let (algorithm, key) = read(SEQUENCE, info)?;
        let (key, after) = read(BIT_STRING, key)?;
        // The first byte counts the bits of the last byte that are not used.
        let Some((0, key)) = key.split_first() else {
            return Err(NO_KEY);
        };
        if !rest.is_empty() || !after.is_empty() {
            return Err(NO_KEY);
        }
        let kind = KINDS.iter().find(|(known, ..)| *known == algorithm);
        let Some((_, length, algorithms)) = kind else {
            return Err("is of an unknown kind");
        };
        if algorithms.is_empty() {
            return Err("is a P-521 key, which is not supported");
        }
        match length {
            0 if !RSA_BITS.contains(&rsa_bits(key).ok_or(NO_KEY)?) => {
                return Err("is an RSA key of another size");
            }
            0 => {}
            length if key.len() != *length => return Err(NO_KEY),
            _ => {}
        }
        Ok(Self {
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

/// Reads a list of PEM public keys. An error names the key by its number, and never repeats the text.
#[cold]
pub(super) fn parse(text: &str) -> Result<Vec<Key>, String> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let mut keys = Vec::new();
    let mut blocks = text.split(BEGIN);
    if !blocks.next().unwrap_or_default().trim().is_empty() {
        return Err("the text is not PEM".to_owned());
    }
    for (at, block) in blocks.enumerate() {
        let number = at + 1;
        let fail = |reason: &str| Err(format!("key {number} {reason}"));
        if number > MOST_KEYS {
            return fail("is one too many");
        }
        let Some((label, rest)) = block.split_once("-----") else {
            return fail("has no end");
        };
        if label != "PUBLIC KEY" {
            return fail(if label.ends_with("PRIVATE KEY") {
                "is a private key"
            } else {
                "is no PUBLIC KEY"
            });
        }
        let Some((body, end)) = rest.split_once(END) else {
            return fail("has no end");
        };
        if end.trim() != "PUBLIC KEY-----" {
            return fail("has text after its end");
        }
        // A variable may hold the lines in one, with blanks or `\n` between them.
        let body: String = body.replace("\\n", "").split_whitespace().collect();
        let der = STANDARD.decode(body).unwrap_or_default();
        match Key::of_der(&der) {
            Ok(key) => keys.push(key),
            Err(reason) => return fail(reason),
        }
    }
    if keys.is_empty() {
        return Err("there is no key".to_owned());
    }
    Ok(keys)
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Splits the first DER element off, which must have this tag. Returns its content and the rest.
fn element(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, input) = input.split_first()?;
    let (&first, mut input) = input.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 2 {
            return None;
        }
        let digits = input.get(..count)?;
        input = &input[count..];
        length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        // DER has one form only, the shortest.
        if length < 0x80 || digits[0] == 0 {
            return None;
        }
    }
    let content = input.get(..length)?;
    (found == tag).then_some((content, &input[length..]))
}

/// The size of the modulus of an `RSAPublicKey`.
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let (numbers, rest) = element(SEQUENCE, key)?;
    let (modulus, exponent) = element(INTEGER, numbers)?;
    let (_, after) = element(INTEGER, exponent)?;
    if !rest.is_empty() || !after.is_empty() {
        return None;
    }
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let first = modulus.first()?;
    Some(modulus.len() * 8 - first.leading_zeros() as usize)
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
        let several = format!("{}{}\n \r\n{}", pem("p256"), pem("rsa4096"), pem("other"));
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
            ("hunter2".to_owned(), "the text is not PEM"),
            (format!("# mine\n{good}"), "the text is not PEM"),
            (pem("p521"), "key 1 is a P-521 key, which is not supported"),
            (
                format!("{good}{}", inside("PUBLIC KEY", "CERTIFICATE")),
                "key 2 is no PUBLIC KEY",
            ),
            (
                inside("PUBLIC KEY", "EC PRIVATE KEY"),
                "key 1 is a private key",
            ),
            (inside("-----END", ""), "key 1 has no end"),
            (format!("{good}x"), "key 1 has text after its end"),
            (inside("MFkw", "MFkx"), "key 1 is damaged"),
            (
                inside("MFkwEwYHKoZ", "MFkwEwYHKoY"),
                "key 1 is of an unknown kind",
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
                0x80..=0xff => vec![tag, 0x81, length[1]],
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
            let info = [der(SEQUENCE, KINDS[3].0), der(BIT_STRING, &key)].concat();
            let found = Key::of_der(&der(SEQUENCE, &info));
            assert_eq!(found.is_ok(), is_good, "{bits}");
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
            let _ = rsa_bits(input);
            if let Err(reason) = parse(&String::from_utf8_lossy(input)) {
                assert!(reason.len() < 60, "{reason}");
            }
        });
    }
}
