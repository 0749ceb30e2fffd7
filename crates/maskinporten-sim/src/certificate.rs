//! A client's chain of certificates: PEM in, `x5c` out (RFC 7515 §4.1.6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_cert::Certificate;
use x509_cert::der::Encode;

use crate::RegistrationError;

/// Certificates of one client, its own first.
pub(crate) struct Chain {
    pub(crate) pem: String,
    pub(crate) x5c: Vec<String>,
}

impl Chain {
    /// Reads PEM blocks, of which the first has to hold this public key (PKCS#1).
    pub(crate) fn read(pem: &str, public_key: &[u8]) -> Result<Self, RegistrationError> {
        let unreadable = || RegistrationError::new("this is no chain of certificates in PEM");
        let certificates = Certificate::load_pem_chain(pem.as_bytes()).map_err(|_| unreadable())?;
        let leaf = certificates.first().ok_or_else(unreadable)?;
        let key = &leaf
            .tbs_certificate()
            .subject_public_key_info()
            .subject_public_key;
        if key.as_bytes() != Some(public_key) {
            return Err(RegistrationError::new(
                "the first certificate is of another key than the client's",
            ));
        }
        let x5c = certificates
            .iter()
            .map(|certificate| certificate.to_der().map(|der| STANDARD.encode(der)))
            .collect::<Result<_, _>>()
            .map_err(|_| unreadable())?;
        Ok(Self {
            pem: pem.to_owned(),
            x5c,
        })
    }
}
