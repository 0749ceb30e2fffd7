//! `${NAME}` in a text: what the environment holds under that name.
//!
//! - `$$` is a dollar. Any other use of one is an error: a value that was meant otherwise is not guessed
//!   at, and what the environment holds is not read again for names.
//! - A variable that is missing or empty is an error.
//! - No message repeats a value, because it may be a secret.

/// A text whose variables are filled in. No `Debug`: it may hold a secret.
pub(super) struct Expanded {
    pub(super) text: String,
    /// The first variable in it.
    pub(super) variable: Option<String>,
}

impl Expanded {
    /// What is wrong with the text, told without it where it holds a variable's value.
    pub(super) fn blame(&self, why: String) -> String {
        match &self.variable {
            Some(variable) => blame(variable),
            None => why,
        }
    }
}

/// What is said of a value that is not shown.
pub(super) fn blame(variable: &str) -> String {
    format!("what the variable {variable} holds cannot be used here")
}

/// Fills the variables of a text in.
pub(super) fn expand(
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Expanded, String> {
    let mut expanded = Expanded {
        text: String::with_capacity(text.len()),
        variable: None,
    };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.text.push('$');
            rest = after;
            continue;
        }
        let name = after.strip_prefix('{').and_then(|s| s.split_once('}'));
        let Some((name, after)) = name.filter(|(name, _)| is_name(name)) else {
            return Err("a variable is written ${NAME}, and a dollar $$".to_owned());
        };
        let value = environment(name).ok_or(format!("the variable {name} is not set"))?;
        if value.is_empty() {
            return Err(format!("the variable {name} is empty"));
        }
        expanded.text.push_str(&value);
        expanded.variable.get_or_insert_with(|| name.to_owned());
        rest = after;
    }
    expanded.text.push_str(rest);
    Ok(expanded)
}

/// A name that a shell can set (POSIX, Base Definitions §8.1), in letters of either case.
fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_word) && name.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let environment = |name: &str| match name {
            "KEY" => Some("s$e${KEY}".to_owned()),
            "_host2" => Some("api.example.no".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let expanded = expand(text, environment).map(|expanded| expanded.text);
        let expanded = expanded.as_deref().map_err(String::as_str);
        assert_eq!(expanded, expected, "{text}");
    }

    #[test]
    fn variables_are_filled_in_once() {
        check("", Ok(""));
        check("plain", Ok("plain"));
        check("${KEY}", Ok("s$e${KEY}"));
        check("https://${_host2}/v1", Ok("https://api.example.no/v1"));
        check("${_host2}${_host2}", Ok("api.example.noapi.example.no"));
        check("$$", Ok("$"));
        check("a$$${KEY}", Ok("a$s$e${KEY}"));
        check("$${KEY}", Ok("${KEY}"));
    }

    #[test]
    fn what_cannot_be_filled_in_is_told_by_the_variables_name() {
        let form = Err("a variable is written ${NAME}, and a dollar $$");
        check("${NONE}", Err("the variable NONE is not set"));
        check("${EMPTY}", Err("the variable EMPTY is empty"));
        check("$KEY", form);
        check("${}", form);
        check("${KEY", form);
        check("${K Y}", form);
        check("${1KEY}", form);
        check("secret$", form);
    }

    #[test]
    fn a_text_with_a_variable_is_not_shown_and_another_is() {
        let blamed = |text| {
            let expanded = expand(text, |_| Some("secret".to_owned())).unwrap();
            expanded.blame(format!("{:?} is wrong", expanded.text))
        };
        assert_eq!(blamed("plain"), r#""plain" is wrong"#);
        assert_eq!(
            blamed("a${KEY}"),
            "what the variable KEY holds cannot be used here"
        );
    }
}
