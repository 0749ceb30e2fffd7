//! JWK or PEM → [`SigningKey`]; private bytes end here.

mod algorithm;
mod generate;
mod jwk;
pub(crate) mod members;
mod pem;
mod problems;
mod text;

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use base64::engine::{Engine as _, general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use zeroize::Zeroizing;

use crate::advice;
use crate::error::{Error, Result};

pub use algorithm::SigningAlgorithm;
pub use generate::GeneratedKey;
pub(crate) use text::{TextForm, binary_form, trim};

use problems::Problems;
use text::{decode_base64, decode_text};

/// Smallest modulus that Maskinporten takes.
const MINIMUM_BITS: usize = 2048;

/// Largest modulus that can be verified here; production is seen with 4096.
const MAXIMUM_BITS: usize = 8192;

/// What every key signs when it is loaded.
const TEST_INPUT: &[u8] = b"a key signs this once when it is loaded";

/// An RSA key that signs assertions: parsed once, checked, and held parsed.
///
/// - A key is RSA of at least 2048 bits with its private part: Maskinporten takes no other.
/// - A JWK brings all its CRT members (`p q dp dq qi`); `use` and `alg` may be left out. A PEM is
///   PKCS#8 or PKCS#1 and unencrypted.
/// - Every key has a `kid`: the one given beside the key wins over the one inside it.
/// - Everything that is wrong with a key is told at once, member by member, and no text of the key
///   reaches an error: a member's name and a line and column at most.
/// - A key signs and verifies once when it is loaded, so one whose parts do not belong together is
///   refused there and not by the token server.
///
/// ```
/// use maskinporten::SigningKey;
///
/// let made = SigningKey::generate(2048, None)?;
/// let key = SigningKey::from_jwk(made.private_jwk().expose(), None)?;
/// assert_eq!(key.public_jwk(), made.public_jwk());
/// # Ok::<(), maskinporten::Error>(())
/// ```
///
/// It has no `Clone` and is never serialised; share it behind an `Arc`. Its memory is wiped by the
/// cryptographic library when it is dropped.
pub struct SigningKey {
    pair: KeyPair,
    kid: String,
    algorithm: SigningAlgorithm,
    bits: usize,
    modulus: String,
    exponent: String,
}

impl SigningKey {
    /// Reads one private JWK (RFC 7517, RFC 7518 §6.3).
    ///
    /// A `kid` given beside the key wins over the one inside; a blank one counts as not given.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) with one `problem` among the
    /// [details](Error::details) for each thing that is wrong.
    pub fn from_jwk(json: &str, kid: Option<&str>) -> Result<Self> {
        let mut problems = Problems::default();
        let found = jwk::read(trim(json), kid, &mut problems)?;
        Self::assemble(found.components, found.kid, found.algorithm, problems)
    }

    /// Reads one private JWK written as base64: standard or url-safe alphabet, padded or not, with
    /// white space and a byte order mark wherever they slipped in.
    ///
    /// # Errors
    ///
    /// As [`from_jwk`](Self::from_jwk), and where the text is not base64.
    pub fn from_jwk_base64(text: &str, kid: Option<&str>) -> Result<Self> {
        let text = trim(text);
        if text.starts_with('{') {
            let message = "the key is a bare JWK where one in base64 is expected";
            return Err(Error::key(message).with_advice(&advice::KEY_FORMAT));
        }
        let json = decode_text(text)?;
        Self::from_jwk(&json, kid)
    }

    /// Reads one private key in PEM: PKCS#8 (`BEGIN PRIVATE KEY`) or PKCS#1 (`BEGIN RSA PRIVATE
    /// KEY`). Other blocks, such as certificates, may stand beside it.
    ///
    /// Line ends may be of any system, or the two characters `\n`, as environment variables often
    /// carry them. A PEM says nothing of its algorithm, so it signs RS256.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Key`](crate::ErrorKind::Key), naming the header that was found where it is none
    /// of the two.
    pub fn from_pem(pem: &str, kid: &str) -> Result<Self> {
        Self::from_pem_text(trim(pem), Some(kid))
    }

    /// Reads a key in whichever form it is: a JWK, a PEM, or either of them in base64.
    ///
    /// # Errors
    ///
    /// As [`from_jwk`](Self::from_jwk) and [`from_pem`](Self::from_pem).
    pub fn from_text(text: &str, kid: Option<&str>) -> Result<Self> {
        let text = trim(text);
        match TextForm::of(text) {
            TextForm::Jwk => Self::from_jwk(text, kid),
            TextForm::Pem => Self::from_pem_text(text, kid),
            TextForm::Other => {
                let decoded = decode_text(text)?;
                match TextForm::of(trim(&decoded)) {
                    TextForm::Pem => Self::from_pem_text(trim(&decoded), kid),
                    TextForm::Jwk | TextForm::Other => Self::from_jwk(&decoded, kid),
                }
            }
        }
    }

    fn from_pem_text(pem: &str, kid: Option<&str>) -> Result<Self> {
        let components = pem::read(pem)?;
        let mut problems = Problems::default();
        check_modulus(&components.n, &mut problems);
        let kid = check_kid(kid, &mut problems);
        Self::assemble(Some(components), kid, SigningAlgorithm::Rs256, problems)
    }

    /// The one way to a key: what was found, in whichever form, is told or put together here.
    fn assemble(
        components: Option<Components>,
        kid: Option<String>,
        algorithm: SigningAlgorithm,
        problems: Problems,
    ) -> Result<Self> {
        let (Some(components), Some(kid), true) = (components, kid, problems.is_empty()) else {
            return Err(problems.into_error());
        };
        let key = Self {
            pair: components.key_pair()?,
            kid,
            algorithm,
            bits: bits(&components.n),
            modulus: URL_SAFE_NO_PAD.encode(&components.n),
            exponent: URL_SAFE_NO_PAD.encode(&components.e),
        };
        // The library has compared the parts; this also shows that its signature is one that
        // whoever holds the public half will accept.
        let signature = key.sign(TEST_INPUT)?;
        let public = PublicKeyComponents {
            n: &components.n,
            e: &components.e,
        };
        public
            .verify(algorithm.verification(), TEST_INPUT, &signature)
            .map_err(|_| parts_do_not_belong_together())?;
        Ok(key)
    }

    /// The identifier the key is registered under: `kid` in the assertion's header.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// How it signs: the JWK's own `alg`, else RS256.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// The length of its modulus, in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// The public half as compact JSON with the members `alg`, `e`, `kid`, `kty`, `n` and `use`: what
    /// is registered in the portal.
    #[must_use]
    pub fn public_jwk(&self) -> String {
        json!({
            "alg": self.algorithm.as_str(),
            "e": self.exponent,
            "kid": self.kid,
            "kty": "RSA",
            "n": self.modulus,
            "use": "sig",
        })
        .to_string()
    }

    /// Signs `input` (RSASSA-PKCS1-v1_5). It takes about a millisecond of processor time; on a
    /// runtime, [`LocalSigner`](crate::LocalSigner) does it where nobody waits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) where the library cannot sign, which a key that was
    /// loaded has no known reason for.
    pub fn sign(&self, input: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                self.algorithm.encoding(),
                &SystemRandom::new(),
                input,
                &mut signature,
            )
            .map_err(|_| Error::key("signing failed").with_advice(&advice::NEW_KEY))?;
        Ok(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RSA-{} kid={} [redacted]", self.bits, self.kid)
    }
}

// ===== what a key is made of =====

/// The numbers of an RSA key: big-endian, without leading zero bytes, wiped when dropped.
struct Components {
    n: Number,
    e: Number,
    d: Number,
    p: Number,
    q: Number,
    dp: Number,
    dq: Number,
    qi: Number,
}

type Number = Zeroizing<Vec<u8>>;

impl Components {
    fn key_pair(&self) -> Result<KeyPair> {
        KeyPair::from_components(&KeyPairComponents {
            public_key: PublicKeyComponents {
                n: self.n.as_slice(),
                e: self.e.as_slice(),
            },
            d: self.d.as_slice(),
            p: self.p.as_slice(),
            q: self.q.as_slice(),
            dP: self.dp.as_slice(),
            dQ: self.dq.as_slice(),
            qInv: self.qi.as_slice(),
        })
        .map_err(|_| parts_do_not_belong_together())
    }
}

fn parts_do_not_belong_together() -> Error {
    Error::key("the key cannot be used: its parts do not belong together")
        .with_advice(&advice::NEW_KEY)
        .with_detail(
            "problem",
            "`n`, `e`, `d` and the CRT members contradict each other",
        )
}

fn bits(number: &[u8]) -> usize {
    let leading = number
        .first()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    number.len() * 8 - leading
}

fn check_modulus(n: &[u8], problems: &mut Problems) {
    let bits = bits(n);
    if bits < MINIMUM_BITS {
        let text = format!("`n` has {bits} bits, and at least {MINIMUM_BITS} are needed");
        problems.add(text, &advice::NEW_KEY);
    } else if bits > MAXIMUM_BITS {
        let text = format!("`n` has {bits} bits, and at most {MAXIMUM_BITS} can be used");
        problems.add(text, &advice::NEW_KEY);
    }
}

/// A blank `kid` counts as not given: an environment variable is often emptied, not removed.
fn given(kid: Option<&str>) -> Option<&str> {
    kid.map(str::trim).filter(|kid| !kid.is_empty())
}

fn check_kid(kid: Option<&str>, problems: &mut Problems) -> Option<String> {
    let Some(kid) = given(kid) else {
        problems.add(
            "`kid` is missing, inside the key and beside it",
            &advice::KID_MISSING,
        );
        return None;
    };
    if kid.chars().any(char::is_control) {
        problems.add("`kid` holds a control character", &advice::KID_MISSING);
        return None;
    }
    Some(kid.to_owned())
}

#[cfg(test)]
mod tests;
