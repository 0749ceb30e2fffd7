//! An encrypted PKCS#8 and its password → the PKCS#8 (RFC 5958 §3, RFC 8018 §6.2).
//!
//! - What decrypts is the library that signs; scrypt and triple DES, which it lacks, come from elsewhere.
//! - A file says itself how much work opening it is. One that asks for more than any tool does is
//!   refused before anything is computed.
//! - What was decrypted is wiped, and so is the key it was decrypted with.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt as _, InnerIvInit as _, KeyInit};
use des::TdesEde3;
use pkcs8::der::Reader as _;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::pbes2;
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Pbkdf2Params, Pbkdf2Prf, ScryptParams};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier};
use zeroize::Zeroizing;

use crate::advice::{self, Advice};
use crate::error::{Error, Result};

use super::Number;

/// Most rounds of PBKDF2 that are computed: up to three seconds, with SHA-512. OpenSSL writes 2048, and
/// current advice is 600 000 with SHA-256 and about twice that with SHA-1. The 10 000 000 that RFC 8018
/// §4.2 names for especially critical keys take longer than the start of a service may.
const MAXIMUM_ITERATIONS: u32 = 2_000_000;

/// Most work that scrypt is given (N · r · p): eight times what OpenSSL writes, which is also the most
/// it does. It takes up to 128 MiB and half a second.
const MAXIMUM_SCRYPT_WORK: u64 = 1 << 20;

const IV_LENGTH: usize = 16;

/// DES-EDE3-CBC (RFC 8018, appendix B.2.2), which `openssl genrsa -des3` writes.
const DES_EDE3_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.3.7");

/// What an encryption stands in: how messages name it, and the work that is still spent on it.
pub(super) struct Container {
    name: &'static str,
    foreign: &'static Advice,
    absurd: &'static Advice,
    /// Rounds that were asked for so far; all parts of a PKCS#12 share what is computed.
    rounds: u32,
}

impl Container {
    pub(super) fn pkcs8() -> Self {
        Self {
            name: "the key",
            foreign: &advice::OLD_ENCRYPTION,
            absurd: &advice::KEY_WORK,
            rounds: 0,
        }
    }

    #[cfg(feature = "pkcs12")]
    pub(super) fn pkcs12() -> Self {
        Self {
            name: "the PKCS#12",
            foreign: &advice::PKCS12,
            absurd: &advice::PKCS12_WORK,
            rounds: 0,
        }
    }

    /// An encryption that is not read here.
    pub(super) fn foreign(&self, how: &str) -> Error {
        let name = self.name;
        Error::key(format!("{name} is encrypted {how}")).with_advice(self.foreign)
    }

    /// Counts rounds that are about to be computed.
    pub(super) fn spend(&mut self, rounds: i64, of: &str) -> Result<NonZeroU32> {
        let asked = u32::try_from(rounds).ok().and_then(NonZeroU32::new);
        let in_all = asked.and_then(|asked| self.rounds.checked_add(asked.get()));
        match (asked, in_all) {
            (Some(asked), Some(in_all)) if in_all <= MAXIMUM_ITERATIONS => {
                self.rounds = in_all;
                Ok(asked)
            }
            _ => {
                let earlier = match self.rounds {
                    0 => String::new(),
                    earlier => format!(" after {earlier} for other parts"),
                };
                let most = MAXIMUM_ITERATIONS;
                let what = format!(
                    "{rounds} rounds of {of}{earlier}, and 1 to {most} are computed in all"
                );
                Err(self.absurd(&what))
            }
        }
    }

    fn absurd(&self, what: &str) -> Error {
        let name = self.name;
        let message = format!("opening {name} would take too much work: it asks for {what}");
        Error::key(message).with_advice(self.absurd)
    }
}

pub(super) fn decrypt(
    algorithm: AlgorithmIdentifierRef<'_>,
    encrypted: &[u8],
    password: Option<&str>,
    container: &mut Container,
) -> Result<Number> {
    if algorithm.oid != pbes2::PBES2_OID {
        return Err(container.foreign("by PBES1 or another scheme older than PBES2"));
    }
    let Some((kdf, scheme)) = parameters(algorithm) else {
        return Err(container.foreign("with a cipher or a digest that is not read here"));
    };
    let Some(cipher) = Cipher::of(scheme) else {
        return Err(container.foreign("with another cipher than AES-CBC and DES-EDE3-CBC"));
    };
    let derivation = Derivation::new(&kdf, cipher.key_length(), container)?;
    let Some(password) = password else {
        return Err(Error::key("the key is encrypted and no password is given")
            .with_advice(&advice::KEY_PASSWORD_MISSING));
    };

    let mut key = Zeroizing::new([0; 32]);
    let key = &mut key[..cipher.key_length()];
    derivation.derive(password.as_bytes(), key, container)?;
    // A wrong password shows in the padding, in all but one of some hundred cases; who reads the
    // PKCS#8 sees the others.
    cipher.decrypt(key, encrypted).ok_or_else(wrong_password)
}

pub(super) fn wrong_password() -> Error {
    Error::key("the password does not open the key: it is another key's, or the file is damaged")
        .with_advice(&advice::KEY_PASSWORD_WRONG)
}

/// The two halves of PBES2-params (RFC 8018, appendix A.4). The library's own type takes no cipher but
/// those it was built with.
fn parameters(algorithm: AlgorithmIdentifierRef<'_>) -> Option<(Kdf, AlgorithmIdentifierRef<'_>)> {
    let parts = algorithm.parameters?.sequence(|parts| {
        let kdf: AlgorithmIdentifierRef<'_> = parts.decode()?;
        let scheme: AlgorithmIdentifierRef<'_> = parts.decode()?;
        Ok::<_, pkcs8::der::Error>((kdf, scheme))
    });
    let (kdf, scheme) = parts.ok()?;
    Some((kdf.try_into().ok()?, scheme))
}

enum Cipher {
    Aes(&'static Algorithm, usize, [u8; IV_LENGTH]),
    TripleDes([u8; 8]),
}

impl Cipher {
    fn of(scheme: AlgorithmIdentifierRef<'_>) -> Option<Self> {
        if scheme.oid == DES_EDE3_CBC {
            let iv: &OctetStringRef = scheme.parameters?.decode_as().ok()?;
            return Some(Self::TripleDes(iv.as_bytes().try_into().ok()?));
        }
        Some(match EncryptionScheme::try_from(scheme).ok()? {
            EncryptionScheme::Aes128Cbc { iv } => Self::Aes(&AES_128, 16, iv),
            EncryptionScheme::Aes192Cbc { iv } => Self::Aes(&AES_192, 24, iv),
            EncryptionScheme::Aes256Cbc { iv } => Self::Aes(&AES_256, 32, iv),
            _ => return None,
        })
    }

    fn key_length(&self) -> usize {
        match self {
            Self::Aes(_, length, _) => *length,
            Self::TripleDes(_) => 24,
        }
    }

    /// What was encrypted; `None` where its padding is wrong.
    fn decrypt(&self, key: &[u8], encrypted: &[u8]) -> Option<Number> {
        match self {
            Self::Aes(algorithm, _, iv) => {
                let key = UnboundCipherKey::new(algorithm, key).ok()?;
                let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
                let iv = DecryptionContext::Iv128(FixedLength::from(*iv));
                let mut bytes = Zeroizing::new(encrypted.to_vec());
                let length = key.decrypt(&mut bytes, iv).ok()?.len();
                bytes.truncate(length);
                Some(bytes)
            }
            Self::TripleDes(iv) => decrypt_blocks::<TdesEde3>(key, iv, encrypted),
        }
    }
}

/// CBC with PKCS#7 padding, by a block cipher that the signing library lacks; `None` where the padding is
/// wrong.
pub(super) fn decrypt_blocks<C>(key: &[u8], iv: &[u8], encrypted: &[u8]) -> Option<Number>
where
    C: BlockCipherDecrypt + KeyInit,
{
    let cipher = cbc::Decryptor::<C>::inner_iv_slice_init(C::new_from_slice(key).ok()?, iv).ok()?;
    let mut bytes = Zeroizing::new(encrypted.to_vec());
    let length = cipher.decrypt_padded::<Pkcs7>(&mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

const OTHER_LENGTH: &str = "with a key of another length than its cipher's";

/// How the password becomes a key, checked to be affordable.
enum Derivation<'a> {
    Pbkdf2(pbkdf2::Algorithm, NonZeroU32, &'a [u8]),
    Scrypt(scrypt::Params, &'a [u8]),
}

impl<'a> Derivation<'a> {
    fn new(kdf: &'a Kdf, key_length: usize, container: &mut Container) -> Result<Self> {
        let stated = kdf.key_length().map(usize::from);
        if stated.is_some_and(|stated| stated != key_length) {
            return Err(container.foreign(OTHER_LENGTH));
        }
        match kdf {
            Kdf::Pbkdf2(parameters) => Self::pbkdf2(parameters, container),
            Kdf::Scrypt(parameters) => Self::scrypt(parameters, container),
            _ => Err(container.foreign("by a way from password to key that is not read here")),
        }
    }

    fn pbkdf2(parameters: &'a Pbkdf2Params, container: &mut Container) -> Result<Self> {
        let algorithm = match parameters.prf {
            // The default of the standard, and what OpenSSL wrote before 1.1.
            Pbkdf2Prf::HmacWithSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Pbkdf2Prf::HmacWithSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Pbkdf2Prf::HmacWithSha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Pbkdf2Prf::HmacWithSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return Err(container.foreign("with a digest that is not read here")),
        };
        let rounds = container.spend(parameters.iteration_count.into(), "PBKDF2")?;
        Ok(Self::Pbkdf2(algorithm, rounds, parameters.salt.as_bytes()))
    }

    fn scrypt(parameters: &'a ScryptParams, container: &mut Container) -> Result<Self> {
        let cost = parameters.cost_parameter;
        let (block, lanes) = (parameters.block_size, parameters.parallelization);
        let work = cost
            .checked_mul(u64::from(block))
            .and_then(|work| work.checked_mul(u64::from(lanes)));
        // The library expects a power of two and panics on zero.
        let known = match work {
            Some(work @ 1..=MAXIMUM_SCRYPT_WORK) if cost.is_power_of_two() => {
                let known = u8::try_from(cost.ilog2())
                    .ok()
                    .and_then(|log| scrypt::Params::new(log, block.into(), lanes.into()).ok());
                // The most that is done takes a quarter of the time that the most rounds of PBKDF2 do.
                let rounds = i64::try_from(work / 2).unwrap_or(i64::MAX).max(1);
                known.filter(|_| container.spend(rounds, "PBKDF2").is_ok())
            }
            _ => None,
        };
        match known {
            Some(known) => Ok(Self::Scrypt(known, parameters.salt.as_bytes())),
            None => {
                let what = format!("scrypt with N = {cost}, r = {block}, p = {lanes}");
                Err(container.absurd(&what))
            }
        }
    }

    fn derive(&self, password: &[u8], key: &mut [u8], container: &Container) -> Result<()> {
        match self {
            Self::Pbkdf2(algorithm, rounds, salt) => {
                pbkdf2::derive(*algorithm, *rounds, salt, password, key);
                Ok(())
            }
            Self::Scrypt(parameters, salt) => scrypt::scrypt(password, salt, parameters, key)
                .map_err(|_| container.foreign(OTHER_LENGTH)),
        }
    }
}
