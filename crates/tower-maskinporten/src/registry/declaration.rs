//! [`Declaration`]: one client as it is declared, in code or in TOML. Each member is checked when it is
//! said, and by the same rule wherever it is said.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use maskinporten::{IntoTokenRequest, TokenKind, TokenRequest};

use super::address::BaseUrl;
use super::placeholders::{Expanded, blame};
use super::problems::{Place, Problems};

/// The total time of a request where nothing is said: that of .NET's `HttpClient`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(100);

/// Longer than anybody waits for the head of an answer: what is longer is a slip of the unit.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

const MOST_RETRIES: u32 = 10;

/// As many as browsers follow (Fetch §4.4, step 7).
const MOST_REDIRECTS: u32 = 20;

/// Headers that the connection, the layer or the address decides.
const NOT_GIVEN: [HeaderName; 9] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    HOST,
    CONNECTION,
    CONTENT_LENGTH,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// One client as it is declared so far.
#[derive(Debug)]
pub(super) struct Declaration {
    pub(super) name: String,
    pub(super) place: Place,
    draft: Draft,
    /// Where each member was said, also those that were said wrongly.
    said: BTreeMap<String, Place>,
    problems: Problems,
}

/// A client that can be made: what its layers are told.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) base: BaseUrl,
    pub(super) kind: TokenKind,
    pub(super) request: TokenRequest,
    /// As they may be shown.
    shown_scopes: String,
    shown_identity: Option<String>,
    pub(super) headers: Arc<[(HeaderName, HeaderValue)]>,
    pub(super) timeout: Duration,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) retry_all_methods: bool,
    pub(super) redirects: u32,
    pub(super) replay_on_unauthorized: bool,
    pub(super) per_organisation: bool,
    pub(super) optional_context: bool,
}

/// The members themselves. Each method is one rule; what it refuses is told without a secret.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Which members were filled in from the environment, and the first variable of each: it stands for
    /// the value wherever that would be shown.
    variables: BTreeMap<&'static str, String>,
    base_url: Option<BaseUrl>,
    kind: Option<TokenKind>,
    request: Option<TokenRequest>,
    identity: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    retries: u32,
    retry_all_methods: bool,
    redirects: u32,
    replay_on_unauthorized: bool,
    per_organisation: bool,
    optional_context: bool,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        // From the outside in, as they stand.
        let mut layers = vec![format!("timeout {:?}", self.timeout)];
        match (self.retries, self.retry_all_methods) {
            (0, _) => {}
            (retries, false) => layers.push(format!("retries {retries}")),
            (retries, true) => layers.push(format!("retries {retries} of all methods")),
        }
        if self.redirects > 0 {
            layers.push(format!("redirects {}", self.redirects));
        }
        layers.push(match self.replay_on_unauthorized {
            true => "token with replay".to_owned(),
            false => "token".to_owned(),
        });
        if !names.is_empty() {
            layers.push("headers".to_owned());
        }
        if let Some(timeout) = self.attempt_timeout {
            layers.push(format!("attempt timeout {timeout:?}"));
        }
        f.debug_struct("NamedClient")
            .field("name", &self.name)
            .field("origin", self.base.origin())
            .field("kind", &self.kind)
            .field("scopes", &self.shown_scopes)
            .field("identity", &self.shown_identity)
            .field("per_organisation", &self.per_organisation)
            .field("optional_context", &self.optional_context)
            .field("layers", &layers)
            .field("headers", &names)
            .finish()
    }
}

/// What a member is refused for.
pub(super) type Refused = Result<(), String>;

// ===== impl Draft =====

impl Draft {
    /// Notes which variable a member came of, if it did.
    pub(super) fn came_of(&mut self, member: &'static str, text: &Expanded) {
        if let Some(variable) = &text.variable {
            let known = self.variables.entry(member);
            known.or_insert_with(|| variable.clone());
        }
    }

    fn shown(&self, member: &str, value: &str) -> String {
        match self.variables.get(member) {
            Some(variable) => format!("${{{variable}}}"),
            None => value.to_owned(),
        }
    }

    pub(super) fn base_url(&mut self, text: &str) -> Refused {
        self.base_url = Some(BaseUrl::parse(text)?);
        Ok(())
    }

    pub(super) fn kind(&mut self, kind: TokenKind) -> Refused {
        self.kind = Some(kind);
        Ok(())
    }

    pub(super) fn request(&mut self, request: impl IntoTokenRequest) -> Refused {
        let request = request.into_token_request();
        self.request = Some(request.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Comes after the scopes; says nothing where those were refused.
    pub(super) fn resource(&mut self, resource: &str) -> Refused {
        if let Some(request) = self.request.take() {
            let request = request.resource(resource);
            self.request = Some(request.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    pub(super) fn identity(&mut self, name: impl Into<String>) -> Refused {
        self.identity = Some(name.into());
        Ok(())
    }

    pub(super) fn header(&mut self, name: &str, value: &str) -> Refused {
        let name = HeaderName::try_from(name).map_err(|_| "is no header's name".to_owned())?;
        if NOT_GIVEN.contains(&name) {
            return Err(format!(
                "{name} is not given here: the client sets it itself"
            ));
        }
        if self.headers.iter().any(|(given, _)| *given == name) {
            return Err("is given twice".to_owned());
        }
        if value.trim().is_empty() {
            return Err("its value is empty".to_owned());
        }
        let value = HeaderValue::try_from(value);
        let mut value = value.map_err(|_| "its value is none that a header may have".to_owned())?;
        value.set_sensitive(true);
        self.headers.push((name, value));
        Ok(())
    }

    pub(super) fn timeout(&mut self, timeout: Duration) -> Refused {
        self.timeout = Some(checked(timeout)?);
        Ok(())
    }

    pub(super) fn attempt_timeout(&mut self, timeout: Duration) -> Refused {
        self.attempt_timeout = Some(checked(timeout)?);
        Ok(())
    }

    pub(super) fn retries(&mut self, retries: u32) -> Refused {
        self.retries = at_most(retries, MOST_RETRIES)?;
        Ok(())
    }

    pub(super) fn retry_all_methods(&mut self, all: bool) -> Refused {
        self.retry_all_methods = all;
        Ok(())
    }

    pub(super) fn redirects(&mut self, redirects: u32) -> Refused {
        self.redirects = at_most(redirects, MOST_REDIRECTS)?;
        Ok(())
    }

    pub(super) fn replay_on_unauthorized(&mut self, replay: bool) -> Refused {
        self.replay_on_unauthorized = replay;
        Ok(())
    }

    pub(super) fn per_organisation(&mut self, required: bool) -> Refused {
        self.per_organisation = required;
        Ok(())
    }

    pub(super) fn optional_context(&mut self, optional: bool) -> Refused {
        self.optional_context = optional;
        Ok(())
    }
}

fn checked(timeout: Duration) -> Result<Duration, String> {
    if timeout.is_zero() {
        return Err("a time of zero lets nothing through".to_owned());
    }
    if timeout > LONGEST_TIMEOUT {
        return Err("a time is at most an hour".to_owned());
    }
    Ok(timeout)
}

fn at_most(number: u32, most: u32) -> Result<u32, String> {
    if number > most {
        return Err(format!("{number} is more than {most}"));
    }
    Ok(number)
}

// ===== impl Declaration =====

impl Declaration {
    pub(super) fn new(name: &str, place: Place) -> Self {
        Self {
            name: name.to_owned(),
            place,
            draft: Draft::default(),
            said: BTreeMap::new(),
            problems: Problems::default(),
        }
    }

    /// Says a member at a place.
    pub(super) fn say(
        &mut self,
        member: impl Into<String>,
        place: &Place,
        say: impl FnOnce(&mut Draft) -> Refused,
    ) {
        let member = member.into();
        // Only code can: TOML knows no doubles.
        if self.said.contains_key(&member) {
            self.refuse_at(place, &member, "is given twice");
            return;
        }
        if let Err(why) = say(&mut self.draft) {
            self.refuse_at(place, &member, &why);
        }
        self.said.insert(member, place.clone());
    }

    /// Notes that something is wrong with a member, at the place where it was said.
    pub(super) fn refuse(&mut self, member: &str, why: &str) {
        let place = self.said.get(member).unwrap_or(&self.place).clone();
        self.refuse_at(&place, member, why);
    }

    /// The same for a reason that may name the values of these members: one that came of a variable is
    /// not shown.
    pub(super) fn refuse_value(&mut self, members: &[&str], why: &str) {
        let variables = &self.draft.variables;
        let variable = members.iter().find_map(|member| variables.get(*member));
        let why = variable.map_or_else(|| why.to_owned(), |variable| blame(variable));
        if let [member, ..] = members {
            self.refuse(member, &why);
        }
    }

    /// Notes that something is wrong with the client as a whole.
    pub(super) fn refuse_whole(&mut self, place: &Place, why: &str) {
        self.problems
            .add(place, format!("client {:?}: {why}", self.name));
    }

    fn refuse_at(&mut self, place: &Place, member: &str, why: &str) {
        let text = format!("client {:?}, {member}: {why}", self.name);
        self.problems.add(place, text);
    }

    pub(super) fn identity(&self) -> Option<&str> {
        self.draft.identity.as_deref()
    }

    /// What can be made of it, once all is said; nothing where something is missing or wrong.
    pub(super) fn plan(&mut self) -> Option<Plan> {
        for member in ["base_url", "kind", "scopes"] {
            if !self.said.contains_key(member) {
                self.refuse(member, "is missing");
            }
        }
        let draft = &mut self.draft;
        let timeout = draft.timeout.unwrap_or(DEFAULT_TIMEOUT);
        if draft
            .attempt_timeout
            .is_some_and(|attempt| attempt > timeout)
        {
            self.refuse("attempt_timeout", "is longer than the whole timeout");
            return None;
        }
        if draft.per_organisation && draft.optional_context {
            self.refuse("optional_context", "contradicts per_organisation");
            return None;
        }
        let request = draft.request.take()?;
        let identity = draft.identity.as_deref();
        Some(Plan {
            name: self.name.clone(),
            base: draft.base_url.take()?,
            kind: draft.kind?,
            shown_scopes: draft.shown("scopes", request.scope_set().as_str()),
            shown_identity: identity.map(|name| draft.shown("identity", name)),
            request,
            headers: draft.headers.as_slice().into(),
            timeout,
            attempt_timeout: draft.attempt_timeout,
            retries: draft.retries,
            retry_all_methods: draft.retry_all_methods,
            redirects: draft.redirects,
            replay_on_unauthorized: draft.replay_on_unauthorized,
            per_organisation: draft.per_organisation,
            optional_context: draft.optional_context,
        })
    }

    pub(super) fn into_problems(self) -> Problems {
        self.problems
    }
}
