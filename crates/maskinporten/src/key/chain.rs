//! Certificates → the chain an assertion carries in place of a `kid`: `x5c` (RFC 7515 §4.1.6).
//!
//! - The key's own certificate is the one that holds its public half, wherever it stood; the others
//!   follow from issuer to issuer. One that has no place is refused: a chain is never half sent.
//! - Signatures are not checked here: who trusts the root does that, and that is the token server.

use std::time::SystemTime;

use pkcs1::RsaPublicKeyRef;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use base64::engine::{Engine as _, general_purpose::STANDARD};

use crate::advice;
use crate::error::{Error, Result};

use super::der::{self, RSA, refuse};
use super::text::{Binary, decode_base64, trim};
use super::{Components, date, pem};

/// Most certificates of a chain. Norwegian enterprise certificates have two or three; the chain stands
/// in every assertion, so that a bundle of all roots given by mistake would be sent each time.
const MAXIMUM_LENGTH: usize = 8;

/// One certificate, as it was given and as it is read.
pub(super) struct Link {
    der: Vec<u8>,
    read: Certificate,
}

impl Link {
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let read = Certificate::from_der(der).ok()?;
        let der = der.to_vec();
        Some(Self { der, read })
    }

    pub(super) fn is_of(&self, key: &Components) -> bool {
        holds(self.read.tbs_certificate().subject_public_key_info(), key)
    }

    pub(super) fn names_itself(&self) -> bool {
        let read = self.read.tbs_certificate();
        read.issuer() == read.subject()
    }

    pub(super) fn is_issued_by(&self, other: &Self) -> bool {
        self.read.tbs_certificate().issuer() == other.read.tbs_certificate().subject()
    }

    fn life(&self) -> (SystemTime, SystemTime) {
        let validity = self.read.tbs_certificate().validity();
        (
            validity.not_before.to_system_time(),
            validity.not_after.to_system_time(),
        )
    }

    /// Buypass and Commfides name the authorities of their test certificates so: `Buypass Class 3
    /// Test4 CA 3`, `Commfides Legal Person - G3 CA - TEST`.
    fn is_for_test(&self) -> bool {
        let Ok(Some(name)) = self.read.tbs_certificate().issuer().common_name() else {
            return false;
        };
        name.value()
            .split(|found: char| !found.is_alphanumeric())
            .any(|word| {
                word.trim_end_matches(|end: char| end.is_ascii_digit())
                    .eq_ignore_ascii_case("test")
            })
    }
}

fn holds(public: &SubjectPublicKeyInfoOwned, key: &Components) -> bool {
    public.algorithm.oid == RSA
        && public
            .subject_public_key
            .as_bytes()
            .and_then(|der| RsaPublicKeyRef::try_from(der).ok())
            .is_some_and(|public| {
                public.modulus.as_bytes() == key.n.as_slice()
                    && public.public_exponent.as_bytes() == key.e.as_slice()
            })
}

/// Reads the certificates of a text: PEM, base64 of PEM, or base64 of one in DER.
pub(super) fn read(text: &str) -> Result<Vec<Link>> {
    let text = trim(text);
    if pem::is_in(text.as_bytes()) {
        return from_pem(text.as_bytes());
    }
    let Some(bytes) = decode_base64(text) else {
        return refuse(
            "the certificates are neither PEM nor base64",
            &advice::CERTIFICATES,
        );
    };
    if pem::is_in(&bytes) {
        return from_pem(&bytes);
    }
    match Binary::of(&bytes) {
        None | Some(Binary::Der) => {}
        Some(binary) => return Err(binary.refusal("the certificates are")),
    }
    Link::read(&bytes).map_or_else(|| Err(unreadable(1)), |link| Ok(vec![link]))
}

fn from_pem(pem: &[u8]) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    for block in pem::blocks(pem)? {
        match block.label {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                let link = block.der().ok().and_then(|der| Link::read(&der));
                links.push(link.ok_or_else(|| unreadable(links.len() + 1))?);
            }
            "PKCS7" | "CMS" => {
                return refuse(
                    "the certificates are PKCS#7, not one PEM block each",
                    &advice::PKCS7,
                );
            }
            // What else stands in the file, such as the key, is not read from here.
            _ => {}
        }
    }
    if links.is_empty() {
        return refuse("the PEM holds no certificate", &advice::CERTIFICATES);
    }
    Ok(links)
}

pub(super) fn unreadable(number: usize) -> Error {
    let message = format!("certificate {number} cannot be read");
    Error::key(message).with_advice(&advice::CERTIFICATES)
}

/// The certificates of a key, its own first.
pub(super) struct Chain {
    x5c: Vec<String>,
    lives: Vec<(SystemTime, SystemTime)>,
    is_for_test: bool,
}

impl Chain {
    /// Puts the certificates of `key` in order.
    pub(super) fn of(mut links: Vec<Link>, key: &Components) -> Result<Self> {
        // The same one twice is what joining two exports gives.
        for index in (1..links.len()).rev() {
            if links[..index]
                .iter()
                .any(|other| other.der == links[index].der)
            {
                links.remove(index);
            }
        }
        if links.len() > MAXIMUM_LENGTH {
            let message = format!(
                "{} certificates are no chain: at most {MAXIMUM_LENGTH} are sent",
                links.len()
            );
            return refuse(message, &advice::CERTIFICATES);
        }
        let mut own = links.iter().enumerate().filter(|(_, link)| link.is_of(key));
        let (Some((first, _)), None) = (own.next(), own.next()) else {
            let how_many = if links.iter().any(|link| link.is_of(key)) {
                "more than one of the certificates is for this key"
            } else {
                "none of the certificates is for this key"
            };
            return refuse(how_many, &advice::CERTIFICATE_OF_KEY);
        };
        let mut chain = vec![links.remove(first)];
        while let Some(last) = chain.last()
            && !last.names_itself()
            && let Some(next) = links.iter().position(|link| last.is_issued_by(link))
        {
            chain.push(links.remove(next));
        }
        if !links.is_empty() {
            let message = format!(
                "{} of the certificates have no place in the chain: they did not issue the one below",
                links.len()
            );
            return refuse(message, &advice::CERTIFICATES);
        }
        Ok(Self {
            x5c: chain
                .iter()
                .map(|link| STANDARD.encode(&link.der))
                .collect(),
            lives: chain.iter().map(Link::life).collect(),
            is_for_test: chain.iter().any(Link::is_for_test),
        })
    }

    pub(super) fn x5c(&self) -> &[String] {
        &self.x5c
    }

    pub(super) fn is_for_test(&self) -> bool {
        self.is_for_test
    }

    /// When the key's own certificate ends.
    pub(super) fn ends(&self) -> Option<SystemTime> {
        self.lives.first().map(|(_, end)| *end)
    }

    pub(super) fn check_dates(&self, now: SystemTime) -> Result<()> {
        for (index, (from, to)) in self.lives.iter().enumerate() {
            let which = match index {
                0 => "the key's certificate".to_owned(),
                above => format!("certificate {} of the chain", above + 1),
            };
            if now < *from {
                let message = format!("{which} is not valid before {}", date(*from));
                return der::refuse(message, &advice::KEY_DATES);
            }
            if now > *to {
                let message = format!("{which} ended on {}", date(*to));
                return der::refuse(message, &advice::KEY_DATES);
            }
        }
        Ok(())
    }
}
