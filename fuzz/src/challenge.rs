//! Challenges by the grammar of RFC 9110 §11.6.1 and §5.6, to the letter.
//!
//! It is slow, strict, and shares nothing with the reader under test.

/// One challenge of a list.
#[derive(Debug)]
pub struct Challenge {
    pub scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter, whose name is read in any case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self
            .parameters
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header; none where it does not follow the grammar, or a challenge has one
/// parameter twice.
pub fn read(header: &str) -> Option<Vec<Challenge>> {
    let mut challenges: Vec<Challenge> = Vec::new();
    for element in elements(header)? {
        let element = element.trim_matches([' ', '\t']);
        if element.is_empty() {
            continue;
        }
        if let Some(parameter) = parameter(element) {
            let last = challenges.last_mut()?;
            if last.parameter(&parameter.0).is_some() {
                return None;
            }
            last.parameters.push(parameter);
            continue;
        }
        let (scheme, rest) = element.split_once(' ').unwrap_or((element, ""));
        if !is_token(scheme) {
            return None;
        }
        let rest = rest.trim_start_matches(' ');
        let parameters = match parameter(rest) {
            Some(parameter) => vec![parameter],
            None if rest.is_empty() || is_token68(rest) => Vec::new(),
            None => return None,
        };
        challenges.push(Challenge {
            scheme: scheme.to_owned(),
            parameters,
        });
    }
    Some(challenges)
}

/// What stands between the commas that are in no quoted string.
fn elements(list: &str) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, found) in list.char_indices() {
        match found {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                elements.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    elements.push(&list[start..]);
    (!quoted).then_some(elements)
}

/// `token BWS "=" BWS ( token / quoted-string )`
fn parameter(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim_end_matches([' ', '\t']);
    let value = value.trim_start_matches([' ', '\t']);
    if !is_token(name) {
        return None;
    }
    let value = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted.strip_suffix('"')?)?,
        None if is_token(value) => value.to_owned(),
        None => return None,
    };
    Some((name.to_owned(), value))
}

fn unquoted(inside: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = inside.chars();
    while let Some(found) = rest.next() {
        match found {
            '"' => return None,
            '\\' => text.push(rest.next()?),
            found => text.push(found),
        }
    }
    Some(text)
}

fn is_token(text: &str) -> bool {
    let tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(tchar)
}

fn is_token68(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    let bare = text.trim_end_matches('=');
    !bare.is_empty() && bare.bytes().all(allowed)
}
