//! Clients as TOML declares them: members and their types. What a member may be is
//! [`declaration`](super::declaration)'s.

use std::sync::Arc;
use std::time::Duration;

use maskinporten::{Error, TokenKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::declaration::Declaration;
use super::nearest::nearest;
use super::placeholders::{Expanded, expand};
use super::problems::{Place, Problems};

/// The members of a client, in the order in which they are read.
const MEMBERS: [&str; 14] = [
    "base_url",
    "kind",
    "scopes",
    "resource",
    "identity",
    "timeout",
    "attempt_timeout",
    "retries",
    "retry_all_methods",
    "redirects",
    "replay_on_unauthorized",
    "per_organisation",
    "optional_context",
    "headers",
];

const CLIENTS: &str = "clients";

/// A TOML document and what it is called in messages. No `Debug`: it may hold secrets.
pub(super) struct Document {
    file: Arc<str>,
    text: String,
}

impl Document {
    /// Takes a text that is TOML.
    pub(super) fn new(file: &str, text: String) -> Result<Self, Error> {
        let file = Arc::from(file);
        let document = Self { file, text };
        let (_, errors) = DeTable::parse_recoverable(&document.text);
        let mut problems = Problems::default();
        for error in errors {
            // The message names what is expected and not what is there, which may be a secret.
            let start = error.span().map_or(0, |span| span.start);
            problems.add(&document.place(start), error.message());
        }
        problems.into_result()?;
        Ok(document)
    }

    /// The clients it declares, and what is wrong with the document itself.
    pub(super) fn read(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> (Vec<Declaration>, Problems) {
        let (mut clients, mut problems) = (Vec::new(), Problems::default());
        let (root, _) = DeTable::parse_recoverable(&self.text);
        for (key, value) in root.get_ref() {
            let place = self.place(key.span().start);
            if key.get_ref() != CLIENTS {
                problems.add(&place, unknown(key.get_ref(), &[CLIENTS]));
                continue;
            }
            let DeValue::Table(tables) = value.get_ref() else {
                problems.add(
                    &place,
                    format!("{CLIENTS} should be tables, and {}", is(value)),
                );
                continue;
            };
            for (name, value) in tables {
                let place = self.place(name.span().start);
                let reader = Reader {
                    document: self,
                    environment,
                    client: Declaration::new(name.get_ref(), place),
                };
                clients.push(reader.client(value));
            }
        }
        clients.sort_by(|one, other| one.place.cmp(&other.place));
        (clients, problems)
    }

    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().iter().take(offset);
        Place::in_file(
            &self.file,
            1 + before.filter(|byte| **byte == b'\n').count(),
        )
    }
}

type Value<'a> = Spanned<DeValue<'a>>;

/// Reads one client.
struct Reader<'a> {
    document: &'a Document,
    environment: &'a dyn Fn(&str) -> Option<String>,
    client: Declaration,
}

impl Reader<'_> {
    fn client(mut self, value: &Value<'_>) -> Declaration {
        let DeValue::Table(members) = value.get_ref() else {
            let place = self.client.place.clone();
            let why = format!("should be a table, and {}", is(value));
            self.client.refuse_whole(&place, &why);
            return self.client;
        };
        for (key, _) in members {
            if !MEMBERS.contains(&&**key.get_ref()) {
                let place = self.document.place(key.span().start);
                let why = unknown(key.get_ref(), &MEMBERS);
                self.client.refuse_whole(&place, &why);
            }
        }
        for member in MEMBERS {
            if let Some((key, value)) = members.get_key_value(member) {
                let place = self.document.place(key.span().start);
                self.member(member, &place, value);
            }
        }
        self.client
    }

    fn member(&mut self, member: &'static str, place: &Place, value: &Value<'_>) {
        let (client, document, environment) = (&mut self.client, self.document, self.environment);
        let text = |value| text(value, environment);
        match member {
            "base_url" => client.say(member, place, |draft| {
                let url = text(value)?;
                draft.base_url(&url.text).map_err(|why| url.blame(why))
            }),
            "kind" => client.say(member, place, |draft| {
                let kind = text(value)?;
                draft.kind(self::kind(&kind.text).map_err(|why| kind.blame(why))?)
            }),
            "scopes" => client.say(member, place, |draft| {
                let DeValue::Array(scopes) = value.get_ref() else {
                    return Err(format!("should be a list of texts, and {}", is(value)));
                };
                let scopes = scopes.iter().map(text).collect::<Result<Vec<_>, _>>()?;
                scopes
                    .iter()
                    .for_each(|scope| draft.came_of("scopes", scope));
                let texts: Vec<_> = scopes.iter().map(|scope| &*scope.text).collect();
                let blame = |why| scopes.iter().fold(why, |why, scope| scope.blame(why));
                draft.request(texts).map_err(blame)
            }),
            "resource" => client.say(member, place, |draft| {
                let resource = text(value)?;
                draft.came_of("resource", &resource);
                let said = draft.resource(&resource.text);
                said.map_err(|why| resource.blame(why))
            }),
            "identity" => client.say(member, place, |draft| {
                let identity = text(value)?;
                draft.came_of("identity", &identity);
                draft.identity(identity.text)
            }),
            "timeout" => client.say(member, place, |draft| {
                let timeout = text(value)?;
                let said = duration(&timeout.text).and_then(|timeout| draft.timeout(timeout));
                said.map_err(|why| timeout.blame(why))
            }),
            "attempt_timeout" => client.say(member, place, |draft| {
                let timeout = text(value)?;
                let said = duration(&timeout.text);
                let said = said.and_then(|timeout| draft.attempt_timeout(timeout));
                said.map_err(|why| timeout.blame(why))
            }),
            "retries" => client.say(member, place, |draft| draft.retries(number(value)?)),
            "retry_all_methods" => client.say(member, place, |draft| {
                draft.retry_all_methods(truth(value)?)
            }),
            "redirects" => client.say(member, place, |draft| draft.redirects(number(value)?)),
            "replay_on_unauthorized" => client.say(member, place, |draft| {
                draft.replay_on_unauthorized(truth(value)?)
            }),
            "per_organisation" => {
                client.say(member, place, |draft| draft.per_organisation(truth(value)?))
            }
            "optional_context" => {
                client.say(member, place, |draft| draft.optional_context(truth(value)?))
            }
            "headers" => {
                let DeValue::Table(headers) = value.get_ref() else {
                    let why = format!("should be a table, and {}", is(value));
                    return client.say(member, place, |_| Err(why));
                };
                for (name, value) in headers {
                    let place = document.place(name.span().start);
                    let member = format!("header {:?}", name.get_ref());
                    client.say(member, &place, |draft| {
                        let value = text(value)?;
                        draft.header(name.get_ref(), &value.text)
                    });
                }
            }
            _ => unreachable!("MEMBERS has no other"),
        }
    }
}

fn text(
    value: &Value<'_>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Expanded, String> {
    match value.get_ref() {
        DeValue::String(text) => expand(text, environment),
        _ => Err(format!("should be text, and {}", is(value))),
    }
}

fn truth(value: &Value<'_>) -> Result<bool, String> {
    match value.get_ref() {
        DeValue::Boolean(truth) => Ok(*truth),
        _ => Err(format!("should be true or false, and {}", is(value))),
    }
}

fn number(value: &Value<'_>) -> Result<u32, String> {
    let DeValue::Integer(number) = value.get_ref() else {
        return Err(format!("should be a whole number, and {}", is(value)));
    };
    u32::from_str_radix(number.as_str(), number.radix())
        .map_err(|_| format!("{number} is no number that fits here"))
}

fn kind(text: &str) -> Result<TokenKind, String> {
    match text {
        "maskinporten" => Ok(TokenKind::Maskinporten),
        "altinn" => Ok(TokenKind::Altinn),
        _ => Err(unknown(text, &["maskinporten", "altinn"])),
    }
}

/// A whole number of milliseconds, seconds or minutes.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.strip_suffix(unit).unwrap_or_default();
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => {
            return Err(format!(
                "{text:?} is no time such as \"10s\", \"500ms\" or \"2m\""
            ));
        }
    };
    let number = number.parse::<u64>();
    let number =
        number.map_err(|_| format!("{text:?} is no time such as \"10s\", \"500ms\" or \"2m\""))?;
    Ok(Duration::from_millis(number.saturating_mul(scale)))
}

fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(meant) => format!("{name:?} is not known; {meant:?} is"),
        None => format!("{name:?} is not known; known are {}", known.join(", ")),
    }
}

fn is(value: &Value<'_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "is text",
        DeValue::Integer(_) => "is a whole number",
        DeValue::Float(_) => "is a number with a fraction",
        DeValue::Boolean(_) => "is true or false",
        DeValue::Datetime(_) => "is a date",
        DeValue::Array(_) => "is a list",
        DeValue::Table(_) => "is a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            let milliseconds = duration(text).ok().map(|time| time.as_millis() as u64);
            assert_eq!(milliseconds, expected, "{text}");
        };
        check("500ms", Some(500));
        check("10s", Some(10_000));
        check("2m", Some(120_000));
        check("0s", Some(0));
        for text in [
            "",
            "10",
            "s",
            "1h",
            "1.5s",
            "-1s",
            "+1s",
            "1 s",
            "1S",
            "1s1",
            "99999999999999999999s",
        ] {
            check(text, None);
        }
    }
}
