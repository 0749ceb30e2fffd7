//! A key that never leaves its vault, as a [`Signer`].

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents,
};
use azure_core::http::RequestContent;
use azure_security_keyvault_keys::ResourceExt as _;
use azure_security_keyvault_keys::models::{
    JsonWebKey, Key, KeyAttributes, KeyClientGetKeyOptions, KeyClientSignOptions, KeyOperation,
    KeyType, SignParameters, SignatureAlgorithm,
};
use base64::engine::{Engine as _, general_purpose::URL_SAFE_NO_PAD};
use maskinporten::{
    BoxFuture, Clock as _, Error, KeyReference, Result, Signer, SigningAlgorithm, SystemClock,
};
use serde_json::json;

use crate::bounds::within;
use crate::failure::Attempt;
use crate::vault::KeyVault;

/// Time for one signature, a token for the vault and one more try included: 3 s.
///
/// A flight for a token has 10 s for three attempts, so a vault that is slow leaves time for the others.
const SIGNING_DEADLINE: Duration = Duration::from_secs(3);

/// Time for connecting: the key is read, and signs once.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Smallest modulus that Maskinporten takes.
const MINIMUM_BITS: usize = 2048;

/// What a key signs when it is connected, so that a missing right is told at start.
const TEST_INPUT: &[u8] = b"a key signs this once when it is connected";

const RIGHTS: &str =
    "the role Key Vault Crypto User, or an access policy with get and sign on keys";

/// Signs assertions with an RSA key in a vault or a managed HSM.
///
/// - It is bound to one version of the key. After a rotation in the vault it signs on with the old
///   version, until it is replaced by a signer for the new one whose public half is registered.
/// - Its `kid` is `<name>.<version>` unless another is given: letters, digits, `-` and `.`, as Maskinporten
///   takes them. The vault's own is an address, and is not.
/// - [`public_jwk`](Self::public_jwk) is what is registered for it.
/// - Every signature is checked with the public key before it is used; the check costs some 30 µs.
/// - A digest leaves for the vault, and no assertion.
///
/// One signature takes 3 s at most, one more try included. A dropped call leaves nothing behind but a
/// request that may still be under way.
#[derive(Clone)]
pub struct KeyVaultSigner {
    vault: KeyVault,
    name: String,
    version: String,
    kid: String,
    algorithm: SigningAlgorithm,
    public: PublicKey,
    expires_at: Option<SystemTime>,
}

impl KeyVaultSigner {
    /// The key `name` in `vault`, to be told more and connected.
    #[must_use]
    pub fn builder(vault: &KeyVault, name: impl Into<String>) -> KeyVaultSignerBuilder {
        KeyVaultSignerBuilder {
            vault: vault.clone(),
            name: name.into(),
            version: None,
            kid: None,
            algorithm: SigningAlgorithm::Rs256,
        }
    }

    /// The latest version of the key `name`, signing RS256 as `<name>.<version>`.
    ///
    /// # Errors
    ///
    /// As [`KeyVaultSignerBuilder::connect`].
    pub async fn connect(vault: &KeyVault, name: impl Into<String>) -> Result<Self> {
        Self::builder(vault, name).connect().await
    }

    /// What Maskinporten knows the key by.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The version of the key that signs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The public half as compact JSON with the members `alg`, `e`, `kid`, `kty`, `n` and `use`: what is
    /// registered in the portal.
    #[must_use]
    pub fn public_jwk(&self) -> String {
        json!({
            "alg": self.algorithm.as_str(),
            "e": URL_SAFE_NO_PAD.encode(&self.public.e),
            "kid": self.kid,
            "kty": "RSA",
            "n": URL_SAFE_NO_PAD.encode(&self.public.n),
            "use": "sig",
        })
        .to_string()
    }

    async fn signature(&self, input: &[u8]) -> Result<Vec<u8>> {
        let host = self.vault.host();
        let parameters = SignParameters {
            algorithm: Some(in_vault(self.algorithm)),
            value: Some(self.algorithm.digest(input)),
        };
        let parameters = RequestContent::try_from(parameters)
            .map_err(|_| Error::rejected("the digest cannot be written for the key vault"))?;
        let options = KeyClientSignOptions {
            key_version: Some(self.version.clone()),
            ..KeyClientSignOptions::default()
        };
        let signing = async {
            let client = self.vault.signing();
            let signed = async {
                let signed = client.sign(&self.name, parameters, Some(options)).await?;
                signed.into_model()
            };
            let thing = thing(&self.name);
            let failed = |error| attempt(host, "sign with this key", &thing, &error);
            signed.await.map_err(failed)
        };
        let late = || format!("{host} did not sign within {SIGNING_DEADLINE:?}");
        let signed = within(SIGNING_DEADLINE, late, signing).await?;
        let signature = signed.result.unwrap_or_default();
        self.public
            .verify(self.algorithm, input, &signature)
            .map_err(|()| {
                Error::unavailable(format!(
                    "a signature of {host} is not one of the key it was asked for"
                ))
            })?;
        Ok(signature)
    }
}

impl Signer for KeyVaultSigner {
    fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    fn key_reference(&self) -> KeyReference<'_> {
        KeyReference::Kid(&self.kid)
    }

    /// The end that the key has in the vault, which need not be the one it is registered until.
    fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    fn sign(&self, input: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(async move { self.signature(&input).await })
    }
}

impl fmt::Debug for KeyVaultSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVaultSigner")
            .field("vault", &self.vault.address())
            .field("key", &self.name)
            .field("version", &self.version)
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

// ===== what can be chosen =====

/// Connects a [`KeyVaultSigner`].
#[derive(Clone, Debug)]
pub struct KeyVaultSignerBuilder {
    vault: KeyVault,
    name: String,
    version: Option<String>,
    kid: Option<String>,
    algorithm: SigningAlgorithm,
}

impl KeyVaultSignerBuilder {
    /// This version of the key. Without it, the one that is the latest when it is connected.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// What Maskinporten knows the key by, where that is not `<name>.<version>`.
    #[must_use]
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// How it signs; RS256 unless said otherwise.
    #[must_use]
    pub fn algorithm(mut self, algorithm: SigningAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Reads the public key and has it sign once.
    ///
    /// # Errors
    ///
    /// The vault cannot be asked or refuses; there is no such key; or it is not one that signs for
    /// Maskinporten: RSA of at least 2048 bits, enabled, within its dates, with the operation `sign`.
    pub async fn connect(self) -> Result<KeyVaultSigner> {
        let host = self.vault.host().to_owned();
        let late = || format!("{host} did not show its key and sign within {CONNECT_DEADLINE:?}");
        let connecting = async {
            let signer = self.read().await?;
            signer.signature(TEST_INPUT).await?;
            Ok(signer)
        };
        within(CONNECT_DEADLINE, late, connecting).await
    }

    async fn read(self) -> Result<KeyVaultSigner> {
        let thing = thing(&self.name);
        if !is_name(&self.name) || self.version.as_deref().is_some_and(|it| !is_name(it)) {
            return Err(Error::settings(
                "the name or version of a key in a vault is made of letters, digits and `-`",
            ));
        }
        let options = KeyClientGetKeyOptions {
            key_version: self.version,
            ..KeyClientGetKeyOptions::default()
        };
        let reading = async {
            let read = self.vault.keys().get_key(&self.name, Some(options));
            read.await?.into_model()
        };
        let key = reading
            .await
            .map_err(|error| attempt(self.vault.host(), "read this key", &thing, &error))?;

        let version = key.resource_id().ok().and_then(|id| id.version);
        let version = version.filter(|version| is_name(version));
        let Some(version) = version else {
            return Err(Error::unavailable(format!(
                "{thing} was shown without its version"
            )));
        };
        let public = PublicKey::of(&key, &thing)?;
        let expires_at = key.attributes.and_then(|attributes| attributes.expires);
        let expires_at = expires_at.map(SystemTime::from);
        let kid = self
            .kid
            .unwrap_or_else(|| format!("{}.{version}", self.name));
        check_kid(&kid)?;
        Ok(KeyVaultSigner {
            vault: self.vault,
            name: self.name,
            version,
            kid,
            algorithm: self.algorithm,
            public,
            expires_at,
        })
    }
}

fn thing(name: &str) -> String {
    format!("the key `{name}`")
}

fn attempt(vault: &str, to: &str, thing: &str, error: &azure_core::Error) -> Error {
    let attempt = Attempt {
        vault,
        to,
        thing,
        rights: RIGHTS,
    };
    attempt.failed(error)
}

/// What may stand in the vault's paths. The SDK writes a name into one as it is.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn check_kid(kid: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match !kid.is_empty() && kid.bytes().all(allowed) {
        true => Ok(()),
        false => Err(Error::key(
            "a `kid` is made of letters, digits, `.`, `_` and `-`: Maskinporten takes no other",
        )),
    }
}

// ===== the public half =====

#[derive(Clone)]
struct PublicKey {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl PublicKey {
    /// The key, if it can sign for Maskinporten; all that keeps it from that is told at once.
    fn of(key: &Key, thing: &str) -> Result<Self> {
        let default = (JsonWebKey::default(), KeyAttributes::default());
        let jwk = key.key.as_ref().unwrap_or(&default.0);
        let attributes = key.attributes.as_ref().unwrap_or(&default.1);
        let number = |bytes: &Option<Vec<u8>>| {
            let bytes = bytes.as_deref().unwrap_or_default();
            let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes.iter().skip(zeroes).copied().collect::<Vec<u8>>()
        };
        let public = Self {
            n: number(&jwk.n),
            e: number(&jwk.e),
        };

        let mut problems = Vec::new();
        match &jwk.kty {
            Some(KeyType::Rsa | KeyType::RsaHsm) => {
                let bits = public.bits();
                if bits < MINIMUM_BITS {
                    problems.push(format!(
                        "it has {bits} bits, and Maskinporten takes 2048 or more"
                    ));
                }
            }
            _ => problems.push("it is not RSA, and Maskinporten takes no other".to_owned()),
        }
        if attributes.enabled == Some(false) {
            problems.push("it is disabled".to_owned());
        }
        let now = SystemClock.wall();
        let is_past = |moment: azure_core::time::OffsetDateTime| now >= moment;
        if attributes.expires.is_some_and(is_past) {
            problems.push("it has expired".to_owned());
        }
        if attributes.not_before.is_some_and(|moment| !is_past(moment)) {
            problems.push("it is not valid yet".to_owned());
        }
        let operations = jwk.key_ops.as_deref();
        if operations.is_some_and(|allowed| {
            !allowed
                .iter()
                .any(|operation| operation == KeyOperation::Sign.as_ref())
        }) {
            problems.push("its permitted operations do not include `sign`".to_owned());
        }
        match problems.is_empty() {
            true => Ok(public),
            false => Err(Error::key(format!(
                "{thing} cannot sign for Maskinporten: {}",
                problems.join("; ")
            ))),
        }
    }

    fn bits(&self) -> usize {
        let leading = self
            .n
            .first()
            .map_or(0, |byte| byte.leading_zeros() as usize);
        self.n.len() * 8 - leading
    }

    fn verify(
        &self,
        algorithm: SigningAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), ()> {
        let components = RsaPublicKeyComponents {
            n: &self.n,
            e: &self.e,
        };
        components
            .verify(verification(algorithm), input, signature)
            .map_err(|_| ())
    }
}

// ===== algorithms =====

fn in_vault(algorithm: SigningAlgorithm) -> SignatureAlgorithm {
    match algorithm {
        SigningAlgorithm::Rs384 => SignatureAlgorithm::Rs384,
        SigningAlgorithm::Rs512 => SignatureAlgorithm::Rs512,
        _ => SignatureAlgorithm::Rs256,
    }
}

fn verification(algorithm: SigningAlgorithm) -> &'static RsaParameters {
    match algorithm {
        SigningAlgorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        SigningAlgorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        _ => &RSA_PKCS1_2048_8192_SHA256,
    }
}
