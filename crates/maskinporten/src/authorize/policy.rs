//! [`Policy`]: what becomes of a request, by its address, its context and the header that it has already.

use std::fmt;
use std::sync::{Arc, Weak};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::ExistingHeader;
use super::origins::Origins;
use crate::advice;
use crate::cache::{ContextTables, Held};
use crate::error::{Error, Result};
use crate::header;
use crate::origin::{Origin, Target};
use crate::provider::MadeFor;
use crate::request::TokenContext;
use crate::scope::ScopeSet;

/// Everything about a layer's requests that does not change.
#[derive(Clone)]
pub(super) struct Policy {
    pub(super) origins: Arc<Origins>,
    pub(super) pass_foreign: bool,
    pub(super) existing: ExistingHeader,
    pub(super) contexts: Contexts,
    /// What contexts may ask for in addition to the layer's own scopes.
    pub(super) allowed: Option<ScopeSet>,
    /// The layer's own token.
    pub(super) entry: Held,
    /// The way to the tokens that contexts ask for.
    pub(super) made_for: Option<MadeFor>,
}

/// What becomes of requests with a [`TokenContext`], and of those without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Contexts {
    /// It was not said what a request gets whose context was lost on the way: one that has a context is
    /// refused before that can happen.
    #[default]
    Unexpected,
    /// A request without one has the layer's own token.
    Optional,
    /// A request without one is refused.
    Required,
}

/// How a request came to its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// In its extensions, through a layer: it could have been lost on the way.
    InExtensions,
    /// As an argument, with headers that a caller set by hand.
    ByHand,
}

/// What becomes of a request.
pub(super) enum Ruling {
    /// It leaves as it is.
    Bare,
    /// It has the layer's own token.
    Own,
    /// It has the token that its context asks for.
    InContext,
}

impl Policy {
    pub(super) fn new(origins: Vec<Origin>, entry: Held, made_for: Option<MadeFor>) -> Self {
        Self {
            origins: Arc::new(Origins::new(origins)),
            pass_foreign: false,
            existing: ExistingHeader::default(),
            contexts: Contexts::default(),
            allowed: None,
            entry,
            made_for,
        }
    }

    /// Has the tables of this layer's contexts swept of evicted entries.
    pub(super) fn note_tables(&self, tables: Weak<dyn ContextTables>) {
        if let Some(made_for) = &self.made_for {
            made_for.note_tables(tables);
        }
    }

    pub(super) fn origins_mut(&mut self) -> &mut Origins {
        Arc::make_mut(&mut self.origins)
    }

    /// The first origin, unless a header that is already there has to be looked at: most requests go there.
    pub(super) fn plain(&self) -> Option<&Origin> {
        let unasked = self.existing == ExistingHeader::Replace;
        self.origins.listed.first().filter(|_| unasked)
    }

    /// Rules on a request, in this order:
    ///
    /// 1. a context that is bound to another origin: refused;
    /// 2. an origin that is not listed: refused, or left bare;
    /// 3. a context that is missing, has no organisation, system user or consent, or was not expected: refused;
    /// 4. a header that another layer has set: refused;
    /// 5. a context that skips: left bare;
    /// 6. a header that is already there: replaced, kept, or refused.
    ///
    /// # Errors
    ///
    /// Why the request may not leave.
    pub(super) fn rule(
        &self,
        target: Target<'_>,
        context: Option<&TokenContext>,
        given: Given,
        headers: &HeaderMap,
    ) -> Result<Ruling> {
        if let Some(bound) = context.and_then(TokenContext::origin)
            && !self.origins.leads_to(bound, target)
        {
            let message =
                format!("the request's token context is for {bound}, and it goes elsewhere");
            return Err(Error::origin(message).with_advice(&advice::CONTEXT_ELSEWHERE));
        }
        if !self.origins.admit(target) {
            return self.rule_on_foreign(target);
        }
        self.check_context(context, given)?;
        if given == Given::InExtensions && self.stands_below_another(headers) {
            let message = "the request already has a token of this library's";
            return Err(Error::request(message).with_advice(&advice::TWO_LAYERS));
        }
        if context.is_some_and(TokenContext::is_skip) || self.keeps(headers)? {
            return Ok(Ruling::Bare);
        }
        Ok(context.map_or(Ruling::Own, |_| Ruling::InContext))
    }

    /// The entry of a context's token.
    ///
    /// # Errors
    ///
    /// Why the context may not have one.
    pub(super) fn entry_in(&self, context: &TokenContext) -> Result<Held> {
        let Some(made_for) = &self.made_for else {
            let message = "the request asks for another token, and this provider keeps one only";
            return Err(Error::request(message).with_advice(&advice::ONE_TOKEN));
        };
        if let Some(scope) = made_for.scope_beyond(context, self.allowed.as_ref()) {
            let message = format!("the request's token context asks for {scope:?}");
            return Err(Error::request(message).with_advice(&advice::CONTEXT_SCOPES));
        }
        made_for.entry_in(context)
    }

    /// Rules on a request to an origin that is not listed.
    fn rule_on_foreign(&self, target: Target<'_>) -> Result<Ruling> {
        if !target.has_host() {
            let message =
                "the request's address has no host, so it cannot be told who would see the token";
            return Err(Error::origin(message).with_advice(&advice::NO_AUTHORITY));
        }
        if self.pass_foreign {
            return Ok(Ruling::Bare);
        }
        let origin = Origin::of(target)?;
        let listed = self.origins.listed.iter().map(ToString::to_string);
        let listed: Vec<String> = listed.collect();
        let error = Error::origin(format!("the token is not released for {origin}"))
            .with_advice(&advice::FOREIGN_ORIGIN)
            .with_detail("released for", listed.join(" "));
        Err(error)
    }

    /// Refuses a context that is missing, has no organisation, system user or consent, or was not expected.
    pub(super) fn check_context(&self, context: Option<&TokenContext>, given: Given) -> Result<()> {
        let missing = match (self.contexts, context) {
            (Contexts::Unexpected, Some(_)) if given == Given::InExtensions => {
                let message = "the request has a token context, and none was expected";
                return Err(Error::request(message).with_advice(&advice::CONTEXT_UNEXPECTED));
            }
            (Contexts::Unexpected | Contexts::Optional, _) => return Ok(()),
            (Contexts::Required, None) => "the request has no token context, and must have one",
            (Contexts::Required, Some(context)) => {
                if context.is_skip() || context.names_somebody() {
                    return Ok(());
                }
                "the request's token context has no organisation, system user or consent"
            }
        };
        Err(Error::request(missing).with_advice(&advice::CONTEXT_MISSING))
    }

    /// Whether the header that is to be replaced is the work of another layer: each was built in the belief
    /// that its token leaves. A caller's own header is replaced, as they should know.
    fn stands_below_another(&self, headers: &HeaderMap) -> bool {
        let existing = headers.get(AUTHORIZATION);
        let existing = existing.filter(|_| self.existing == ExistingHeader::Replace);
        existing.is_some_and(header::is_own)
    }

    /// Whether a header that is already there stays.
    fn keeps(&self, headers: &HeaderMap) -> Result<bool> {
        match self.existing {
            ExistingHeader::Replace => Ok(false),
            _ if !headers.contains_key(AUTHORIZATION) => Ok(false),
            ExistingHeader::Keep => Ok(true),
            ExistingHeader::Reject => {
                let message = "the request already has an authorization header";
                Err(Error::origin(message).with_advice(&advice::HEADER_PRESENT))
            }
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Policy");
        out.field("origins", &self.origins.listed);
        out.field("any_https", &self.origins.any_https);
        out.field("pass_foreign", &self.pass_foreign);
        out.field("existing", &self.existing);
        out.field("contexts", &self.contexts);
        out.field("entry", &*self.entry);
        out.finish_non_exhaustive()
    }
}
