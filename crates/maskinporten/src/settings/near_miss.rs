//! Names that are nearly ours: set by a person who meant one of ours, and never read.
//!
//! One table serves both shapes, `MASKINPORTEN_…` and the members of a settings section. Names are compared
//! without case, `_` and `-`, so that one row is `MASKINPORTEN_KEY_ID`, `KeyId` and `keyid`. What stands
//! under such a name is never shown: it may be a key.

use std::fmt;

use crate::advice;
use crate::error::{Error, ErrorKind};

use super::values::Section;
use super::{digdirator, draft};

/// Something that settings say, and its name in either shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Authority,
    ClientId,
    Key,
    KeyInBase64,
    KeyFile,
    KeyPassword,
    Kid,
    Certificate,
    TokenEndpoint,
    Metadata,
    Scopes,
    ConsumerOrg,
    Resource,
    Permits,
    QueueTimeout,
}

use Setting::{
    Authority, Certificate, ClientId, ConsumerOrg, Key, KeyFile, KeyInBase64, KeyPassword, Kid,
    Metadata, Permits, QueueTimeout, Resource, Scopes, TokenEndpoint,
};

/// Names as people write them, and what they mean. A row that is a name of a shape counts in the other
/// shape only.
const TABLE: [(&str, Setting); 85] = [
    ("AUD", Authority),
    ("AUDIENCE", Authority),
    ("AUTHORITY", Authority),
    ("AUTHORITY_URL", Authority),
    ("ENV", Authority),
    ("ENVIRONMENT", Authority),
    ("ISS", Authority),
    ("ISSUER", Authority),
    ("ISSUER_URI", Authority),
    ("ISSUER_URL", Authority),
    ("CLIENT_ID", ClientId),
    ("CLIENT_IDENTIFIER", ClientId),
    ("INTEGRATION_ID", ClientId),
    ("CLIENT_JWK", Key),
    ("CLIENT_KEY", Key),
    ("CLIENT_PRIVATE_JWK", Key),
    ("CLIENT_PRIVATE_KEY", Key),
    ("JWK", Key),
    ("JWKS", Key),
    ("KEY", Key),
    ("PRIVATE_JWK", Key),
    ("PRIVATE_KEY", Key),
    ("PRIVATE_KEY_JWK", Key),
    ("RSA_PRIVATE_KEY", Key),
    ("SIGNING_KEY", Key),
    ("BASE64_JWK", KeyInBase64),
    ("CLIENT_JWK_BASE64", KeyInBase64),
    ("ENCODED_JWK", KeyInBase64),
    ("JWK_B64", KeyInBase64),
    ("JWK_BASE64", KeyInBase64),
    ("PRIVATE_KEY_BASE64", KeyInBase64),
    ("JWK_FILE", KeyFile),
    ("JWK_PATH", KeyFile),
    ("KEY_FILE", KeyFile),
    ("KEY_PATH", KeyFile),
    ("PEM", KeyFile),
    ("PEM_FILE", KeyFile),
    ("PEM_PATH", KeyFile),
    ("PRIVATE_KEY_FILE", KeyFile),
    ("PRIVATE_KEY_PATH", KeyFile),
    ("PRIVATE_KEY_PEM", KeyFile),
    ("KEY_PASSPHRASE", KeyPassword),
    ("KEY_PASSWORD", KeyPassword),
    ("PASSPHRASE", KeyPassword),
    ("PASSWORD", KeyPassword),
    ("PEM_PASSWORD", KeyPassword),
    ("PRIVATE_KEY_PASSWORD", KeyPassword),
    ("CLIENT_KEY_ID", Kid),
    ("JWK_KID", Kid),
    ("KEY_ID", Kid),
    ("KEY_IDENTIFIER", Kid),
    ("KID", Kid),
    ("CERT", Certificate),
    ("CERT_FILE", Certificate),
    ("CERTIFICATE", Certificate),
    ("CERTIFICATE_CHAIN", Certificate),
    ("CERTIFICATE_FILE", Certificate),
    ("CERTIFICATE_PATH", Certificate),
    ("TOKEN_ENDPOINT", TokenEndpoint),
    ("TOKEN_URI", TokenEndpoint),
    ("TOKEN_URL", TokenEndpoint),
    ("METADATA_URL", Metadata),
    ("WELL_KNOWN", Metadata),
    ("WELL_KNOWN_URL", Metadata),
    ("SCOPE", Scopes),
    ("SCOPES", Scopes),
    ("CONSUMER", ConsumerOrg),
    ("CONSUMER_ORG", ConsumerOrg),
    ("CONSUMER_ORG_NO", ConsumerOrg),
    ("CONSUMER_ORG_NUMBER", ConsumerOrg),
    ("ON_BEHALF_OF", ConsumerOrg),
    ("ORG_NO", ConsumerOrg),
    ("RESOURCE", Resource),
    ("RESOURCES", Resource),
    ("RESOURCE_URI", Resource),
    ("CONCURRENT_FETCHES", Permits),
    ("FETCH_CONCURRENCY", Permits),
    ("MAX_CONCURRENCY", Permits),
    ("MAX_CONCURRENT_FETCHES", Permits),
    ("MAX_CONCURRENT_REQUESTS", Permits),
    ("MAX_FETCHES", Permits),
    ("FETCH_QUEUE_TIMEOUT", QueueTimeout),
    ("FETCH_QUEUE_TIMEOUT_SECONDS", QueueTimeout),
    ("FETCH_TIMEOUT", QueueTimeout),
    ("QUEUE_TIMEOUT", QueueTimeout),
];

/// Rows that count in the shape `MASKINPORTEN_…` only: in a section such names are often of something else.
const NOT_IN_SECTION: [&str; 9] = [
    "CONSUMER",
    "FETCH_TIMEOUT",
    "MAX_CONCURRENCY",
    "ORG_NO",
    "QUEUE_TIMEOUT",
    "RESOURCES",
    "RESOURCE_URI",
    "TOKEN_URI",
    "TOKEN_URL",
];

/// Longer than any row in any spelling.
const LONGEST: usize = 40;

impl Setting {
    fn named(name: &str) -> Option<Self> {
        if name.len() > LONGEST {
            return None;
        }
        let found = TABLE.iter().find(|(known, _)| is_same(known, name));
        found.map(|(_, setting)| *setting)
    }

    /// The same for the name of a member of a section.
    fn named_in_section(name: &str) -> Option<Self> {
        let is_left = |name: &str| NOT_IN_SECTION.iter().any(|row| is_same(row, name));
        Self::named(name).filter(|_| !draft::is_own(name) && !is_left(name))
    }

    /// Its name among those of digdirator.
    pub(super) fn in_variables(self) -> &'static str {
        use super::names;
        match self {
            Authority => names::AUTHORITIES[0],
            ClientId => names::CLIENT_ID,
            Key | KeyInBase64 => names::CLIENT_JWK,
            KeyFile => names::KEY_FILE,
            KeyPassword => names::KEY_PASSWORD,
            Kid => names::KID,
            Certificate => names::CERTIFICATE_FILE,
            TokenEndpoint => names::TOKEN_ENDPOINT,
            Metadata => names::WELL_KNOWN_URL,
            Scopes => names::SCOPES,
            ConsumerOrg => names::CONSUMER_ORGS[0],
            Resource => names::RESOURCES[0],
            Permits => names::MAX_CONCURRENT_FETCHES,
            QueueTimeout => names::FETCH_QUEUE_TIMEOUT,
        }
    }

    /// Its name in a settings section, which holds keys and certificates and never their paths.
    pub(super) fn in_section(self) -> &'static str {
        match self {
            Authority | Metadata => "Authority",
            ClientId => "ClientId",
            Key => "Jwk",
            KeyInBase64 => "JwkBase64",
            KeyFile => "Pem",
            KeyPassword => "KeyPassword",
            Kid => "Kid",
            Certificate => "Certificate",
            TokenEndpoint => "TokenEndpoint",
            Scopes => "Scopes",
            ConsumerOrg => draft::CONSUMER_ORGS[0],
            Resource => draft::RESOURCES[0],
            Permits => draft::MAX_CONCURRENT_FETCHES,
            QueueTimeout => draft::FETCH_QUEUE_TIMEOUT,
        }
    }

    pub(super) fn is_key(self) -> bool {
        matches!(self, Key | KeyInBase64 | KeyFile)
    }

    /// Whether a key that cannot be used for this reason may lack it.
    pub(super) fn is_lacked_by(self, error: &Error) -> bool {
        let is_of_password = error
            .advice()
            .is_some_and(|found| std::ptr::eq(found, &advice::KEY_PASSWORD_MISSING));
        match self {
            KeyPassword => is_of_password,
            Kid | Certificate => error.kind() == ErrorKind::Key && !is_of_password,
            _ => false,
        }
    }

    /// Whether it is no part of credentials, and counts in either shape: whom a token is for, and the limits of
    /// the fetch queue.
    fn is_of_either_shape(self) -> bool {
        matches!(self, ConsumerOrg | Resource | Permits | QueueTimeout)
    }

    /// Whether it is a part of credentials, so that a place that has it alone was meant to hold them.
    fn is_credential(self) -> bool {
        !self.is_of_either_shape() && self != Scopes
    }
}

/// A name that is set and never read, and the one that was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NearMiss {
    pub(super) name: String,
    pub(super) meant: String,
    pub(super) setting: Setting,
    /// Whether the name may as well be of something else, so that it is told only where a key cannot be used for
    /// the lack of it.
    pub(super) is_doubtful: bool,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is set and not read: is {} meant?",
            self.name, self.meant
        )
    }
}

impl NearMiss {
    /// The same for a description.
    pub(crate) fn described(&self) -> impl fmt::Display {
        format!("{} (is {} meant?)", self.name, self.meant)
    }

    /// Warns of it; `source` is where it was found.
    pub(crate) fn warn(&self, source: &str) {
        tracing::warn!(
            target: "maskinporten::settings",
            name = self.name,
            meant = self.meant,
            source,
            "a name like one of the settings is set and not read: rename it if it is the one that is meant"
        );
    }
}

/// The near misses of one place, until it is known which of the right names are given.
#[derive(Debug, Default)]
pub(super) struct NearMisses(Vec<NearMiss>);

impl NearMisses {
    /// Those among names that have the shape `MASKINPORTEN_…`. Names of other shapes are left alone.
    pub(super) fn in_variables<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let near = names.filter_map(|name| {
            let setting = near_miss_in_variables(name)?;
            Some(NearMiss {
                name: name.to_owned(),
                meant: setting.in_variables().to_owned(),
                setting,
                is_doubtful: setting == KeyPassword,
            })
        });
        Self(near.collect())
    }

    /// Those among the values of a section.
    pub(super) fn in_section(section: &Section) -> Self {
        let near = section.names().filter_map(|(member, name)| {
            let setting = Setting::named_in_section(member)?;
            Some(NearMiss {
                name: section.quoted(name),
                meant: section.spelled(setting.in_section()),
                setting,
                is_doubtful: matches!(setting, KeyPassword | Certificate),
            })
        });
        Self(near.collect())
    }

    /// Whether one of them was to be a part of credentials.
    pub(super) fn has_credentials(&self) -> bool {
        let mut certain = self.0.iter().filter(|near| !near.is_doubtful);
        certain.any(|near| near.setting.is_credential())
    }

    /// Leaves out those whose right name is given too: they are another program's.
    pub(super) fn without_given(mut self, is_given: impl Fn(Setting) -> bool) -> Self {
        self.0.retain(|near| !is_given(near.setting));
        self
    }

    /// Adds each of them to what is `missing`: as a note on the item that was meant, or as a further item.
    pub(super) fn explain(&self, missing: &mut Vec<String>) {
        for near in self.0.iter().filter(|near| !near.is_doubtful) {
            let note = format!(
                "{} is set and not read; rename it if it is meant",
                near.name
            );
            // The issuer is what is missing where the address of the metadata could tell it.
            let meant = match near.meant.as_str() {
                _ if near.setting.is_key() => "a key",
                meant if meant == Metadata.in_variables() => Authority.in_variables(),
                meant => meant,
            };
            let of_near = |item: &&mut String| item.split(" (").next() == Some(meant);
            match missing.iter_mut().find(of_near) {
                Some(item) => match item.strip_suffix(')').map(str::to_owned) {
                    Some(open) => *item = format!("{open}; {note})"),
                    None => item.push_str(&format!(" ({note})")),
                },
                None => missing.push(format!("{} ({note})", near.meant)),
            }
        }
    }

    /// Those that count in either shape, of this shape and of the other.
    pub(super) fn of_either_shape(self, other: Self) -> Self {
        let all = self.0.into_iter().chain(other.0);
        Self(
            all.filter(|near| near.setting.is_of_either_shape())
                .collect(),
        )
    }

    pub(super) fn into_vec(self) -> Vec<NearMiss> {
        self.0
    }
}

/// Whether a name is a near miss of the shape `MASKINPORTEN_…`, and of what.
fn near_miss_in_variables(name: &str) -> Option<Setting> {
    const PREFIX: &str = "MASKINPORTEN_";

    let start = name.get(..PREFIX.len())?;
    let rest = &name[PREFIX.len()..];
    let is_of_shape = start.eq_ignore_ascii_case(PREFIX) && !digdirator::is_own(name);
    // Not a section's: `MaskinportenSettings__…` has no `_` there, but its like may.
    if !is_of_shape || name.contains("__") {
        return None;
    }
    Setting::named(rest)
}

/// Whether two names are the same but for what their writers differ in.
fn is_same(one: &str, other: &str) -> bool {
    letters(one).eq(letters(other))
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    let letters = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
    letters.map(|byte| byte.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use crate::secret::Secret;

    use super::*;

    #[test]
    fn a_row_stands_once_and_leads_to_names_that_are_read() {
        for (at, (name, setting)) in TABLE.iter().enumerate() {
            assert!(digdirator::is_own(setting.in_variables()), "{name}");
            assert!(draft::is_own(setting.in_section()), "{name}");
            let again = TABLE.iter().skip(at + 1).any(|(other, _)| other == name);
            assert!(!again, "{name}");
        }
    }

    #[test]
    fn a_name_counts_in_the_shape_that_does_not_read_it() {
        let in_variables = |name: &str| near_miss_in_variables(name).map(Setting::in_variables);
        let check = |name: &str, meant: &str| assert_eq!(in_variables(name), Some(meant), "{name}");
        check("MASKINPORTEN_KEY_ID", "MASKINPORTEN_KID");
        check("MASKINPORTEN_KEYID", "MASKINPORTEN_KID");
        check("maskinporten_client_id", "MASKINPORTEN_CLIENT_ID");
        check("MASKINPORTEN_ISSUER_URL", "MASKINPORTEN_ISSUER");
        for read in [
            "MASKINPORTEN_ISSUER",
            "MASKINPORTEN_ENV",
            "MASKINPORTEN_RESOURCE",
        ] {
            assert_eq!(in_variables(read), None, "{read}");
        }
        for other in [
            "KEY_ID",
            "MASKINPORTEN_",
            "MASKINPORTEN_ENABLED",
            "MASKINPORTEN__KEY__ID",
            "maskinporten__ClientId",
        ] {
            assert_eq!(in_variables(other), None, "{other}");
        }

        let in_section = |name: &str| {
            let values = [(format!("Section:{name}"), Secret::from("any"))];
            let section = Section::of_values(&values, "Section", ":", "a place");
            let near = NearMisses::in_section(&section);
            near.into_vec().pop().map(|near| near.meant)
        };
        let check = |name: &str, meant: &str| assert_eq!(in_section(name).unwrap(), meant);
        check("KeyId", "Section:Kid");
        check("Issuer", "Section:Authority");
        check("encodedJwk", "Section:JwkBase64");
        check("client_id", "Section:ClientId");
        for read in ["authority", "Jwks", "KEYPASSWORD", "ConsumerOrgNo"] {
            assert_eq!(in_section(read), None, "{read}");
        }
    }

    #[test]
    fn a_near_miss_stands_with_what_it_was_to_be() {
        let names = [
            "MASKINPORTEN_CLIENTID",
            "MASKINPORTEN_PRIVATE_KEY",
            "MASKINPORTEN_KEY_ID",
        ];
        let mut missing = vec![
            "MASKINPORTEN_CLIENT_ID".to_owned(),
            "a key (MASKINPORTEN_CLIENT_JWK or MASKINPORTEN_KEY_FILE)".to_owned(),
        ];
        NearMisses::in_variables(names.into_iter()).explain(&mut missing);
        assert_eq!(
            missing,
            [
                "MASKINPORTEN_CLIENT_ID (MASKINPORTEN_CLIENTID is set and not read; rename it if it is meant)",
                "a key (MASKINPORTEN_CLIENT_JWK or MASKINPORTEN_KEY_FILE; MASKINPORTEN_PRIVATE_KEY is set and \
                 not read; rename it if it is meant)",
                "MASKINPORTEN_KID (MASKINPORTEN_KEY_ID is set and not read; rename it if it is meant)",
            ]
        );
    }
}
