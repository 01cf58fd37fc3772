//! Certificates, requests and certificate authorities.
//!
//! Reading keeps the sender's bytes, writing copies names byte for byte. Nothing here knows the present time or stores
//! anything. Source: RFC 5280, RFC 2986.

mod certificate;
mod chain;
mod extension;
mod issue;
mod name;
pub mod pem;
mod request;

pub use certificate::{Certificate, CertificateError, MAX_CERTIFICATE_BYTES};
pub use chain::{ChainError, Purpose, verify_chain};
pub use extension::{Extension, KeyUsage, SubjectAltName};
pub use issue::{
    ClientIdentity, IssueError, Issuer, Serial, TlsServer, Validity, client_identity, issuing_ca,
    root_ca, self_signed_tls_server, tls_server,
};
pub use name::{Name, NameBuilder, NameError};
pub use request::{CertificationRequest, ChallengePassword, MAX_REQUEST_BYTES, RequestError};

pub(crate) use certificate::CertificateParts;
pub(crate) use request::UnverifiedRequest;
