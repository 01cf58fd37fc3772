//! TLS of the listeners.
//!
//! Owns: the configuration, its reloading when the files change, and the verifier of device certificates. The
//! verifier asks for possession of the key and nothing else: who the certificate belongs to, and whether it is
//! expired or revoked, is for the engine to judge, which alone can tell a device with an expired identity what to do.
//!
//! Source: RFC 8446 section 4.4 (certificates, CertificateVerify).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::TICK;

/// What the server asks of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// No certificate.
    Nothing,
    /// A certificate, if the peer has one.
    Certificate,
}

/// A configuration that follows its files.
#[derive(Clone, Debug)]
pub(crate) struct Reloading {
    certificate: PathBuf,
    key: PathBuf,
    ask: Ask,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl Reloading {
    /// Reads the files.
    pub(crate) fn open(certificate: &Path, key: &Path, ask: Ask) -> anyhow::Result<Self> {
        let config = build(certificate, key, ask)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            ask,
            config: Arc::new(ArcSwap::from_pointee(config)),
        })
    }

    /// The configuration for a new connection.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Reads the files again whenever they change, and at HUP. Files that cannot be used change nothing.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "cannot wait for HUP; certificates are not reloaded");
                return;
            }
        };
        let mut seen = self.stamps();
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => true,
                () = tokio::time::sleep(TICK) => false,
            };
            let stamps = self.stamps();
            if !asked && stamps == seen {
                continue;
            }
            seen = stamps;
            let file = self.certificate.display();
            match build(&self.certificate, &self.key, self.ask) {
                Ok(config) => {
                    self.config.store(Arc::new(config));
                    tracing::info!(%file, "the TLS certificate was read again");
                }
                Err(error) => {
                    tracing::error!(%file, error = format!("{error:#}"), "the TLS certificate cannot be used; the one before stays");
                }
            }
        }
    }

    fn stamps(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| {
            std::fs::metadata(path)
                .and_then(|metadata| metadata.modified())
                .ok()
        })
    }
}

fn build(certificate: &Path, key: &Path, ask: Ask) -> anyhow::Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read the certificate {}", certificate.display()))?;
    if chain.is_empty() {
        bail!("{} holds no certificate", certificate.display());
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read the key {}", key.display()))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("the versions of TLS")?;
    let builder = match ask {
        Ask::Nothing => builder.with_no_client_auth(),
        Ask::Certificate => builder.with_client_cert_verifier(Arc::new(Possession(provider))),
    };
    let mut config = builder.with_single_cert(chain, private).with_context(|| {
        format!(
            "the certificate {} and the key {} do not belong together",
            certificate.display(),
            key.display()
        )
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts any certificate whose key the peer holds.
#[derive(Debug)]
struct Possession(Arc<CryptoProvider>);

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
