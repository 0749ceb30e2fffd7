//! [`Authorizer`]: one token and the origins that may see it; the one decision about a request.
//!
//! A request's way, in the order of the files:
//!
//! | file | what it does |
//! | --- | --- |
//! | `policy.rs` | rules on the request by address, context and existing header |
//! | `origins.rs` | which origins may see the token, and whose 401 counts |
//! | `shard.rs` | finds the header on a cached token, in a shard for each stripe of threads |
//! | `contexts.rs` | the bounded table from a request's context to its entry in the cache |
//! | `acquire.rs` | waits where there is no token, or a rejected one is replaced |
//! | `sent.rs` | carries which token was sent, and reads the response |
//! | `warm_up.rs` | fetches the tokens of many contexts before their first requests |

mod acquire;
mod contexts;
mod origins;
mod policy;
mod sent;
mod shard;
mod warm_up;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::{Extensions, HeaderMap, Request, Uri};

use crate::cache::{self, CachePadded, STRIPES};
use crate::clock::AnyClock;
use crate::error::{Error, Result};
use crate::header;
use crate::origin::{IntoOrigins, Origin, Target};
use crate::provider::TokenProvider;
use crate::quiet::Quiet;
use crate::request::{IntoTokenRequest, TokenContext, TokenKind};
use crate::scope::ScopeSet;

pub use acquire::{Acquire, HeaderToken, Replacement};
use policy::{Contexts, Given, Policy, Ruling};
pub use sent::{Challenge, RejectedToken, SentToken};
use shard::{Found, Handle, Shard, Shards};
pub use warm_up::{WarmUp, WarmUpSummary, WarmedUp};

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

/// What becomes of a request.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// It leaves as it is now: with a token, or without where it is to have none.
    Ready(SentToken),
    /// It waits for its token.
    Pending(Acquire),
    /// It may not leave.
    Refused(Error),
}

impl Decision {
    /// Waits if the request has to, and then sets its header.
    ///
    /// Dropping the future leaves the headers as they are and affects no other request.
    ///
    /// # Errors
    ///
    /// Why the request may not leave, or what kept its token from being fetched.
    pub async fn finish(self, headers: &mut HeaderMap) -> Result<SentToken> {
        match self {
            Self::Ready(sent) => Ok(sent),
            Self::Pending(acquire) => Ok(acquire.await?.set(headers)),
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
/// It is used with `&self`, by any number of threads. On a cached token it allocates nothing, waits for no other
/// thread, and writes to no cache line that a thread of another stripe reads; so does a clone of it, which costs
/// one count up, on a line of the thread's own stripe.
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
pub struct Authorizer {
    /// Counted by the threads of the stripe that made this value.
    handle: Arc<CachePadded<Handle>>,
    /// Handles for threads of other stripes that clone this value.
    elsewhere: OnceLock<Box<Elsewhere>>,
    was_cloned_elsewhere: AtomicBool,
}

type Elsewhere = [OnceLock<Arc<CachePadded<Handle>>>; STRIPES];

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
        Ok(Self::of(Policy::new(origins, entry, made_for)))
    }

    /// Lets requests to other origins pass, without a token, instead of refusing them.
    ///
    /// They leave as they came, with an `Authorization` of their own if they have one. A request whose
    /// address has no host is still refused.
    #[must_use]
    pub fn pass_foreign(self) -> Self {
        self.edit(|policy| policy.pass_foreign = true)
    }

    /// Gives the token to every https origin there is, as the .NET handlers do.
    ///
    /// A party that can make this client call its address then gets a token that is good
    /// elsewhere: a redirect is enough.
    #[must_use]
    pub fn any_https_origin(self) -> Self {
        self.edit(|policy| policy.origins_mut().any_https = true)
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
        if let Some(made_for) = &self.policy().made_for {
            made_for.check_origin(&origin)?;
        }
        Ok(self.edit(|policy| {
            let origins = policy.origins_mut();
            origins.listed.push(origin.clone());
            origins.assumed = Some(origin);
        }))
    }

    /// Refuses every request to a listed origin that has no [`TokenContext`], or one that names no
    /// organisation, system user or consent and is no [`skip`](TokenContext::skip): for a service that always
    /// acts on behalf of others. A context that gets lost on the way is noticed, and no request has the
    /// layer's own token instead.
    #[must_use]
    pub fn require_context(self) -> Self {
        self.edit(|policy| policy.contexts = Contexts::Required)
    }

    /// Lets a request have a [`TokenContext`] or none; without one it has the layer's own token.
    ///
    /// A context that gets lost on the way is not noticed. Where a redirect layer stands outside, give it
    /// the policy `KeepContext` of `tower-maskinporten`.
    #[must_use]
    pub fn optional_context(self) -> Self {
        self.edit(|policy| policy.contexts = Contexts::Optional)
    }

    /// Allows contexts to ask for these scopes in addition to the layer's own
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
        let known = self.policy().allowed.iter();
        let known = known.map(ScopeSet::as_str).chain([more.as_str()]);
        let allowed = ScopeSet::new(known)?;
        Ok(self.edit(|policy| policy.allowed = Some(allowed)))
    }

    /// Decides about an `Authorization` header that is already there.
    #[must_use]
    pub fn existing_header(self, existing: ExistingHeader) -> Self {
        self.edit(|policy| policy.existing = existing)
    }

    /// Tells where a response's extensions hold the address that it came from in the end.
    ///
    /// For a client that follows redirects itself: a 401 from an address that is not listed is no
    /// word about the token, which that address should never have seen, and changes nothing. Where
    /// nothing is told, the answer counts as coming from where the request went. May be given several
    /// times: one address that is not listed is enough.
    #[must_use]
    pub fn final_uri(self, told: fn(&Extensions) -> Option<Uri>) -> Self {
        self.edit(|policy| policy.origins_mut().final_uri.push(told))
    }

    /// Sets the header if the request goes to the first listed origin, its token is cached, and nothing else is
    /// to be asked: the path of nearly every request, with a [`TokenContext`] and without.
    ///
    /// For all others it gives nothing and changes nothing: [`decide`](Self::decide) decides about them.
    #[inline]
    pub fn authorize_now<B>(&self, request: &mut Request<B>) -> Option<SentToken> {
        let shard = self.shard_here();
        if !shard.is_plain(request.uri()) {
            return None;
        }
        match TokenContext::of(request.extensions()) {
            None => shard.set_own(request.headers_mut()),
            Some(context) => {
                let ready = shard.in_context_now(context)?;
                shard.set(request.headers_mut(), ready)
            }
        }
    }

    /// Decides about a request as a layer does: its context was among its extensions, and has to be
    /// [expected](Self::require_context). The header is set if the token is cached.
    #[inline]
    pub fn decide<'a>(
        &self,
        target: impl Into<Target<'a>>,
        context: Option<&TokenContext>,
        headers: &mut HeaderMap,
    ) -> Decision {
        let (shard, target) = (self.shard_here(), target.into());
        if shard.is_plain_for(target) {
            let sent = match context {
                None => shard.set_own(headers),
                Some(context) => {
                    let ready = shard.in_context_now(context);
                    ready.and_then(|ready| shard.set(headers, ready))
                }
            };
            if let Some(sent) = sent {
                return Decision::Ready(sent);
            }
        }
        rule(self, target, context, Given::InExtensions, headers)
    }

    /// Decides about a request whose context is given by hand and so cannot get lost: neither
    /// [`require_context`](Self::require_context) nor [`optional_context`](Self::optional_context) is needed for
    /// one. A header of this library's is replaced, as that of an attempt before.
    pub fn decide_by_hand<'a>(
        &self,
        target: impl Into<Target<'a>>,
        context: Option<&TokenContext>,
        headers: &mut HeaderMap,
    ) -> Decision {
        rule(self, target.into(), context, Given::ByHand, headers)
    }

    /// Sets the header on a request to this address, waiting for a token if there is none.
    ///
    /// Dropping the future leaves the headers as they were and affects no other request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Origin`](crate::ErrorKind::Origin) for a request that may not have the token,
    /// and what kept it from being fetched.
    pub async fn authorize<'a>(
        &self,
        target: impl Into<Target<'a>>,
        headers: &mut HeaderMap,
    ) -> Result<SentToken> {
        let decision = self.decide_by_hand(target, None, headers);
        decision.finish(headers).await
    }

    /// As [`authorize`](Self::authorize), with the token that a context asks for: see
    /// [`decide_by_hand`](Self::decide_by_hand).
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
    ) -> Result<SentToken> {
        let decision = self.decide_by_hand(target, Some(context), headers);
        decision.finish(headers).await
    }

    /// For a client that follows redirects itself and knows where the response to a request with a token came
    /// from: logs a warning if that origin is not listed, at most once in 30 s. The request has then been
    /// redirected below this guard, and its token may have gone along.
    pub fn check_final_origin<'a>(&self, sent: SentToken, target: impl Into<Target<'a>>) {
        let target = target.into();
        if sent != SentToken::NONE && !self.policy().origins.admit(target) {
            warn_redirected_away(target);
        }
    }

    fn of(policy: Policy) -> Self {
        Self::with(Shards::new(policy).handle(cache::of_this_thread()))
    }

    fn with(handle: Arc<CachePadded<Handle>>) -> Self {
        Self {
            handle,
            elsewhere: OnceLock::new(),
            was_cloned_elsewhere: AtomicBool::new(false),
        }
    }

    fn edit(self, change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = Policy::clone(self.policy());
        change(&mut policy);
        Self::of(policy)
    }

    fn policy(&self) -> &Policy {
        &self.handle.shards.policy
    }

    /// The calling thread's shard.
    #[inline]
    fn shard_here(&self) -> &Shard {
        let stripe = cache::of_this_thread();
        if self.handle.stripe == stripe {
            &self.handle.shard
        } else {
            self.handle.shards.shard(stripe)
        }
    }

    /// The handle for clones that threads of another stripe make.
    #[cold]
    fn handle_elsewhere(&self, stripe: usize) -> &Arc<CachePadded<Handle>> {
        if let Some(handles) = self.elsewhere.get() {
            return handles[stripe].get_or_init(|| self.handle.shards.handle(stripe));
        }
        // A value that was handed to another thread is often cloned there once. One that is shared between
        // threads is cloned again, and then counted where they do not meet.
        if !self.was_cloned_elsewhere.load(Ordering::Relaxed) {
            self.was_cloned_elsewhere.store(true, Ordering::Relaxed);
            return &self.handle;
        }
        let handles = self.elsewhere.get_or_init(Box::default);
        handles[stripe].get_or_init(|| self.handle.shards.handle(stripe))
    }
}

/// Decides about a request by all there is to ask.
fn rule(
    authorizer: &Authorizer,
    target: Target<'_>,
    context: Option<&TokenContext>,
    given: Given,
    headers: &mut HeaderMap,
) -> Decision {
    let (policy, shard) = (authorizer.policy(), authorizer.shard_here());
    let found = match (policy.rule(target, context, given, headers), context) {
        (Ok(Ruling::Bare), _) => return Decision::Ready(SentToken::NONE),
        (Ok(Ruling::InContext), Some(context)) => shard.in_context(context, policy),
        (Ok(Ruling::Own | Ruling::InContext), _) => Ok(shard.own(policy)),
        (Err(error), _) => Err(error),
    };
    match found {
        Ok(Found::Ready(ready)) => {
            header::set_over(headers, ready.value);
            shard.count(ready.lookup);
            Decision::Ready(ready.sent)
        }
        Ok(Found::Pending(acquire)) => Decision::Pending(acquire),
        Err(error) => Decision::Refused(error),
    }
}

#[cold]
fn warn_redirected_away(target: Target<'_>) {
    // One for the process: one such redirect tends to be followed by more.
    static WARNINGS: Quiet = Quiet::new();

    let now = AnyClock::System.now();
    if let Some(suppressed) = WARNINGS.may_tell(now) {
        tracing::warn!(
            target: "maskinporten::token",
            origin = %target,
            suppressed,
            "the client below an auth layer followed a redirect to an origin that is not listed, and may have \
             taken the token along: give it a policy that follows nothing, or `same_origin_redirects()` of tower-maskinporten"
        );
    }
}

impl Clone for Authorizer {
    #[inline]
    fn clone(&self) -> Self {
        let stripe = cache::of_this_thread();
        let handle = if self.handle.stripe == stripe {
            &self.handle
        } else {
            self.handle_elsewhere(stripe)
        };
        Self::with(Arc::clone(handle))
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorizer").field(self.policy()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::cache::{Entry, STRIPES};
    use crate::client::MaskinportenClient;
    use crate::source::FixedToken;

    /// Uses so many contexts, and gives their entries.
    fn used(authorizer: &Authorizer, from: usize, count: usize) -> Vec<Weak<Entry>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let uri = Uri::from_static("https://api.example.no/");
        let entries = (from..from + count).map(|number| {
            let context = TokenContext::new().resource(format!("urn:{number}"));
            let context = context.unwrap();
            let entry = authorizer.policy().entry_in(&context).unwrap();
            let entry = Arc::downgrade(entry.entry());
            let mut headers = HeaderMap::new();
            let sent = authorizer.authorize_with(&context, &uri, &mut headers);
            runtime.block_on(sent).unwrap();
            entry
        });
        entries.collect()
    }

    #[test]
    fn entries_that_were_evicted_leave_the_memory_of_a_layer_that_many_threads_use() {
        const KEPT: usize = 500;

        let client = MaskinportenClient::builder()
            .source(FixedToken::new("token", Duration::from_secs(3_600)).unwrap())
            .max_identities(KEPT)
            .build()
            .unwrap();
        let authorizer = client.authorizer(["a:b"], "https://api.example.no");
        let authorizer = authorizer.unwrap();
        let entries = (0..STRIPES).flat_map(|number| {
            let authorizer = &authorizer;
            thread::scope(|threads| {
                let user = threads.spawn(move || {
                    // All that are kept, and then some that no other thread uses.
                    let mut entries = used(authorizer, 0, KEPT);
                    entries.extend(used(authorizer, 10_000 * (number + 1), 1_500));
                    entries
                });
                user.join().unwrap()
            })
        });
        let entries: Vec<_> = entries.collect();

        let mut living: Vec<_> = entries.iter().filter_map(Weak::upgrade).collect();
        living.sort_by_key(|entry| entry.id());
        living.dedup_by_key(|entry| entry.id());
        let retired = living.iter().filter(|entry| entry.is_retired()).count();
        assert!(retired <= KEPT, "{retired} evicted entries are in memory");
    }
}
