//! An encrypted PKCS#8 and its password → the PKCS#8 (RFC 5958 §3, RFC 8018 §6.2).
//!
//! - What decrypts is the library that signs; `scrypt` alone has to come from elsewhere.
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
use pkcs8::AlgorithmIdentifierRef;
use pkcs8::pkcs5::pbes2::{
    EncryptionScheme, Kdf, Parameters, Pbkdf2Params, Pbkdf2Prf, ScryptParams,
};
use pkcs8::pkcs5::{self, pbes2};
use zeroize::Zeroizing;

use crate::advice;
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

pub(super) fn decrypt(
    algorithm: AlgorithmIdentifierRef<'_>,
    encrypted: &[u8],
    password: Option<&str>,
) -> Result<Number> {
    if algorithm.oid != pbes2::PBES2_OID {
        return Err(foreign("by PBES1 or another scheme older than PBES2"));
    }
    let Ok(pkcs5::EncryptionScheme::Pbes2(parameters)) = algorithm.try_into() else {
        return Err(foreign("with a cipher or a digest that is not read here"));
    };
    let Some((cipher, key_length, iv)) = cipher(&parameters) else {
        return Err(foreign("with another cipher than AES-CBC"));
    };
    let derivation = Derivation::new(&parameters.kdf, key_length)?;
    let Some(password) = password else {
        return Err(Error::key("the key is encrypted and no password is given")
            .with_advice(&advice::KEY_PASSWORD_MISSING));
    };

    let mut key = Zeroizing::new([0; 32]);
    let key = &mut key[..key_length];
    derivation.derive(password.as_bytes(), key)?;
    let key = UnboundCipherKey::new(cipher, key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7);
    let mut bytes = Zeroizing::new(encrypted.to_vec());
    // A wrong password shows in the padding, in all but one of some hundred cases; who reads the
    // PKCS#8 sees the others.
    let length = key
        .and_then(|key| {
            key.decrypt(&mut bytes, DecryptionContext::Iv128(FixedLength::from(iv)))
                .map(|plain| plain.len())
        })
        .map_err(|_| wrong_password())?;
    bytes.truncate(length);
    Ok(bytes)
}

pub(super) fn wrong_password() -> Error {
    Error::key("the password does not open the key: it is another key's, or the file is damaged")
        .with_advice(&advice::KEY_PASSWORD_WRONG)
}

/// An encryption that has to be renewed by whoever holds the key.
pub(super) fn foreign(how: &str) -> Error {
    Error::key(format!("the key is encrypted {how}")).with_advice(&advice::OLD_ENCRYPTION)
}

fn cipher(parameters: &Parameters) -> Option<(&'static Algorithm, usize, [u8; IV_LENGTH])> {
    match parameters.encryption {
        EncryptionScheme::Aes128Cbc { iv } => Some((&AES_128, 16, iv)),
        EncryptionScheme::Aes192Cbc { iv } => Some((&AES_192, 24, iv)),
        EncryptionScheme::Aes256Cbc { iv } => Some((&AES_256, 32, iv)),
        _ => None,
    }
}

/// How the password becomes a key, checked to be affordable.
enum Derivation<'a> {
    Pbkdf2(pbkdf2::Algorithm, NonZeroU32, &'a [u8]),
    Scrypt(scrypt::Params, &'a [u8]),
}

impl<'a> Derivation<'a> {
    fn new(kdf: &'a Kdf, key_length: usize) -> Result<Self> {
        if kdf
            .key_length()
            .is_some_and(|stated| usize::from(stated) != key_length)
        {
            return Err(foreign("with a key of another length than its cipher's"));
        }
        match kdf {
            Kdf::Pbkdf2(parameters) => Self::pbkdf2(parameters),
            Kdf::Scrypt(parameters) => Self::scrypt(parameters),
            _ => Err(foreign(
                "by a way from password to key that is not read here",
            )),
        }
    }

    fn pbkdf2(parameters: &'a Pbkdf2Params) -> Result<Self> {
        let algorithm = match parameters.prf {
            // The default of the standard, and what OpenSSL wrote before 1.1.
            Pbkdf2Prf::HmacWithSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Pbkdf2Prf::HmacWithSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Pbkdf2Prf::HmacWithSha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Pbkdf2Prf::HmacWithSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return Err(foreign("with a digest that is not read here")),
        };
        match NonZeroU32::new(parameters.iteration_count) {
            Some(rounds) if rounds.get() <= MAXIMUM_ITERATIONS => {
                Ok(Self::Pbkdf2(algorithm, rounds, parameters.salt.as_bytes()))
            }
            _ => Err(absurd(format!(
                "{} rounds of PBKDF2, and 1 to {MAXIMUM_ITERATIONS} are computed",
                parameters.iteration_count
            ))),
        }
    }

    fn scrypt(parameters: &'a ScryptParams) -> Result<Self> {
        let cost = parameters.cost_parameter;
        let (block, lanes) = (parameters.block_size, parameters.parallelization);
        let work = cost
            .checked_mul(u64::from(block))
            .and_then(|work| work.checked_mul(u64::from(lanes)));
        // The library expects a power of two and panics on zero.
        let known = match work {
            Some(1..=MAXIMUM_SCRYPT_WORK) if cost.is_power_of_two() => u8::try_from(cost.ilog2())
                .ok()
                .and_then(|log| scrypt::Params::new(log, block.into(), lanes.into()).ok()),
            _ => None,
        };
        known.map_or_else(
            || {
                Err(absurd(format!(
                    "scrypt with N = {cost}, r = {block}, p = {lanes}"
                )))
            },
            |known| Ok(Self::Scrypt(known, parameters.salt.as_bytes())),
        )
    }

    fn derive(&self, password: &[u8], key: &mut [u8]) -> Result<()> {
        match self {
            Self::Pbkdf2(algorithm, rounds, salt) => {
                pbkdf2::derive(*algorithm, *rounds, salt, password, key);
                Ok(())
            }
            Self::Scrypt(parameters, salt) => scrypt::scrypt(password, salt, parameters, key)
                .map_err(|_| foreign("with a key of another length than its cipher's")),
        }
    }
}

fn absurd(what: String) -> Error {
    Error::key(format!(
        "opening the key would take too much work: it asks for {what}"
    ))
    .with_advice(&advice::KEY_WORK)
}
