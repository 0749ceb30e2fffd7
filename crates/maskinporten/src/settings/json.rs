//! Settings as JSON: the file that Altinn mounts, or one like it.
//!
//! - The settings stand under their section or are the whole text; a section path has levels
//!   separated by `:`, `__` or `--`. Names are read in any case, and one that stands twice is refused.
//! - `Jwk` is an object or a string that holds one. Members of other names are left alone.
//! - Everything that is missing or of the wrong type is told at once, by name; values never are.

use crate::advice;
use crate::error::{Error, Result};
use crate::key::members::{Member, Members};
use crate::key::trim;
use crate::secret::Secret;

use super::{MaskinportenSettings, NO_KEY, jwk};

/// Reads settings from `json`; `place` tells where the text came from, as messages should say it.
pub(super) fn read(json: &str, section: &str, place: &str) -> Result<MaskinportenSettings> {
    let refuse = |why: String| {
        Error::settings(format!("{place} cannot be used: {why}"))
            .with_advice(&advice::SETTINGS_FILE)
    };
    let root = Members::parse(trim(json)).map_err(|fault| refuse(format!("it is {fault}")))?;
    let (object, source) = match in_section(&root, section).map_err(refuse)? {
        Some(found) => (found, format!("{place}, section {section}")),
        None if is_bare(&root) => (root, place.to_owned()),
        None if root.count("kty") > 0 => {
            let why = "it is a bare key: settings name Authority, ClientId and Jwk";
            return Err(refuse(why.to_owned()));
        }
        None => return Err(refuse(format!("it has no section {section}"))),
    };

    let mut reader = Reader {
        object,
        problems: Vec::new(),
    };
    let authority = reader.required("Authority");
    let client_id = reader.required("ClientId");
    let jwk = reader.jwk();
    let jwk_base64 = reader.text("JwkBase64");
    let pem = reader.text("Pem");
    let kid = reader.text("Kid");
    if jwk.is_none() && jwk_base64.is_none() && pem.is_none() && reader.problems_without_key() {
        reader.problems.push(NO_KEY.to_owned());
    }
    if !reader.problems.is_empty() {
        let why = reader.problems.join("; ");
        let error = Error::settings(format!("{source} cannot be used: {why}"))
            .with_advice(&advice::SETTINGS_FILE);
        let tell = |error: Error, problem| error.with_detail("problem", problem);
        return Err(reader.problems.into_iter().fold(error, tell));
    }
    let plain = |text: Secret| text.expose().trim().to_owned();
    MaskinportenSettings {
        authority: authority.map(plain).unwrap_or_default(),
        client_id: client_id.map(plain).unwrap_or_default(),
        jwk,
        jwk_base64,
        pem,
        kid: kid.map(plain),
        source,
        not_used: Vec::new(),
    }
    .with_one_key()
}

/// The levels of a section path, however they are separated.
pub(super) fn levels(section: &str) -> Vec<String> {
    let path = section.replace("__", ":").replace("--", ":");
    path.split(':')
        .map(str::trim)
        .filter(|level| !level.is_empty())
        .map(str::to_owned)
        .collect()
}

fn in_section<'a>(root: &Members<'a>, section: &str) -> Result<Option<Members<'a>>, String> {
    let mut deepest: Option<Members<'a>> = None;
    for level in levels(section) {
        match find(deepest.as_ref().unwrap_or(root), &level)? {
            None | Some(Member::Null) => return Ok(None),
            Some(Member::Object(text)) => {
                let object = Members::parse(text).map_err(|fault| format!("{level} is {fault}"))?;
                deepest = Some(object);
            }
            Some(other) => {
                return Err(format!(
                    "section {level} is {}, not an object",
                    other.kind()
                ));
            }
        }
    }
    Ok(deepest)
}

fn is_bare(root: &Members<'_>) -> bool {
    let names = ["Authority", "ClientId", "Jwk", "JwkBase64", "Pem"];
    root.iter()
        .any(|(found, _)| names.iter().any(|name| name.eq_ignore_ascii_case(found)))
}

/// The one member of a name, in any case.
fn find<'a>(object: &Members<'a>, name: &str) -> Result<Option<Member<'a>>, String> {
    let mut found = object
        .iter()
        .filter(|(found, _)| found.eq_ignore_ascii_case(name));
    let first = found.next();
    match (&first, found.next()) {
        (Some((one, _)), Some((other, _))) => Err(format!(
            "`{name}` stands there twice, as `{one}` and `{other}`"
        )),
        _ => Ok(first.map(|(_, member)| member)),
    }
}

struct Reader<'a> {
    object: Members<'a>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn required(&mut self, name: &str) -> Option<Secret> {
        let before = self.problems.len();
        let text = self.text(name);
        if text.is_none() && self.problems.len() == before {
            self.problems.push(format!("`{name}` is missing"));
        }
        text
    }

    /// Text that is not blank. `null` and blank text count as left out.
    fn text(&mut self, name: &str) -> Option<Secret> {
        match find(&self.object, name) {
            Ok(None | Some(Member::Null)) => None,
            Ok(Some(Member::Text(text))) => {
                (!text.trim().is_empty()).then(|| Secret::from(text.as_str()))
            }
            Ok(Some(other)) => {
                let kind = other.kind();
                self.problems
                    .push(format!("`{name}` is {kind}, not a string"));
                None
            }
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn jwk(&mut self) -> Option<Secret> {
        match find(&self.object, "Jwk") {
            Ok(Some(Member::Object(text))) => Some(jwk::with_its_own_names(text)),
            Ok(Some(other @ Member::Other(_))) => {
                let kind = other.kind();
                self.problems
                    .push(format!("`Jwk` is {kind}, not an object"));
                None
            }
            _ => self.text("Jwk"),
        }
    }

    /// Whether a missing key is news: not where the key was found and is of the wrong type.
    fn problems_without_key(&self) -> bool {
        let keys = ["`Jwk`", "`JwkBase64`", "`Pem`"];
        !self
            .problems
            .iter()
            .any(|problem| keys.iter().any(|key| problem.starts_with(key)))
    }
}
