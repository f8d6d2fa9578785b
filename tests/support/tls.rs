//! A certificate authority of our own.

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use std::sync::Arc;

/// An authority that nobody knows but who is given its certificate.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pems: (String, String),
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Its certificate, for `SSL_CERT_FILE`.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_for(names, &KeyPair::generate().expect("a key"))
    }

    /// The same for a key that there is already.
    pub(crate) fn issue_for(&self, names: &[&str], key: &KeyPair) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("parameters");
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        Identity {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
            pems: (certificate.pem(), key.serialize_pem()),
        }
    }

    /// A server's configuration that takes only clients with a certificate of this authority.
    pub(crate) fn strict_server_config(&self, server: &Identity) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        self.strict(server, provider, rustls::DEFAULT_VERSIONS)
    }

    fn strict(
        &self,
        server: &Identity,
        provider: Arc<rustls::crypto::CryptoProvider>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<rustls::ServerConfig> {
        let mut roots = rustls::RootCertStore::empty();
        let pem = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("a certificate");
        roots.add(pem).expect("an authority");
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("protocol versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![server.certificate.clone()], server.key())
            .expect("a server configuration");
        Arc::new(config)
    }
}

/// A server that takes only one key exchange and one version of TLS.
pub(crate) struct Only {
    pub(crate) group: &'static dyn rustls::crypto::SupportedKxGroup,
    pub(crate) version: &'static rustls::SupportedProtocolVersion,
}

impl Only {
    fn provider(&self) -> Arc<rustls::crypto::CryptoProvider> {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.kx_groups = vec![self.group];
        Arc::new(provider)
    }

    pub(crate) fn server_config(&self, server: &Identity) -> Arc<rustls::ServerConfig> {
        let config = rustls::ServerConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&[self.version])
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![server.certificate.clone()], server.key())
            .expect("a server configuration");
        Arc::new(config)
    }

    /// The same for clients with a certificate of this authority.
    pub(crate) fn strict_server_config(
        &self,
        authority: &Authority,
        server: &Identity,
    ) -> Arc<rustls::ServerConfig> {
        authority.strict(server, self.provider(), &[self.version])
    }
}

impl Identity {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.clone()).expect("a key")
    }

    /// Certificate and key as PEM.
    pub(crate) fn pems(&self) -> (&str, &str) {
        (&self.pems.0, &self.pems.1)
    }

    pub(crate) fn server_config(&self) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key())
            .expect("a server configuration");
        Arc::new(config)
    }
}
