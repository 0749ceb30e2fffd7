//! Typed `authorization_details` (RFC 9396): a system user, a consent.

use std::fmt;

use serde_json::{Map, Value, json};

use super::short_text::ShortText;
use crate::advice;
use crate::error::{Error, Result};
use crate::organisation::OrganisationNumber;

/// A customer's system user in Altinn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SystemUser {
    organisation: OrganisationNumber,
    external_ref: Option<ShortText>,
}

impl SystemUser {
    /// The system user of an organisation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where it is no organisation number.
    pub fn new<O>(organisation: O) -> Result<Self>
    where
        O: TryInto<OrganisationNumber>,
        Error: From<O::Error>,
    {
        Ok(Self {
            organisation: organisation.try_into()?,
            external_ref: None,
        })
    }

    /// The reference it was made with: needed where the customer has several system users on the
    /// system, or where the one it has was made with a reference. Blank text means none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where it is over 255 characters or holds
    /// another than a letter from a to å, a digit, `_` or `-`: Maskinporten answers MP-302 to those.
    pub fn external_ref(mut self, reference: impl AsRef<str>) -> Result<Self> {
        let reference = reference.as_ref().trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-æøåÆØÅ".contains(c);
        if reference.chars().count() > 255 || !reference.chars().all(allowed) {
            let shown: String = reference.chars().take(40).collect();
            let message = format!("{shown:?} is no external reference");
            return Err(Error::request(message).with_advice(&advice::EXTERNAL_REF));
        }
        self.external_ref = (!reference.is_empty()).then(|| ShortText::new(reference));
        Ok(self)
    }

    pub(super) fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        details.insert("type".into(), "urn:altinn:systemuser".into());
        details.insert(
            "systemuser_org".into(),
            json!({"authority": "iso6523-actorid-upis", "ID": self.organisation.iso6523()}),
        );
        if let Some(reference) = &self.external_ref {
            details.insert("externalRef".into(), reference.as_str().into());
        }
        details
    }
}

/// A consent given in Altinn.
#[derive(Clone, PartialEq, Eq)]
pub struct Consent {
    id: String,
    from: String,
}

impl Consent {
    /// A consent given by an organisation; `id` is the consent's UUID.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where one of them cannot be that.
    pub fn from_organisation<O>(id: impl AsRef<str>, organisation: O) -> Result<Self>
    where
        O: TryInto<OrganisationNumber>,
        Error: From<O::Error>,
    {
        let organisation = organisation.try_into()?;
        let from = format!("urn:altinn:organization:identifier-no:{organisation}");
        Self::new(id.as_ref(), from)
    }

    /// A consent given by a person, named by eleven digits; `id` is the consent's UUID.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where one of them cannot be that.
    pub fn from_person(id: impl AsRef<str>, person: impl AsRef<str>) -> Result<Self> {
        let person = person.as_ref().trim();
        if person.len() != 11 || !person.bytes().all(|byte| byte.is_ascii_digit()) {
            // Not echoed: a mistyped one is a person's number all the same.
            let message = "the person of a consent is named by eleven digits";
            return Err(Error::request(message).with_advice(&advice::AUTHORIZATION_DETAILS));
        }
        let from = format!("urn:altinn:person:identifier-no:{person}");
        Self::new(id.as_ref(), from)
    }

    fn new(id: &str, from: String) -> Result<Self> {
        let id = id.trim();
        let shape = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        if id.len() != 36 || !id.bytes().enumerate().all(shape) {
            let message = "the id of a consent is a UUID";
            return Err(Error::request(message).with_advice(&advice::AUTHORIZATION_DETAILS));
        }
        Ok(Self {
            id: id.to_owned(),
            from,
        })
    }

    pub(super) fn into_details(self) -> Map<String, Value> {
        let mut details = Map::new();
        details.insert("type".into(), "urn:altinn:consent".into());
        details.insert("id".into(), self.id.into());
        details.insert("from".into(), self.from.into());
        details
    }
}

impl fmt::Debug for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Consent");
        out.field("id", &self.id).finish_non_exhaustive()
    }
}
