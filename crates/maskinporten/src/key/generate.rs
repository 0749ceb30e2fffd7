//! A new key: the private JWK for this program, the public one for the portal.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pkcs8::PrivateKeyInfoRef;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};
use crate::secret::Secret;

use super::{Components, SigningAlgorithm, SigningKey, der, given};

/// A key that was just made: both halves as JWKs.
#[derive(Debug)]
pub struct GeneratedKey {
    kid: String,
    private_jwk: Secret,
    public_jwk: String,
}

impl GeneratedKey {
    /// The private JWK with all its members: for the settings of this program and nowhere else.
    #[must_use]
    pub fn private_jwk(&self) -> &Secret {
        &self.private_jwk
    }

    /// The public JWK, as [`SigningKey::public_jwk`] writes it: for the portal.
    #[must_use]
    pub fn public_jwk(&self) -> &str {
        &self.public_jwk
    }

    /// The identifier of both.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

impl SigningKey {
    /// Makes a new RS256 key of 2048, 3072 or 4096 bits. It takes from a tenth of a second to
    /// several seconds of processor time.
    ///
    /// Without a `kid` the key is named by its thumbprint (RFC 7638): unique among all customers
    /// and found again from the key alone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) for any other length, and where the library cannot
    /// make a key.
    pub fn generate(bits: usize, kid: Option<&str>) -> Result<GeneratedKey> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            other => {
                let message = format!("a key of {other} bits is not made: 2048, 3072 and 4096 are");
                return Err(Error::key(message).with_advice(&advice::NEW_KEY));
            }
        };
        let failed = || Error::key("the library made no key");
        let pair = KeyPair::generate(size).map_err(|_| failed())?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| failed())?;
        let info = PrivateKeyInfoRef::try_from(pkcs8.as_ref()).map_err(|_| failed())?;
        let components = der::from_pkcs1(info.private_key.as_bytes())?;

        let kid = given(kid).map_or_else(|| thumbprint(&components), str::to_owned);
        let private_jwk = private_jwk(&components, &kid);
        // Read back: what is given out has passed every check that a key from anywhere passes.
        let key = Self::from_jwk(private_jwk.expose(), None)?;
        Ok(GeneratedKey {
            kid,
            private_jwk,
            public_jwk: key.public_jwk(),
        })
    }
}

/// RFC 7638 §3: the required members in lexicographic order, without white space.
pub(super) fn thumbprint(key: &Components) -> String {
    let e = URL_SAFE_NO_PAD.encode(&key.e);
    let n = URL_SAFE_NO_PAD.encode(&key.n);
    let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

fn private_jwk(key: &Components, kid: &str) -> Secret {
    // Written by hand so that no unwiped copy of a private member is left in a JSON tree. Only the
    // kid can hold what JSON escapes.
    let kid = Value::from(kid);
    let alg = SigningAlgorithm::Rs256;
    // Eight numbers of at most the modulus' length in base64, and their names: it never grows.
    let mut json = String::with_capacity(12 * key.n.len() + 256 + kid.to_string().len());
    json.push_str(&format!(
        r#"{{"kty":"RSA","use":"sig","alg":"{alg}","kid":{kid}"#
    ));
    for (name, number) in [
        ("n", &key.n),
        ("e", &key.e),
        ("d", &key.d),
        ("p", &key.p),
        ("q", &key.q),
        ("dp", &key.dp),
        ("dq", &key.dq),
        ("qi", &key.qi),
    ] {
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(number));
        json.push_str(",\"");
        json.push_str(name);
        json.push_str("\":\"");
        json.push_str(&encoded);
        json.push('"');
    }
    json.push('}');
    Secret::from(json)
}
