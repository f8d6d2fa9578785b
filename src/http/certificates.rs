//! Certificates from a file.

use ureq::tls::Certificate;

/// Reads a PEM bundle.
///
/// # Errors
/// The fault in words. A bundle without certificates is one: every connection would fail later, without a
/// hint why.
pub fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(pem) {
        match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("not a PEM bundle ({error})")),
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
    }
}
