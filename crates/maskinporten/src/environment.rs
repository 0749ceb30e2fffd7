//! Production, test and development side by side: authority and Altinn host.

use std::fmt;
use std::str::FromStr;

use crate::advice;
use crate::error::{Error, Result};

/// One of Digdir's environments.
///
/// When a portal or a host moves, it moves here and nowhere else. A host that is not in this table
/// is a custom authority: taken verbatim, and asked for its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Environment {
    /// Production: real organisations, production certificates only.
    Production,
    /// Test: what everybody outside Digdir tests against, joined with Altinn's TT02.
    Test,
    /// Digdir's own development environment; it is joined with no Altinn.
    Development,
}

struct Row {
    environment: Environment,
    names: &'static [&'static str],
    authority: &'static str,
    altinn_platform: Option<&'static str>,
}

/// First name first: it is the one that is printed.
const TABLE: [Row; 3] = [
    Row {
        environment: Environment::Production,
        names: &["prod", "production"],
        authority: "https://maskinporten.no/",
        altinn_platform: Some("https://platform.altinn.no"),
    },
    Row {
        environment: Environment::Test,
        names: &["test"],
        authority: "https://test.maskinporten.no/",
        altinn_platform: Some("https://platform.tt02.altinn.no"),
    },
    Row {
        environment: Environment::Development,
        names: &["dev", "development"],
        authority: "https://maskinporten.dev/",
        altinn_platform: None,
    },
];

/// Altinn hosts that take the tokens of a Maskinporten environment other than by the table above.
const ALTINN_TEST_HOST_SUFFIX: &str = ".altinn.cloud";

/// Altinn's environments of that suffix.
const ALTINN_TEST_ENVIRONMENTS: [&str; 5] = ["at21", "at22", "at23", "at24", "yt01"];

impl Environment {
    /// The issuer: also the audience of every assertion, to the last slash.
    #[must_use]
    pub fn authority(self) -> &'static str {
        self.row().authority
    }

    /// The host of Altinn's platform that takes this environment's tokens.
    #[must_use]
    pub fn altinn_platform(self) -> Option<&'static str> {
        self.row().altinn_platform
    }

    /// The environment of an authority, with or without its trailing slash.
    ///
    /// ```
    /// use maskinporten::Environment;
    ///
    /// let known = Environment::of_authority("https://test.maskinporten.no");
    /// assert_eq!(known, Some(Environment::Test));
    /// assert_eq!(Environment::of_authority("https://example.no/"), None);
    /// ```
    #[must_use]
    pub fn of_authority(authority: &str) -> Option<Self> {
        let same = |row: &&Row| {
            authority == row.authority || Some(authority) == row.authority.strip_suffix('/')
        };
        TABLE.iter().find(same).map(|row| row.environment)
    }

    /// The platform of one of Altinn's own environments: `prod`, `tt02` (or `test`), `at21` to `at24`, `yt01`.
    pub(crate) fn altinn_platform_named(name: &str) -> Option<String> {
        let name = name.trim().to_ascii_lowercase();
        match name.as_str() {
            "prod" => Self::Production.altinn_platform().map(str::to_owned),
            "tt02" | "test" => Self::Test.altinn_platform().map(str::to_owned),
            name if ALTINN_TEST_ENVIRONMENTS.contains(&name) => {
                Some(format!("https://platform.{name}{ALTINN_TEST_HOST_SUFFIX}"))
            }
            _ => None,
        }
    }

    /// The environment whose tokens an Altinn host takes, for the hosts that are known.
    pub(crate) fn of_altinn_host(host: &str) -> Option<Self> {
        let host = without_root(host).to_ascii_lowercase();
        if host.ends_with(ALTINN_TEST_HOST_SUFFIX) {
            return Some(Self::Test);
        }
        let same = |row: &&Row| {
            let known = row
                .altinn_platform
                .and_then(|known| known.strip_prefix("https://"));
            known == Some(host.as_str())
        };
        TABLE.iter().find(same).map(|row| row.environment)
    }

    /// The environment whose Maskinporten a host is, for the hosts that are known.
    pub(crate) fn of_maskinporten_host(host: &str) -> Option<Self> {
        let host = without_root(host).to_ascii_lowercase();
        Self::of_authority(&format!("https://{host}/"))
    }

    fn row(self) -> &'static Row {
        match self {
            Self::Production => &TABLE[0],
            Self::Test => &TABLE[1],
            Self::Development => &TABLE[2],
        }
    }
}

/// A host without the dot of the DNS root, which leads to the same server.
fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

impl FromStr for Environment {
    type Err = Error;

    /// Reads a short name: `prod`, `test` or `dev`, in any case.
    fn from_str(name: &str) -> Result<Self> {
        let name = name.trim().to_ascii_lowercase();
        if matches!(name.as_str(), "ver1" | "ver2") {
            let message = format!("environment {name:?} was closed in June 2024");
            return Err(Error::settings(message).with_advice(&advice::RETIRED_ENVIRONMENT));
        }
        let found = TABLE.iter().find(|row| row.names.contains(&name.as_str()));
        found.map(|row| row.environment).ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            let message = format!("{shown:?} is no environment: prod, test and dev are");
            Error::settings(message).with_advice(&advice::AUTHORITY)
        })
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().names[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_where_its_environment_looks() {
        for row in &TABLE {
            assert_eq!(row.environment.authority(), row.authority);
            assert_eq!(
                row.names[0].parse::<Environment>().unwrap(),
                row.environment
            );
        }
    }

    // Parity vector 13: the guide's mapping, `dev` among it.
    #[test]
    fn short_names_map_to_authorities() {
        let check = |name: &str, authority: &str| {
            assert_eq!(name.parse::<Environment>().unwrap().authority(), authority);
        };
        check("prod", "https://maskinporten.no/");
        check("test", "https://test.maskinporten.no/");
        check(" DEV ", "https://maskinporten.dev/");
        assert!("ver2".parse::<Environment>().is_err());
        assert!("tt02".parse::<Environment>().is_err());
    }

    #[test]
    fn altinn_hosts_belong_to_one_environment() {
        let check = |host: &str, expected| {
            assert_eq!(Environment::of_altinn_host(host), expected);
        };
        check("platform.altinn.no", Some(Environment::Production));
        check("platform.tt02.altinn.no", Some(Environment::Test));
        check("platform.at22.altinn.cloud", Some(Environment::Test));
        check("platform.yt01.altinn.cloud", Some(Environment::Test));
        check("Platform.Altinn.no.", Some(Environment::Production));
        check("platform.at22.altinn.cloud.", Some(Environment::Test));
        check("127.0.0.1", None);
        check("altinn.example.no", None);
    }
}
