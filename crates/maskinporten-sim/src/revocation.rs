//! Which tokens the protected API no longer takes; the issuers know nothing of it.

use std::collections::HashSet;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::clock::unix_time;

#[derive(Debug, Default)]
pub(crate) struct Revocation {
    before: Option<SystemTime>,
    /// Since everything was revoked: the tokens given out after that. `iat` has whole seconds, so it
    /// cannot tell a token from its successor within the same one.
    since: Option<HashSet<String>>,
}

impl Revocation {
    /// The latest of several instants counts: what is revoked stays so.
    pub(crate) fn before(&mut self, instant: SystemTime) {
        self.before = self.before.max(Some(instant));
    }

    pub(crate) fn all(&mut self) {
        self.since = Some(HashSet::new());
    }

    /// Notes a token that is given out, by its `jti`, or its `sid` if it is one of Altinn.
    pub(crate) fn issue(&mut self, id: &str) {
        if let Some(since) = &mut self.since {
            since.insert(id.to_owned());
        }
    }

    pub(crate) fn covers(&self, claims: &Map<String, Value>) -> bool {
        let text = |claim| claims.get(claim).and_then(Value::as_str);
        let is_older = self.since.as_ref().is_some_and(|since| {
            // An Altinn token takes the `jti` of the first one over; its `sid` is its own.
            let id = text("sid").or(text("jti"));
            !id.is_some_and(|id| since.contains(id))
        });
        let is_before = self.before.is_some_and(|before| {
            let iat = claims.get("iat").and_then(Value::as_f64);
            iat.is_none_or(|iat| iat < unix_time(before))
        });
        is_older || is_before
    }
}
