//! One private key in DER → the numbers of a key: PKCS#8, plain or encrypted, or PKCS#1.

use std::borrow::Cow;

use pkcs1::{RsaPrivateKeyRef, RsaPublicKeyRef};
use pkcs8::der::{Decode, Reader, SliceReader, asn1::OctetStringRef};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfoRef, SubjectPublicKeyInfoRef};
use x509_cert::Certificate;
use zeroize::Zeroizing;

use crate::advice::{self, Advice};
use crate::error::{Error, Result};

use super::Components;
use super::encrypted::{self, Container};

/// rsaEncryption (RFC 8017, appendix C).
pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// id-RSASSA-PSS (RFC 8017, appendix C): such a key may not sign as RS256 does.
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// Whichever of the forms it is.
pub(super) fn read(der: &[u8], password: Option<&str>) -> Result<Components> {
    if let Some((algorithm, encrypted)) = encryption(der) {
        return from_encrypted(algorithm, encrypted, password);
    }
    if is_pkcs8(der) {
        return from_pkcs8(der);
    }
    if RsaPrivateKeyRef::try_from(der).is_ok() {
        return from_pkcs1(der);
    }
    let public = if Certificate::from_der(der).is_ok() {
        "a certificate"
    } else if SubjectPublicKeyInfoRef::try_from(der).is_ok()
        || RsaPublicKeyRef::try_from(der).is_ok()
    {
        "the public half of a key"
    } else {
        return refuse(
            "the key is DER and neither PKCS#8 nor PKCS#1, or it is cut short",
            &advice::KEY_FORMAT,
        );
    };
    let message = format!("the key is {public} in DER, without a private part");
    refuse(message, &advice::PUBLIC_KEY)
}

pub(super) fn from_pkcs8(der: &[u8]) -> Result<Components> {
    // The libraries' errors tell places in the DER, which would help nobody; they stay out.
    let Ok(info) = PrivateKeyInfoRef::try_from(der) else {
        return refuse(
            "what is called a private key is no PKCS#8",
            &advice::KEY_FORMAT,
        );
    };
    match info.algorithm.oid {
        RSA => from_pkcs1(info.private_key.as_bytes()),
        RSA_PSS => refuse(
            "the key is RSA-PSS: Maskinporten takes RS256, RS384 and RS512 only",
            &advice::NEW_KEY,
        ),
        other => {
            let message = format!("the key is not RSA but of algorithm {}", named(other));
            refuse(message, &advice::EC_KEY)
        }
    }
}

pub(super) fn from_pkcs1(der: &[u8]) -> Result<Components> {
    let Ok(key) = RsaPrivateKeyRef::try_from(der) else {
        return refuse("what is called an RSA key is none", &advice::KEY_FORMAT);
    };
    if key.other_prime_infos.is_some() {
        return refuse("the key has more than two primes", &advice::NEW_KEY);
    }
    let number = |found: pkcs1::UintRef<'_>| Zeroizing::new(found.as_bytes().to_vec());
    Ok(Components {
        n: number(key.modulus),
        e: number(key.public_exponent),
        d: number(key.private_exponent),
        p: number(key.prime1),
        q: number(key.prime2),
        dp: number(key.exponent1),
        dq: number(key.exponent2),
        qi: number(key.coefficient),
    })
}

fn from_encrypted(
    algorithm: AlgorithmIdentifierRef<'_>,
    encrypted: &[u8],
    password: Option<&str>,
) -> Result<Components> {
    let plain = encrypted::decrypt(algorithm, encrypted, password, &mut Container::pkcs8())?;
    if !is_pkcs8(&plain) {
        return Err(encrypted::wrong_password());
    }
    from_pkcs8(&plain)
}

pub(super) fn is_pkcs8(der: &[u8]) -> bool {
    PrivateKeyInfoRef::try_from(der).is_ok()
}

/// EncryptedPrivateKeyInfo (RFC 5958 §3), whatever it is encrypted with: the library's own type
/// takes no algorithm that it does not know, and then nobody could say what is the matter.
fn encryption(der: &[u8]) -> Option<(AlgorithmIdentifierRef<'_>, &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let parts = reader.sequence(|parts| {
        let algorithm: AlgorithmIdentifierRef<'_> = parts.decode()?;
        let encrypted: &OctetStringRef = parts.decode()?;
        Ok::<_, pkcs8::der::Error>((algorithm, encrypted.as_bytes()))
    });
    let parts = parts.ok()?;
    reader.is_finished().then_some(parts)
}

fn named(algorithm: ObjectIdentifier) -> String {
    match algorithm.to_string().as_str() {
        "1.2.840.10045.2.1" => "EC".to_owned(),
        "1.3.101.112" => "Ed25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        other => other.to_owned(),
    }
}

pub(super) fn refuse<T>(
    message: impl Into<Cow<'static, str>>,
    advice: &'static Advice,
) -> Result<T> {
    Err(Error::key(message).with_advice(advice))
}
