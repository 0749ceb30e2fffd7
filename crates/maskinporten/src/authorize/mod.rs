//! [`Authorizer`]: a token and the origins that may see it, for whatever sends requests.

mod guard;
mod local;
mod receipt;
mod seat;
mod strayed;
mod ticket;

use std::fmt;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, Uri};

use crate::advice;
use crate::cache::{self, Held};
use crate::error::{Error, Result};
use crate::header;
use crate::origin::{IntoOrigins, Origin, Target};
use crate::provider::{MadeFor, TokenProvider};
use crate::request::{IntoTokenRequest, TokenContext, TokenKind};
use crate::scope::ScopeSet;

use guard::Guard;
pub use local::LocalAuthorizer;
pub use receipt::{Receipt, RejectedToken, Verdict};
use seat::Table;
pub use ticket::{Acquire, Renewal, Ticket};

/// What becomes of an `Authorization` header that a request already has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExistingHeader {
    /// It is replaced by the token's: one value leaves, never two.
    #[default]
    Replace,
    /// It stays, and no token is looked up.
    Keep,
    /// The request is refused.
    Reject,
}

/// What becomes of requests with a [`TokenContext`], and of those without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Contexts {
    /// Nobody has said what a request is to have whose context got lost on the way: one that has a context
    /// is refused before it can.
    #[default]
    Unexpected,
    /// A request without one has the layer's own token.
    Optional,
    /// A request without one is refused.
    Required,
}

/// Whether a request may have the token, by where it goes.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// It goes to a listed origin.
    Listed,
    /// It goes elsewhere, and such requests pass without a token.
    Bare,
    /// It goes elsewhere.
    Refused(Error),
}

/// What came of trying to set the header at once.
#[derive(Debug)]
#[must_use]
pub enum Attempt {
    /// The header is set, or an existing one was kept.
    Set(Receipt),
    /// There is no token at hand: wait for one with `acquire`.
    Wait,
    /// The request already has a header, and is not to have one.
    Refused(Error),
}

/// What becomes of a request.
#[derive(Debug)]
#[must_use]
pub enum Passage {
    /// It leaves as it is now: with a token, or without where it is to have none.
    Go(Receipt),
    /// It waits for its token.
    Wait(Acquire),
    /// It may not leave.
    Refused(Error),
}

impl Passage {
    /// Waits where the request has to, and then sets its header.
    ///
    /// Dropping the future leaves the headers as they are and harms nobody else.
    ///
    /// # Errors
    ///
    /// Why the request may not leave, or what kept its token from being fetched.
    pub async fn finish(self, headers: &mut HeaderMap) -> Result<Receipt> {
        match self {
            Self::Go(receipt) => Ok(receipt),
            Self::Wait(acquire) => Ok(acquire.await?.set(headers)),
            Self::Refused(error) => Err(error),
        }
    }
}

/// A token and the origins that may see it, shared.
///
/// - A request to a listed origin gets the header; one to any other is refused before a token is
///   looked up, and nothing of it is changed.
/// - Refused is also a request whose address has no host, unless an origin is assumed for those.
/// - An `Authorization` that is already there is replaced; it can be kept, or refused, instead.
/// - A request never leaves bare because there was no token: it fails.
/// - One request may ask for another organisation's token than all others, or for none, by a
///   [`TokenContext`].
///
/// An [`Authorizer`] is for `&self`: share it, call [`authorize`](Authorizer::authorize). A
/// [`LocalAuthorizer`] is what one service value holds, which middleware calls with `&mut self`: on
/// a cached token it allocates nothing, waits for nobody, and writes nothing that a thread of another
/// stripe reads.
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, Uri, header};
/// use maskinporten::{FixedToken, MaskinportenClient};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), maskinporten::Error> {
/// # let client = MaskinportenClient::builder()
/// #     .source(FixedToken::new("fake", Duration::from_secs(600))?)
/// #     .build()?;
/// let authorizer = client.authorizer(["krr:read"], "https://api.example.no")?;
///
/// let mut headers = HeaderMap::new();
/// let uri = Uri::from_static("https://api.example.no/person");
/// authorizer.authorize(&uri, &mut headers).await?;
/// assert!(headers.contains_key(header::AUTHORIZATION));
///
/// let elsewhere = Uri::from_static("https://evil.example/");
/// assert!(authorizer.authorize(&elsewhere, &mut headers).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Authorizer {
    table: Arc<Table>,
}

/// Everything about a layer's requests that does not change.
#[derive(Clone)]
struct Gate {
    guard: Arc<Guard>,
    pass_foreign: bool,
    existing: ExistingHeader,
    contexts: Contexts,
    /// What contexts may ask for beside the layer's own scopes.
    allowed: Option<ScopeSet>,
    entry: Held,
    /// The way to the tokens that contexts ask for.
    made_for: Option<MadeFor>,
}

impl Authorizer {
    /// Finds the place of the token that is asked for; nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) for scopes that are none,
    /// [`ErrorKind::Origin`](crate::ErrorKind::Origin) for origins that are none or may never see a
    /// token, and what the provider refuses.
    pub fn new(
        provider: &(impl TokenProvider + ?Sized),
        kind: TokenKind,
        request: impl IntoTokenRequest,
        origins: impl IntoOrigins,
    ) -> Result<Self> {
        let origins = origins.into_origins()?;
        let handle = provider.token(&request.into_token_request()?, kind)?;
        let (entry, made_for) = handle.into_parts();
        if let Some(made_for) = &made_for {
            origins
                .iter()
                .try_for_each(|origin| made_for.check_origin(origin))?;
        }
        Ok(Self::of(Gate {
            guard: Arc::new(Guard::new(origins)),
            pass_foreign: false,
            existing: ExistingHeader::default(),
            contexts: Contexts::default(),
            allowed: None,
            entry,
            made_for,
        }))
    }

    /// Lets requests to other origins pass, without a token, instead of refusing them.
    ///
    /// They leave as they came, with an `Authorization` of their own if they have one. A request whose
    /// address has no host is still refused.
    #[must_use]
    pub fn pass_foreign(self) -> Self {
        self.edit(|gate| gate.pass_foreign = true)
    }

    /// Gives the token to every https origin there is, as the .NET handlers do.
    ///
    /// Whoever can make this client call an address of theirs then gets a token that is good
    /// elsewhere: a redirect is enough.
    #[must_use]
    pub fn any_https_origin(self) -> Self {
        self.edit(|gate| Arc::make_mut(&mut gate.guard).any_https = true)
    }

    /// Lists an origin and takes it for the target of requests whose address has no host.
    ///
    /// A tonic client's requests have none above its channel.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Origin`](crate::ErrorKind::Origin) where it is none or may never see a token.
    pub fn assume_origin(self, origin: impl AsRef<str>) -> Result<Self> {
        let origin: Origin = origin.as_ref().parse()?;
        if let Some(made_for) = &self.table.gate.made_for {
            made_for.check_origin(&origin)?;
        }
        Ok(self.edit(|gate| {
            let guard = Arc::make_mut(&mut gate.guard);
            guard.origins.push(origin.clone());
            guard.assumed = Some(origin);
        }))
    }

    /// Refuses every request to a listed origin that has no [`TokenContext`], or one that names no
    /// organisation, system user or consent and is no [`skip`](TokenContext::skip): for a service that always
    /// acts on behalf of somebody. A context that gets lost on the way is noticed, and no request has the
    /// layer's own token instead.
    #[must_use]
    pub fn require_context(self) -> Self {
        self.edit(|gate| gate.contexts = Contexts::Required)
    }

    /// Lets a request have a [`TokenContext`] or none; without one it has the layer's own token.
    ///
    /// A context that gets lost on the way is not noticed. Where a redirect layer stands outside, give it
    /// the policy `KeepContext` of `tower-maskinporten`.
    #[must_use]
    pub fn optional_context(self) -> Self {
        self.edit(|gate| gate.contexts = Contexts::Optional)
    }

    /// Allows contexts to ask for these scopes beside the layer's own
    /// ([`TokenContext::scopes`]). Said again, for these too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where they are none.
    pub fn allow_scopes<I>(self, scopes: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let more = ScopeSet::new(scopes)?;
        let known = self.table.gate.allowed.iter();
        let known = known.map(ScopeSet::as_str).chain([more.as_str()]);
        let allowed = ScopeSet::new(known)?;
        Ok(self.edit(|gate| gate.allowed = Some(allowed)))
    }

    /// Decides about an `Authorization` header that is already there.
    #[must_use]
    pub fn existing_header(self, existing: ExistingHeader) -> Self {
        self.edit(|gate| gate.existing = existing)
    }

    /// Tells where a response's extensions hold the address that it came from in the end.
    ///
    /// For a client that follows redirects itself: a 401 from an address that is not listed is no
    /// word about the token, which that address should never have seen, and changes nothing. Where
    /// nothing is told, the answer counts as coming from where the request went. May be given several
    /// times: one address that is not listed is enough.
    #[must_use]
    pub fn final_uri(self, told: fn(&Extensions) -> Option<Uri>) -> Self {
        self.edit(|gate| Arc::make_mut(&mut gate.guard).final_uri.push(told))
    }

    /// Sets the header on a request that goes there, waiting for a token where there is none.
    ///
    /// Dropping the future leaves the headers as they were and harms nobody else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Origin`](crate::ErrorKind::Origin) for a request that may not have the token,
    /// and whatever kept it from being fetched.
    pub async fn authorize<'a>(
        &self,
        target: impl Into<Target<'a>>,
        headers: &mut HeaderMap,
    ) -> Result<Receipt> {
        let passage = self.try_authorize(target, None, headers);
        passage.finish(headers).await
    }

    /// As [`authorize`](Self::authorize), with the token that a context asks for. Contexts that are given
    /// by hand do not get lost, so none of [`require_context`](Self::require_context) and
    /// [`optional_context`](Self::optional_context) is needed.
    ///
    /// # Errors
    ///
    /// As [`authorize`](Self::authorize), and [`ErrorKind::Request`](crate::ErrorKind::Request) where
    /// the provider keeps the token of one request only.
    pub async fn authorize_with<'a>(
        &self,
        context: &TokenContext,
        target: impl Into<Target<'a>>,
        headers: &mut HeaderMap,
    ) -> Result<Receipt> {
        let passage = self.try_authorize(target, Some(context), headers);
        passage.finish(headers).await
    }

    /// As [`authorize`](Self::authorize) and [`authorize_with`](Self::authorize_with), where the wait is the
    /// caller's.
    pub fn try_authorize<'a>(
        &self,
        target: impl Into<Target<'a>>,
        context: Option<&TokenContext>,
        headers: &mut HeaderMap,
    ) -> Passage {
        let (gate, target) = (&self.table.gate, target.into());
        let admitted = gate.admit_in(context, target);
        admitted.unwrap_or_else(|| match context {
            Some(context) => gate.settle(context, headers),
            None => self.table.set(headers),
        })
    }

    /// As a layer authorises: a request's own context is among its extensions, and has to be
    /// [expected](Self::require_context). For middleware that is called with `&self`.
    pub fn authorize_shared<'a>(
        &self,
        target: impl Into<Target<'a>>,
        context: Option<&TokenContext>,
        headers: &mut HeaderMap,
    ) -> Passage {
        let decided = self.table.gate.decide(target.into(), context, headers);
        decided.unwrap_or_else(|| self.table.set(headers))
    }

    /// For a client that follows redirects itself and knows where the answer to a request with a token came
    /// from: where that is an origin that is not listed, it is said as a warning, at most once in 30 s. The
    /// request has then been redirected below whoever guards it, and its token may have gone along.
    pub fn answered_from<'a>(&self, receipt: Receipt, target: impl Into<Target<'a>>) {
        let target = target.into();
        if receipt != Receipt::NONE && !self.table.gate.guard.lists(target) {
            strayed::report(target);
        }
    }

    /// Whether what goes there may have the token; never where it is only let through.
    #[must_use]
    pub fn lists<'a>(&self, target: impl Into<Target<'a>>) -> bool {
        self.table.gate.guard.lists(target.into())
    }

    /// Whether a request that goes there may have the token.
    pub fn admit<'a>(&self, target: impl Into<Target<'a>>) -> Admission {
        self.table.gate.admit(target.into())
    }

    /// Sets the header if a token is at hand. Unguarded: whether the request's address and context let
    /// it have this token is for [`authorize`](Self::authorize) to ask.
    pub fn try_set(&self, headers: &mut HeaderMap) -> Attempt {
        self.table.try_set(headers)
    }

    /// Waits for a token. What it gives is good for one request, whatever the token's life. Unguarded,
    /// as [`try_set`](Self::try_set).
    pub fn acquire(&self) -> Acquire {
        self.table.seat(cache::of_this_thread()).acquire()
    }

    /// What one service value holds, to authorise with `&mut self`.
    #[must_use]
    pub fn local(&self) -> LocalAuthorizer {
        LocalAuthorizer::at(&self.table)
    }

    fn of(gate: Gate) -> Self {
        Self {
            table: Table::new(Arc::new(gate)),
        }
    }

    fn edit(self, change: impl FnOnce(&mut Gate)) -> Self {
        let mut gate = Gate::clone(&self.table.gate);
        change(&mut gate);
        Self::of(gate)
    }
}

// ===== impl Gate =====

impl Gate {
    /// The first origin, unless there is more to look at: a request to it that has no context has the token
    /// set without another question, and most requests go there.
    fn plain(&self) -> Option<Origin> {
        let unasked = self.existing == ExistingHeader::Replace;
        let unasked = unasked && self.contexts != Contexts::Required;
        self.guard.origins.first().filter(|_| unasked).cloned()
    }

    /// What becomes of a request by where it goes and by its context; none where it is to have the layer's
    /// own token.
    fn decide(
        &self,
        target: Target<'_>,
        context: Option<&TokenContext>,
        headers: &mut HeaderMap,
    ) -> Option<Passage> {
        let admitted = self.admit_in(context, target);
        if admitted.is_some() {
            return admitted;
        }
        if context.is_some() && self.contexts == Contexts::Unexpected {
            let message = "the request has a token context, and none was expected";
            let error = Error::request(message).with_advice(&advice::CONTEXT_UNEXPECTED);
            return Some(Passage::Refused(error));
        }
        if self.stands_below_another(headers) {
            let message = "the request already has a token of this library's";
            let error = Error::request(message).with_advice(&advice::TWO_LAYERS);
            return Some(Passage::Refused(error));
        }
        context.map(|context| self.settle(context, headers))
    }

    /// Whether the header that is to be replaced is the work of another layer: whoever built both believes
    /// that its token leaves. A caller's own header is replaced, as they should know.
    fn stands_below_another(&self, headers: &HeaderMap) -> bool {
        let existing = headers.get(AUTHORIZATION);
        let existing = existing.filter(|_| self.existing == ExistingHeader::Replace);
        existing.is_some_and(|existing| header::is_own(existing) && cache::keeps(existing))
    }

    /// What becomes of a request by where it goes and by whether it says whose it is; none where it may have a
    /// token.
    fn admit_in(&self, context: Option<&TokenContext>, target: Target<'_>) -> Option<Passage> {
        let leads_away = |bound: &&Origin| !self.guard.leads_to(bound, target);
        let bound = context.and_then(TokenContext::origin);
        if let Some(bound) = bound.filter(leads_away) {
            let message =
                format!("the request's token context is for {bound}, and it goes elsewhere");
            let error = Error::origin(message).with_advice(&advice::CONTEXT_ELSEWHERE);
            return Some(Passage::Refused(error));
        }
        match self.admit(target) {
            Admission::Listed => self.refuse_anonymous(context).map(Passage::Refused),
            Admission::Bare => Some(Passage::Go(Receipt::NONE)),
            Admission::Refused(error) => Some(Passage::Refused(error)),
        }
    }

    /// Why a request that does not say whose it is may not leave; none where it may.
    fn refuse_anonymous(&self, context: Option<&TokenContext>) -> Option<Error> {
        if self.contexts != Contexts::Required {
            return None;
        }
        let message = match context {
            None => "the request has no token context, and must have one",
            Some(context) if context.is_skip() || context.names_somebody() => return None,
            Some(_) => {
                "the request's token context names nobody: no organisation, system user or consent"
            }
        };
        Some(Error::request(message).with_advice(&advice::CONTEXT_MISSING))
    }

    fn admit(&self, target: Target<'_>) -> Admission {
        if self.guard.lists(target) {
            return Admission::Listed;
        }
        if !target.has_host() {
            let message =
                "the request's address has no host, so it cannot be told who would see the token";
            return Admission::Refused(Error::origin(message).with_advice(&advice::NO_AUTHORITY));
        }
        if self.pass_foreign {
            return Admission::Bare;
        }
        let listed: Vec<String> = self.guard.origins.iter().map(ToString::to_string).collect();
        let refused = match Origin::of(target) {
            Ok(origin) => Error::origin(format!("the token is not released for {origin}"))
                .with_advice(&advice::FOREIGN_ORIGIN)
                .with_detail("released for", listed.join(" ")),
            Err(error) => error,
        };
        Admission::Refused(refused)
    }

    /// Settles a request to a listed origin that has a context.
    #[cold]
    fn settle(&self, context: &TokenContext, headers: &mut HeaderMap) -> Passage {
        if context.is_skip() {
            return Passage::Go(Receipt::NONE);
        }
        match self.decide_existing(headers) {
            None | Some(Attempt::Wait) => {}
            Some(Attempt::Set(receipt)) => return Passage::Go(receipt),
            Some(Attempt::Refused(error)) => return Passage::Refused(error),
        }
        let Some(made_for) = &self.made_for else {
            let message =
                "the request asks for a token of its own, and this provider keeps one only";
            return Passage::Refused(Error::request(message).with_advice(&advice::ONE_TOKEN));
        };
        if let Some(scope) = made_for.scope_beyond(context, self.allowed.as_ref()) {
            let message = format!("the request's token context asks for {scope:?}");
            let error = Error::request(message).with_advice(&advice::CONTEXT_SCOPES);
            return Passage::Refused(error);
        }
        let entry = match made_for.entry_in(context) {
            Ok(entry) => entry,
            Err(error) => return Passage::Refused(error),
        };
        // The guard is entered under this very entry: what the response says is said of its token.
        let guard = guard::enter(entry.id(), &self.guard);
        match seat::set_over_in_passing(&entry, guard, headers) {
            Some(receipt) => Passage::Go(receipt),
            None => Passage::Wait(Acquire::new(entry, guard)),
        }
    }

    /// Settles a request that already has a header; none where a token is to be set.
    fn decide_existing(&self, headers: &HeaderMap) -> Option<Attempt> {
        match self.existing {
            ExistingHeader::Replace => None,
            _ if !headers.contains_key(AUTHORIZATION) => None,
            ExistingHeader::Keep => Some(Attempt::Set(Receipt::NONE)),
            ExistingHeader::Reject => {
                let message = "the request already has an authorization header";
                let error = Error::origin(message).with_advice(&advice::HEADER_PRESENT);
                Some(Attempt::Refused(error))
            }
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Gate");
        out.field("origins", &self.guard.origins);
        out.field("any_https", &self.guard.any_https);
        out.field("pass_foreign", &self.pass_foreign);
        out.field("existing", &self.existing);
        out.field("contexts", &self.contexts);
        out.field("entry", &self.entry);
        out.finish_non_exhaustive()
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorizer").field(&self.table.gate).finish()
    }
}
