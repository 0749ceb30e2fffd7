//! A key of any shape → [`SigningKey`]; private bytes end here.

mod algorithm;
mod chain;
mod der;
mod encrypted;
mod foreign;
mod generate;
mod jwk;
pub(crate) mod members;
mod options;
mod pem;
#[cfg(feature = "pkcs12")]
mod pkcs12;
mod problems;
mod set;
mod text;

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use base64::engine::{Engine as _, general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use zeroize::Zeroizing;

use x509_cert::der::DateTime;

use crate::advice;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::signer::KeyReference;

pub use algorithm::SigningAlgorithm;
pub use generate::GeneratedKey;
pub use options::KeyOptions;
pub(crate) use pem::blocks_alone;
pub(crate) use text::{decode_base64, from_utf16, trim};

use chain::{Chain, Link};
use problems::Problems;
use text::Shape;

/// Smallest modulus that Maskinporten takes.
const MINIMUM_BITS: usize = 2048;

/// Largest modulus that can be verified here; production is seen with 4096.
const MAXIMUM_BITS: usize = 8192;

/// Longest identifier of a key, in bytes: those in use are UUIDs, thumbprints and names.
const LONGEST_KID: usize = 512;

/// What every key signs when it is loaded.
const TEST_INPUT: &[u8] = b"a key signs this once when it is loaded";

/// An RSA key that signs assertions: parsed once, checked, and held parsed.
///
/// - A key is RSA of at least 2048 bits with its private part: Maskinporten takes no other.
/// - [`read`](Self::read) takes it in whichever shape it is held. A JWK brings all its CRT members
///   (`p q dp dq qi`); `use` and `alg` may be left out.
/// - Every key goes by a `kid` or by its certificates, never by both. What is given beside the key
///   ([`KeyOptions`]) wins over what stands in it, and a `kid` in it over its certificates.
/// - Everything that is wrong with a key is told at once, member by member, and no text of the key
///   reaches an error: a member's name and a line and column at most.
/// - A key signs and verifies once when it is loaded, so one whose parts do not belong together is
///   refused there and not by the token server.
///
/// ```
/// use maskinporten::{KeyOptions, SigningKey};
///
/// let made = SigningKey::generate(2048, None)?;
/// let bytes = made.private_jwk().expose().as_bytes();
/// let key = SigningKey::read(bytes, &KeyOptions::new())?;
/// assert_eq!(key.public_jwk(), made.public_jwk());
/// # Ok::<(), maskinporten::Error>(())
/// ```
///
/// It has no `Clone` and is never serialised; share it behind an `Arc`. Its memory is wiped by the
/// cryptographic library when it is dropped.
pub struct SigningKey {
    pair: KeyPair,
    name: Name,
    algorithm: SigningAlgorithm,
    expires: Option<SystemTime>,
    bits: usize,
    modulus: String,
    exponent: String,
}

impl SigningKey {
    /// Reads a key in whichever shape it is held:
    ///
    /// - a JWK, or a JWK set, of which the key that [`read_set`](Self::read_set) gives first;
    /// - a PEM: PKCS#8, encrypted PKCS#8 (PBES2: PBKDF2 or scrypt, with AES-CBC or DES-EDE3-CBC) or
    ///   PKCS#1, between other blocks and text of any encoding, and with line ends of any system or as the
    ///   two characters `\n`;
    /// - the same in DER;
    /// - a PKCS#12 (`.p12`, `.pfx`) where the feature `pkcs12` is on, with the certificates of its key;
    /// - base64 of any of these, in either alphabet, padded or not, with white space anywhere; a JSON
    ///   string that holds one; and UTF-16 with its byte order mark.
    ///
    /// A JWK is read as .NET's `JsonWebKey` reads it: members in any case, those that are null, blank or
    /// empty as absent, and numbers in either base64 alphabet. Two spellings of one name with two values
    /// are an error.
    ///
    /// A Java keystore, an OpenSSH key, UTF-16 without its mark and encryption older than PBES2 are not
    /// read: the error's [hint](Error::hint) is the command that turns them into what is. What is no key
    /// is named for what it is: a settings file, a keystore in JSON, XML, a Python `repr`, escaped text, the
    /// path of a file, a reference to Key Vault.
    ///
    /// A PEM says nothing of its algorithm, so it signs RS256. Opening an encrypted key takes as long
    /// as its file asks for, a few seconds at most; a file that asks for more is refused.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) with what is wrong and, where several things are,
    /// one `problem` among the [details](Error::details) for each. That a `kid` and certificates are
    /// both given is an error too, whatever the key.
    pub fn read(bytes: &[u8], options: &KeyOptions) -> Result<Self> {
        let mut keys = Self::read_set(bytes, options)?;
        Ok(keys.swap_remove(0))
    }

    /// Reads all keys of a JWK set (`{"keys": […]}`, or the array alone) that sign, the one to sign
    /// with first at the front: the one whose `kid` the options give, else the one that ends last. One
    /// without `exp` never ends, and of those that end together the last of the set comes first, where
    /// Altinn's key tool puts a new key. Any other shape is a set of one key.
    ///
    /// Left out are public halves, keys of other families, and those for encryption or RSASSA-PSS.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and for a set: where no key of it signs, telling why of each; where
    /// one with a private part is broken; where two go by one `kid`, or none by the given one.
    pub fn read_set(bytes: &[u8], options: &KeyOptions) -> Result<Vec<Self>> {
        let beside = Beside::read(options)?;
        let key = match Shape::read(bytes)? {
            Shape::Jwk(json) => match set::entries(trim(&json))? {
                Some(entries) => return set::read(&entries, options),
                None => Self::from_json(trim(&json), beside),
            },
            Shape::Pem(pem) => Self::bare(pem::read(&pem, options.password())?, beside),
            Shape::Der(der) => Self::bare(der::read(&der, options.password())?, beside),
            Shape::Pkcs12(der) => Self::from_pkcs12(&der, options.password(), beside),
        };
        Ok(vec![key?])
    }

    /// Reads the keys of a set that stands beside a key. There are none where it holds public halves
    /// only, as a set does that is published too.
    pub(crate) fn read_beside(bytes: &[u8]) -> Result<Vec<Self>> {
        if let Shape::Jwk(json) = Shape::read(bytes)?
            && let Some(entries) = set::entries(trim(&json))?
            && !set::has_signing_key(&entries)
        {
            return Ok(Vec::new());
        }
        Self::read_set(bytes, &KeyOptions::new())
    }

    /// Reads one private JWK (RFC 7517, RFC 7518 §6.3), and nothing that is not one.
    ///
    /// A `kid` given beside the key wins over the one inside; a blank one counts as not given.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn from_jwk(json: &str, kid: Option<&str>) -> Result<Self> {
        let json = trim(json);
        if set::entries(json)?.is_some() {
            let message = "the key is a JWK set (`keys`): give one key of it";
            return Err(Error::key(message).with_advice(&advice::ONE_OF_SET));
        }
        Self::from_json(json, Beside::kid(kid))
    }

    /// Reads one private JWK written as base64: standard or url-safe alphabet, padded or not, with
    /// white space and a byte order mark wherever they slipped in. A JWK that is not encoded is read too.
    ///
    /// # Errors
    ///
    /// As [`from_jwk`](Self::from_jwk), and where the text is neither base64 nor a JWK.
    pub fn from_jwk_base64(text: &str, kid: Option<&str>) -> Result<Self> {
        match Shape::read(text.as_bytes())? {
            Shape::Jwk(json) => Self::from_jwk(&json, kid),
            Shape::Pem(_) | Shape::Der(_) | Shape::Pkcs12(_) => {
                let message = "the key is no JWK in base64: it is a PEM, DER or PKCS#12";
                Err(Error::key(message).with_advice(&advice::JWK_IN_BASE64))
            }
        }
    }

    /// Reads one private key in PEM, unencrypted: PKCS#8 or PKCS#1.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), naming the header that was found where it is none of the two.
    pub fn from_pem(pem: &str, kid: &str) -> Result<Self> {
        Self::bare(pem::read(pem.as_bytes(), None)?, Beside::kid(Some(kid)))
    }

    fn from_json(json: &str, beside: Beside) -> Result<Self> {
        let mut problems = Problems::default();
        let found = jwk::read(json, beside, &mut problems)?;
        Self::assemble(found, problems)
    }

    /// From a PKCS#12, whose certificates count where nothing is given with it.
    #[cfg(feature = "pkcs12")]
    fn from_pkcs12(der: &[u8], password: Option<&str>, beside: Beside) -> Result<Self> {
        let (components, links) = pkcs12::read(der, password)?;
        let beside = match beside {
            Beside::Nothing if links.is_empty() => {
                let message = "the PKCS#12 holds no certificate of its key, and no `kid` is given";
                return Err(Error::key(message).with_advice(&advice::KEY_WITHOUT_NAME));
            }
            Beside::Nothing => Beside::Certificates(links),
            given => given,
        };
        Self::bare(components, beside)
    }

    #[cfg(not(feature = "pkcs12"))]
    fn from_pkcs12(_: &[u8], _: Option<&str>, _: Beside) -> Result<Self> {
        Err(text::Binary::Pkcs12.refusal("the key is"))
    }

    /// From a form that is nothing but numbers.
    fn bare(components: Components, beside: Beside) -> Result<Self> {
        let mut problems = Problems::default();
        check_modulus(&components.n, &mut problems);
        let identity = match beside {
            Beside::Kid(kid) => check_kid(&kid, &mut problems),
            Beside::Certificates(links) => Some(Identity::Certificates(links)),
            Beside::Nothing => {
                problems.add(NO_KID, &advice::KEY_WITHOUT_NAME);
                None
            }
        };
        let found = jwk::Found {
            components: Some(components),
            identity,
            algorithm: SigningAlgorithm::Rs256,
            expires: None,
        };
        Self::assemble(found, problems)
    }

    /// The one way to a key: what was found, in whichever form, is told or put together here.
    fn assemble(found: jwk::Found, problems: Problems) -> Result<Self> {
        let jwk::Found {
            components,
            identity,
            algorithm,
            expires,
        } = found;
        let (Some(components), Some(identity), true) = (components, identity, problems.is_empty())
        else {
            return Err(problems.into_error());
        };
        let key = Self {
            pair: components.key_pair()?,
            name: match identity {
                Identity::Kid(kid) => Name::Kid(kid),
                Identity::Certificates(links) => Name::Chain(Chain::of(links, &components)?),
            },
            algorithm,
            expires,
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

    /// The identifier the key is registered under: `kid` in the assertion's header. None where the
    /// key goes by its certificates.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        match &self.name {
            Name::Kid(kid) => Some(kid),
            Name::Chain(_) => None,
        }
    }

    /// What an assertion refers to the key by: its `kid`, or its certificates.
    #[must_use]
    pub fn key_reference(&self) -> KeyReference<'_> {
        match &self.name {
            Name::Kid(kid) => KeyReference::Kid(kid),
            Name::Chain(chain) => KeyReference::Chain(chain.x5c()),
        }
    }

    /// When it ends, as far as it tells: by `exp` of the JWK or the end of its own certificate,
    /// whichever is first. What was set where it is registered is not known here.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        let certified = match &self.name {
            Name::Chain(chain) => chain.ends(),
            Name::Kid(_) => None,
        };
        [self.expires, certified].into_iter().flatten().min()
    }

    /// Refuses a key that has ended, or one of whose certificates has or is not valid yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Key`](crate::ErrorKind::Key), with the date.
    pub fn check_dates(&self, now: SystemTime) -> Result<()> {
        if let Some(end) = self.expires
            && now >= end
        {
            let message = format!("the key ended on {} (`exp`)", date(end));
            return Err(Error::key(message).with_advice(&advice::KEY_DATES));
        }
        match &self.name {
            Name::Chain(chain) => chain.check_dates(now),
            Name::Kid(_) => Ok(()),
        }
    }

    /// The environment the key says it is for, so that a test key is not tried in production.
    ///
    /// It says so by a `kid` as Altinn's key tool writes it (`NAME-TEST.XXXX`, `NAME-PROD.XXXX`), or
    /// by a certificate of an authority with `Test` in its name. Most keys say nothing.
    #[must_use]
    pub fn environment(&self) -> Option<Environment> {
        match &self.name {
            Name::Kid(kid) => environment_of(kid),
            Name::Chain(chain) => chain.is_for_test().then_some(Environment::Test),
        }
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

    /// The public half as compact JSON with the members `alg`, `e`, `kid` where it has one, `kty`, `n`
    /// and `use`: what is registered in the portal.
    #[must_use]
    pub fn public_jwk(&self) -> String {
        let mut jwk = json!({
            "alg": self.algorithm.as_str(),
            "e": self.exponent,
            "kty": "RSA",
            "n": self.modulus,
            "use": "sig",
        });
        if let Some(kid) = self.kid() {
            jwk["kid"] = kid.into();
        }
        jwk.to_string()
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
        match &self.name {
            Name::Kid(kid) => write!(f, "RSA-{} kid={kid} [redacted]", self.bits),
            Name::Chain(chain) => {
                let length = chain.x5c().len();
                write!(f, "RSA-{} x5c of {length} [redacted]", self.bits)
            }
        }
    }
}

// ===== what a key goes by =====

/// What a key goes by in the header of an assertion.
enum Name {
    Kid(String),
    Chain(Chain),
}

/// The same as it was found, before the key itself was read.
enum Identity {
    Kid(String),
    Certificates(Vec<Link>),
}

/// The same as it was given beside the key.
enum Beside {
    Nothing,
    Kid(String),
    Certificates(Vec<Link>),
}

impl Beside {
    fn read(options: &KeyOptions) -> Result<Self> {
        match (options.kid(), options.certificates()) {
            (Some(_), Some(_)) => {
                let message =
                    "a `kid` and certificates are given, and an assertion carries one of them";
                Err(Error::key(message).with_advice(&advice::KID_AND_CERTIFICATE))
            }
            (None, Some(certificates)) => chain::read(certificates).map(Self::Certificates),
            (kid, None) => Ok(Self::kid(kid)),
        }
    }

    fn kid(kid: Option<&str>) -> Self {
        given(kid).map_or(Self::Nothing, |kid| Self::Kid(kid.to_owned()))
    }
}

const NO_KID: &str = "`kid` is missing, inside the key and beside it";

/// A blank `kid` counts as not given: an environment variable is often emptied, not removed.
fn given(kid: Option<&str>) -> Option<&str> {
    kid.map(str::trim).filter(|kid| !kid.is_empty())
}

fn check_kid(kid: &str, problems: &mut Problems) -> Option<Identity> {
    if kid.chars().any(char::is_control) {
        problems.add("`kid` holds a control character", &advice::KID_MISSING);
        return None;
    }
    // It is shown and sent: a key that was put there is neither.
    if kid.len() > LONGEST_KID || kid.contains('{') {
        let text = "`kid` is no identifier: a key or settings stand there";
        problems.add(text, &advice::KID_MISSING);
        return None;
    }
    Some(Identity::Kid(kid.trim().to_owned()))
}

/// `NAME-TEST.XXXX` and `NAME-PROD.XXXX`: no other pattern is known well enough to refuse a key by.
fn environment_of(kid: &str) -> Option<Environment> {
    let (name, suffix) = kid.rsplit_once('.')?;
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if suffix.is_empty() || !suffix.bytes().all(is_base64url) {
        return None;
    }
    match name.rsplit_once('-')? {
        ("", _) => None,
        (_, "TEST") => Some(Environment::Test),
        (_, "PROD") => Some(Environment::Production),
        _ => None,
    }
}

/// A moment as a person reads it: `2027-05-01T00:00:00Z`.
fn date(moment: SystemTime) -> String {
    DateTime::try_from(moment).map_or_else(
        |_| "a date out of all bounds".to_owned(),
        |date| date.to_string(),
    )
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
        .with_advice(&advice::KEY_NOT_WHOLE)
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

#[cfg(test)]
mod tests;
