//! TLS by a certificate and its key from files. Knows nothing of what is spoken inside.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use error::{Code, Error, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where the certificate and its key are, in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate, and behind it those that vouch for it.
    pub certificate: PathBuf,
    /// Its key, without a password.
    pub key: PathBuf,
}

impl Tls {
    /// Reads both files, once: a new certificate takes a new start.
    pub(crate) fn load(&self) -> Result<Arc<ServerConfig>> {
        let unreadable = |file: &Path, cause: &dyn std::fmt::Display| {
            Error::new(Code::Configuration, format!("{} cannot be used for TLS: {cause}", file.display()))
                .with_hint("Give a certificate chain and its key in PEM, the key without a password.")
        };
        let certificates = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .map_err(|cause| unreadable(&self.certificate, &cause))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|cause| unreadable(&self.key, &cause))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
            .map_err(|cause| unreadable(&self.certificate, &cause))?;
        Ok(Arc::new(config))
    }
}

/// What takes connections that go on with this protocol.
pub(crate) fn acceptor(config: &Arc<ServerConfig>, protocol: &[u8]) -> TlsAcceptor {
    let mut config = ServerConfig::clone(config);
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
