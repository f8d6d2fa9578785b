//! Certificates from a file.

use crate::pem;
use ureq::tls::Certificate;

/// Reads a PEM bundle.
///
/// # Errors
/// The fault in words. A bundle without certificates is one: every connection would fail later, without a
/// hint why.
pub fn certificates(text: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for (label, der) in pem::blocks(&String::from_utf8_lossy(text)) {
        if label == "CERTIFICATE" {
            let number = found.len() + 1;
            let der =
                der.ok_or_else(|| format!("no PEM bundle: certificate {number} is damaged"))?;
            found.push(Certificate::from_der(&der).to_owned());
        }
    }
    if found.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        assert!(certificates(b"").is_err());
        assert!(certificates(b"no certificate here").is_err());
        let text = b"-----BEGIN PUBLIC KEY-----AA==-----END PUBLIC KEY-----";
        assert!(certificates(text).is_err());
        let text = b"-----BEGIN CERTIFICATE-----AA-----END CERTIFICATE-----";
        let words = certificates(text).err();
        assert_eq!(
            words.as_deref(),
            Some("no PEM bundle: certificate 1 is damaged")
        );
    }
}
