//! A PKCS#12 and its password → the numbers of its key and that key's certificates (RFC 7292).
//!
//! - A library reads the structures and derives keys from the password; what is inside is decrypted as an
//!   encrypted PKCS#8 is, or by the ciphers of RFC 7292, appendix C.
//! - The integrity code is checked before anything is decrypted: it tells a wrong password for sure.
//! - A file has one private key. Its own certificate is found by its local key id or by its public key,
//!   never by its place, and those above it by who issued whom; what belongs to no key is left out.
//! - All parts of a file share the work that may be spent on one password.

use aws_lc_rs::hmac;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use cms::content_info::ContentInfo;
use cms::encrypted_data::EncryptedData;
use der_07::asn1::{Any, BmpString, ContextSpecific, ObjectIdentifier, OctetString};
use der_07::{Decode as _, Encode as _, Header, Reader as _, SliceReader};
use des::{TdesEde2, TdesEde3};
use pkcs8::AlgorithmIdentifierRef;
use pkcs12::cert_type::CertBag;
use pkcs12::kdf::{self, Pkcs12KeyType};
use pkcs12::mac_data::MacData;
use pkcs12::pbe_params::{EncryptedPrivateKeyInfo, Pkcs12PbeParams};
use pkcs12::pfx::Pfx;
use pkcs12::safe_bag::{SafeBag, SafeContents};
use rc2::Rc2;
use sha1_010::Sha1;
use sha2_010::{Sha256, Sha384, Sha512};
use zeroize::{Zeroize as _, Zeroizing};

use crate::advice;
use crate::error::{Error, Result};

use super::chain::Link;
use super::encrypted::{self, Container};
use super::{Components, Number, der};

/// Most parts of a file: a keystore of a service has a handful.
const MAXIMUM_PARTS: usize = 256;

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");

const FRIENDLY_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.20");
const LOCAL_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.21");

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// Block length of triple DES and of RC2, in bytes.
const BLOCK_LENGTH: usize = 8;

/// Longest alias that a message repeats, in characters.
const SHOWN_ALIAS: usize = 40;

/// Most aliases that a message names.
const SHOWN_ALIASES: usize = 4;

const CUT_SHORT: &str = "a part of it is cut short";

/// The key of a file, and the key's certificates. The list is empty for a file without them.
pub(super) fn read(der: &[u8], password: Option<&str>) -> Result<(Components, Vec<Link>)> {
    let mut reading = Reading {
        password: Password::new(password),
        container: Container::pkcs12(),
        keys: Vec::new(),
        certificates: Vec::new(),
        parts: 0,
    };
    for safe in reading.open(der)? {
        reading.safe(&safe)?;
    }
    reading.finish()
}

fn unreadable(why: &str) -> Error {
    Error::key(format!("the PKCS#12 cannot be read: {why}")).with_advice(&advice::PKCS12)
}

// ===== impl Reading =====

/// What was found in a file so far.
struct Reading {
    password: Password,
    container: Container,
    keys: Vec<Key>,
    certificates: Vec<Certificate>,
    parts: usize,
}

struct Key {
    pkcs8: Number,
    id: Option<Vec<u8>>,
    alias: Option<String>,
}

struct Certificate {
    link: Link,
    id: Option<Vec<u8>>,
}

impl Reading {
    /// Checks the integrity code, and gives the parts of the file.
    fn open(&mut self, der: &[u8]) -> Result<Vec<ContentInfo>> {
        let pfx = Pfx::from_der(whole(der)?);
        let pfx = pfx.map_err(|_| unreadable("it is cut short, or in BER"))?;
        if pfx.auth_safe.content_type != DATA {
            return Err(unreadable("it is protected by a key and not by a password"));
        }
        let content = octets(&pfx.auth_safe.content)?;
        if let Some(mac) = &pfx.mac_data {
            self.check(mac, &content)?;
        }
        Vec::<ContentInfo>::from_der(&content).map_err(|_| unreadable(CUT_SHORT))
    }

    /// Compares the integrity code (RFC 7292 §4).
    fn check(&mut self, mac: &MacData, content: &[u8]) -> Result<()> {
        let Some((algorithm, derive)) = digest(mac.mac.algorithm.oid) else {
            return Err(unreadable(
                "its integrity code is of a kind that is not read here",
            ));
        };
        let rounds = self.rounds(mac.iterations)?;
        let length = algorithm.digest_algorithm().output_len();
        let salt = mac.mac_salt.as_bytes();
        let is_right = |password: &Number| {
            let key = derive(password, salt, Pkcs12KeyType::Mac, rounds, length);
            let key = hmac::Key::new(algorithm, &Zeroizing::new(key));
            hmac::verify(&key, content, mac.mac.digest.as_bytes()).is_ok()
        };
        if !self.password.settle(is_right) {
            return Err(self.password.refusal());
        }
        Ok(())
    }

    fn safe(&mut self, safe: &ContentInfo) -> Result<()> {
        self.count()?;
        let contents = match safe.content_type {
            DATA => octets(&safe.content)?,
            ENCRYPTED_DATA => {
                let data: EncryptedData = safe.content.decode_as().map_err(cut_short)?;
                let data = data.enc_content_info;
                let Some(encrypted) = data.encrypted_content else {
                    return Ok(());
                };
                self.decrypt(&data.content_enc_alg, encrypted.as_bytes())?
            }
            _ => return Err(unreadable("a part of it is not encrypted by a password")),
        };
        // Padding can be right by chance: where there was no integrity code, a wrong password shows here.
        let bags = SafeContents::from_der(&contents);
        let mut bags = bags.map_err(|_| self.password.refusal())?;
        let outcome = bags.iter().try_for_each(|bag| self.bag(bag));
        bags.iter_mut().for_each(|bag| bag.bag_value.zeroize());
        outcome
    }

    fn bag(&mut self, bag: &SafeBag) -> Result<()> {
        self.count()?;
        let value = bag.bag_value.as_slice();
        match bag.bag_id {
            pkcs12::PKCS_12_KEY_BAG_OID => {
                let value = ContextSpecific::<Any>::from_der(value)
                    .map_err(cut_short)?
                    .value;
                let pkcs8 = Zeroizing::new(value.to_der().map_err(cut_short)?);
                self.key(pkcs8, bag);
            }
            pkcs12::PKCS_12_PKCS8_KEY_BAG_OID => {
                let value = ContextSpecific::<EncryptedPrivateKeyInfo>::from_der(value);
                let value = value.map_err(cut_short)?.value;
                let encrypted = value.encrypted_data.as_bytes();
                let pkcs8 = self.decrypt(&value.encryption_algorithm, encrypted)?;
                if !der::is_pkcs8(&pkcs8) {
                    return Err(self.password.refusal());
                }
                self.key(pkcs8, bag);
            }
            pkcs12::PKCS_12_CERT_BAG_OID => {
                let value = ContextSpecific::<CertBag>::from_der(value)
                    .map_err(cut_short)?
                    .value;
                if value.cert_id == pkcs12::PKCS_12_X509_CERT_OID
                    && let Some(link) = Link::read(value.cert_value.as_bytes())
                {
                    let id = local_key_id(bag);
                    self.certificates.push(Certificate { link, id });
                }
            }
            // Revocation lists, and secrets of other kinds.
            _ => {}
        }
        Ok(())
    }

    fn key(&mut self, pkcs8: Number, bag: &SafeBag) {
        self.keys.push(Key {
            pkcs8,
            id: local_key_id(bag),
            alias: alias(bag),
        });
    }

    fn count(&mut self) -> Result<()> {
        self.parts += 1;
        if self.parts > MAXIMUM_PARTS {
            return Err(unreadable("it has too many parts"));
        }
        Ok(())
    }

    /// Rounds of a derivation that is about to be done, taken from those that are left.
    fn rounds(&mut self, asked: i32) -> Result<i32> {
        self.container.spend(asked.into(), "its digest")?;
        Ok(asked)
    }

    fn decrypt(
        &mut self,
        algorithm: &AlgorithmIdentifierOwned,
        encrypted: &[u8],
    ) -> Result<Number> {
        type Decrypt = fn(&[u8], &[u8], &[u8]) -> Option<Number>;

        let (length, decrypt): (usize, Decrypt) = match algorithm.oid {
            pkcs12::PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC => {
                (24, encrypted::decrypt_blocks::<TdesEde3>)
            }
            pkcs12::PKCS_12_PBE_WITH_SHAAND2_KEY_TRIPLE_DES_CBC => {
                (16, encrypted::decrypt_blocks::<TdesEde2>)
            }
            pkcs12::PKCS_12_PBE_WITH_SHAAND128_BIT_RC2_CBC => {
                (16, encrypted::decrypt_blocks::<Rc2>)
            }
            pkcs12::PKCS_12_PBEWITH_SHAAND40_BIT_RC2_CBC => (5, encrypted::decrypt_blocks::<Rc2>),
            _ => {
                // The other generation of the same library reads it.
                let der = algorithm.to_der().map_err(cut_short)?;
                let algorithm = AlgorithmIdentifierRef::try_from(der.as_slice());
                let algorithm = algorithm.map_err(|_| unreadable(CUT_SHORT))?;
                let password = Some(self.password.text());
                return encrypted::decrypt(algorithm, encrypted, password, &mut self.container)
                    .map_err(|error| self.password.or_missing(error));
            }
        };
        let parameters: Option<Pkcs12PbeParams> = algorithm
            .parameters
            .as_ref()
            .and_then(|found| found.decode_as().ok());
        let parameters = parameters.ok_or_else(|| unreadable(CUT_SHORT))?;
        let rounds = self.rounds(parameters.iterations)?;
        let salt = parameters.salt.as_bytes();
        let derive = |password: &Number, kind, length| {
            Zeroizing::new(kdf::derive_key::<Sha1>(
                password, salt, kind, rounds, length,
            ))
        };
        let plain = self.password.candidates().find_map(|password| {
            let key = derive(password, Pkcs12KeyType::EncryptionKey, length);
            let iv = derive(password, Pkcs12KeyType::Iv, BLOCK_LENGTH);
            decrypt(&key, &iv, encrypted)
        });
        plain.ok_or_else(|| self.password.refusal())
    }

    /// The one RSA key, and the certificates that belong to it.
    fn finish(self) -> Result<(Components, Vec<Link>)> {
        let mut found: Vec<(Components, &Key)> = Vec::new();
        let mut not_rsa = None;
        for key in &self.keys {
            match der::from_pkcs8(&key.pkcs8) {
                Ok(numbers) if found.iter().any(|(other, _)| other.n == numbers.n) => {}
                Ok(numbers) => found.push((numbers, key)),
                Err(error) => not_rsa = not_rsa.or(Some(error)),
            }
        }
        if found.len() > 1 {
            return Err(several(&found));
        }
        match (found.pop(), not_rsa) {
            (Some((numbers, key)), _) => {
                let id = key.id.clone();
                let links = belonging(self.certificates, &numbers, id.as_deref());
                Ok((numbers, links))
            }
            (None, Some(error)) => Err(error),
            (None, None) => {
                let message = "the PKCS#12 holds no private key";
                Err(Error::key(message).with_advice(&advice::PKCS12_NO_KEY))
            }
        }
    }
}

fn several(keys: &[(Components, &Key)]) -> Error {
    let mut message = format!("the PKCS#12 holds {} private keys", keys.len());
    let aliases = keys.iter().filter_map(|(_, key)| key.alias.as_deref());
    let aliases: Vec<&str> = aliases.take(SHOWN_ALIASES).collect();
    if !aliases.is_empty() {
        message.push_str(&format!(", with the aliases {}", aliases.join(", ")));
    }
    Error::key(message).with_advice(&advice::PKCS12_KEYS)
}

/// The key's own certificate and those above it, by who issued whom.
fn belonging(found: Vec<Certificate>, key: &Components, id: Option<&[u8]>) -> Vec<Link> {
    let (mut own, mut others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|certificate| certificate.link.is_of(key));
    // A renewed certificate may stand next to the old one: the id tells which is in use.
    if id.is_some()
        && own
            .iter()
            .any(|certificate| certificate.id.as_deref() == id)
    {
        own.retain(|certificate| certificate.id.as_deref() == id);
    }
    let mut chain: Vec<Link> = own
        .into_iter()
        .map(|certificate| certificate.link)
        .collect();
    while let Some(last) = chain.last()
        && !last.names_itself()
        && let Some(next) = others
            .iter()
            .position(|other| last.is_issued_by(&other.link))
    {
        chain.push(others.swap_remove(next).link);
    }
    chain
}

// ===== impl Password =====

/// The password of a file, in the forms that keys are derived from.
struct Password {
    is_given: bool,
    text: Zeroizing<String>,
    /// UTF-16 with two zero bytes behind it (RFC 7292, appendix B.1). Of an empty one OpenSSL takes the zero
    /// bytes and Windows nothing; which of them a file was made with is found out.
    forms: Vec<Number>,
}

impl Password {
    fn new(password: Option<&str>) -> Self {
        let text = Zeroizing::new(password.unwrap_or_default().to_owned());
        // Room for all of it, so that no half-made copy is left behind when it grows.
        let mut form = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
        for unit in text.encode_utf16().chain([0]) {
            form.extend_from_slice(&unit.to_be_bytes());
        }
        let mut forms = vec![form];
        if text.is_empty() {
            forms.push(Number::default());
        }
        Self {
            is_given: password.is_some(),
            text,
            forms,
        }
    }

    /// As PBES2 takes it.
    fn text(&self) -> &str {
        &self.text
    }

    fn candidates(&self) -> impl Iterator<Item = &Number> {
        self.forms.iter()
    }

    /// Keeps the form that is right, and tells whether one is.
    fn settle(&mut self, is_right: impl Fn(&Number) -> bool) -> bool {
        self.forms.retain(is_right);
        !self.forms.is_empty()
    }

    fn refusal(&self) -> Error {
        if self.is_given {
            return encrypted::wrong_password();
        }
        Error::key("the PKCS#12 is encrypted and no password is given")
            .with_advice(&advice::KEY_PASSWORD_MISSING)
    }

    /// The same error, unless it says that a password is wrong which was never given.
    fn or_missing(&self, error: Error) -> Error {
        let is_wrong = error
            .advice()
            .is_some_and(|found| std::ptr::eq(found, &advice::KEY_PASSWORD_WRONG));
        if is_wrong { self.refusal() } else { error }
    }
}

// ===== what the structures hold =====

type Derive = fn(&[u8], &[u8], Pkcs12KeyType, i32, usize) -> Vec<u8>;

fn digest(oid: ObjectIdentifier) -> Option<(hmac::Algorithm, Derive)> {
    Some(match oid {
        SHA1 => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, kdf::derive_key::<Sha1>),
        SHA256 => (hmac::HMAC_SHA256, kdf::derive_key::<Sha256>),
        SHA384 => (hmac::HMAC_SHA384, kdf::derive_key::<Sha384>),
        SHA512 => (hmac::HMAC_SHA512, kdf::derive_key::<Sha512>),
        _ => return None,
    })
}

/// The file without what editors and copies leave behind it.
fn whole(der: &[u8]) -> Result<&[u8]> {
    let length = SliceReader::new(der).and_then(|mut reader| {
        let header = Header::decode(&mut reader)?;
        reader.position() + header.length
    });
    let length = length.and_then(usize::try_from).ok();
    match length.and_then(|length| der.split_at_checked(length)) {
        Some((whole, rest)) if rest.iter().all(u8::is_ascii_whitespace) => Ok(whole),
        Some(_) => Err(unreadable("other bytes follow it")),
        None => Ok(der),
    }
}

fn cut_short(_: der_07::Error) -> Error {
    unreadable(CUT_SHORT)
}

fn octets(content: &Any) -> Result<Number> {
    let octets: OctetString = content.decode_as().map_err(cut_short)?;
    Ok(Zeroizing::new(octets.into_bytes()))
}

fn attribute(bag: &SafeBag, oid: ObjectIdentifier) -> Option<&Any> {
    let attributes = bag.bag_attributes.as_ref()?;
    let found = attributes.iter().find(|attribute| attribute.oid == oid)?;
    found.values.get(0)
}

fn local_key_id(bag: &SafeBag) -> Option<Vec<u8>> {
    let id: OctetString = attribute(bag, LOCAL_KEY_ID)?.decode_as().ok()?;
    Some(id.into_bytes())
}

/// The name that people know an entry by, fit for a message.
fn alias(bag: &SafeBag) -> Option<String> {
    let name: BmpString = attribute(bag, FRIENDLY_NAME)?.decode_as().ok()?;
    let shown = |found: char| if found.is_control() { '?' } else { found };
    Some(name.chars().take(SHOWN_ALIAS).map(shown).collect())
}
