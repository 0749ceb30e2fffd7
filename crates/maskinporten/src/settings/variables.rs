//! The environment variables that are ours: read once, wiped when dropped.

use std::ffi::OsString;

use crate::advice;
use crate::error::{Error, Result};
use crate::key::blocks_alone;
use crate::secret::Secret;

use super::names::PREFIXES;
use super::values;

/// Variables by name. A blank one counts as not set: a deployment often empties what it cannot remove.
#[derive(Debug)]
pub(super) struct Variables(Vec<(String, Secret)>);

impl Variables {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that reads the environment"
    )]
    pub(super) fn of_process(section: &str) -> Result<Self> {
        Self::of(std::env::vars_os(), section)
    }

    /// Takes those that are ours. One of them that is not UTF-8 is an error: read lossily it would
    /// be another value, and left out it would be missed.
    fn of(vars: impl IntoIterator<Item = (OsString, OsString)>, section: &str) -> Result<Self> {
        let own = values::levels(section).join("__").to_ascii_lowercase();
        let mut found = Vec::new();
        for (name, value) in vars {
            let Some(name) = name.to_str() else {
                continue;
            };
            let lower = name.to_ascii_lowercase();
            let is_own = !own.is_empty() && lower.starts_with(&own);
            if !is_own && !PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
                continue;
            }
            // The text around a PEM may be of another encoding, and does not count.
            let value = match value.into_string() {
                Ok(value) => value,
                Err(value) => match blocks_alone(value.as_encoded_bytes()) {
                    Some(pem) => pem.as_str().to_owned(),
                    None => {
                        let message = format!("the variable {name} is not UTF-8 text");
                        return Err(Error::settings(message).with_advice(&advice::VARIABLE));
                    }
                },
            };
            found.push((name.to_owned(), value));
        }
        Ok(Self::new(found))
    }

    pub(super) fn new(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        let secret = |(name, value): (String, String)| (name, Secret::from(value));
        let blank = |(_, value): &(String, Secret)| value.expose().trim().is_empty();
        let mut variables: Vec<_> = vars.into_iter().map(secret).collect();
        variables.retain(|variable| !blank(variable));
        Self(variables)
    }

    /// The variable of exactly this name.
    pub(super) fn get(&self, name: &str) -> Option<&Secret> {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value)
    }

    /// The variable of this name in any case, as .NET reads its own.
    ///
    /// # Errors
    ///
    /// Where it stands in two cases with two values.
    pub(super) fn get_in_any_case(&self, name: &str) -> Result<Option<&Secret>> {
        let mut found = self
            .0
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let Some((first, value)) = found.next() else {
            return Ok(None);
        };
        if let Some((other, _)) = found.find(|(_, other)| other != value) {
            let message = format!("the variables {first} and {other} are one and differ");
            return Err(Error::settings(message).with_advice(&advice::VARIABLE));
        }
        Ok(Some(value))
    }

    /// All of them.
    pub(super) fn all(&self) -> &[(String, Secret)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_an_error_where_the_name_is_ours() {
        use std::os::unix::ffi::OsStringExt as _;

        let broken = || OsString::from_vec(vec![b'a', 0xff]);
        let foreign = (OsString::from("PATH"), broken());
        let unnamed = (broken(), broken());
        assert!(Variables::of([foreign, unnamed], "x").is_ok());
        let ours = (OsString::from("MaskinportenSettings__ClientId"), broken());
        let error = Variables::of([ours], "x").err().unwrap();
        assert!(error.to_string().contains("MaskinportenSettings__ClientId"));
    }

    #[cfg(unix)]
    #[test]
    fn a_pem_is_read_where_the_text_around_it_is_not_utf8() {
        use std::os::unix::ffi::OsStringExt as _;

        let pem = b"name: \xe6\xf8\xe5\n-----BEGIN X-----\nAA\n-----END X-----\n\xff";
        let name = OsString::from("MaskinportenSettings__Pem");
        let variables = Variables::of([(name, OsString::from_vec(pem.to_vec()))], "x").unwrap();
        let value = variables.get("MaskinportenSettings__Pem").unwrap();
        assert_eq!(value.expose(), "-----BEGIN X-----\nAA\n-----END X-----\n");
    }

    #[test]
    fn a_name_in_two_cases_is_one_variable() {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let get = |vars| {
            let variables = Variables::new(vars);
            let value = variables.get_in_any_case("A__B")?;
            Ok::<_, Error>(value.map(|value| value.expose().to_owned()))
        };
        let same = get([variable("a__b", "1"), variable("A__b", "1")]);
        assert_eq!(same.unwrap().as_deref(), Some("1"));
        assert!(get([variable("a__b", "1"), variable("A__B", "2")]).is_err());
        let blank = get([variable("a__b", " "), variable("A__B", "2")]);
        assert_eq!(blank.unwrap().as_deref(), Some("2"));
    }
}
