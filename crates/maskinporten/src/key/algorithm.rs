//! How a key signs: RSASSA-PKCS1-v1_5 (RFC 7518 §3.3), by the name and by the library's constants.

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaParameters, RsaSignatureEncoding,
};

/// How a key signs: RSASSA-PKCS1-v1_5 (RFC 7518 §3.3) with one of three digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SigningAlgorithm {
    /// With SHA-256: what a key that names no algorithm signs with.
    Rs256,
    /// With SHA-384.
    Rs384,
    /// With SHA-512.
    Rs512,
}

impl SigningAlgorithm {
    const ALL: [Self; 3] = [Self::Rs256, Self::Rs384, Self::Rs512];

    /// The name in JOSE headers (RFC 7518 §3.1): `RS256`, `RS384` or `RS512`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    /// The digest of `input` that a signature is over: SHA-256, SHA-384 or SHA-512 (RFC 8017 §8.2).
    ///
    /// It is what a vault wants where it signs digests: ask it for RSASSA-PKCS1-v1_5 with that hash,
    /// and for none that hashes once more.
    #[must_use]
    pub fn digest(self, input: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Rs256 => &SHA256,
            Self::Rs384 => &SHA384,
            Self::Rs512 => &SHA512,
        };
        digest(algorithm, input).as_ref().to_vec()
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    pub(super) fn encoding(self) -> &'static RsaSignatureEncoding {
        match self {
            Self::Rs256 => &RSA_PKCS1_SHA256,
            Self::Rs384 => &RSA_PKCS1_SHA384,
            Self::Rs512 => &RSA_PKCS1_SHA512,
        }
    }

    pub(super) fn verification(self) -> &'static RsaParameters {
        match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
