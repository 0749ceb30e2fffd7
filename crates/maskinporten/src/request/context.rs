//! [`TokenContext`]: what one request asks for itself.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use http::Extensions;
use serde_json::Value;

use super::{Consent, SystemUser, TokenRequest, with_resource, written};
use crate::error::{Error, Result};
use crate::organisation::OrganisationNumber;
use crate::origin::Origin;
use crate::scope::ScopeSet;

/// What one request asks for itself: another organisation's token than the layer's own, or none.
///
/// A caller puts it into the request's extensions, and the layer that authorises the request reads it
/// there.
///
/// - The layer must expect it: [`require_context`] where every request has one, [`optional_context`]
///   where those without one are to have the layer's own token. Else the request is refused.
/// - It is laid over the [`TokenRequest`] that the layer was built with: what it says replaces what the
///   layer says of the same thing, and all else stays the layer's. A system user and a consent are the
///   same thing, `authorization_details`.
/// - It may ask for fewer [scopes](Self::scopes) than the layer does, and for others where the layer
///   allows them.
/// - What comes of that is a request like any other. Its token is kept under all that it would send, so
///   that no caller gets the token of another organisation, and equal contexts share one.
/// - A request without a context has the layer's own token, which contexts never touch.
/// - It lists no origin: a request to one that is not listed is refused, or passes bare, with a context
///   as without. It may be [bound to one](Self::for_origin), and is then refused at any other.
/// - With [`skip`](Self::skip) a request to a listed origin leaves as it came.
/// - Where the layer's provider keeps the token of one request only, as
///   [`TokenHandle::from_source`](crate::TokenHandle::from_source) does, a request with a context fails.
///   It never has the layer's own token instead.
///
/// It may get lost on the way: a layer outside that makes a new request, as tower-http's
/// `FollowRedirect` does for each hop, drops what is in the extensions (0.6 always, 0.7 on the way to
/// another origin). Under [`require_context`] such a hop is refused; under [`optional_context`] it would
/// have the layer's own token. With the policy `KeepContext` of `tower-maskinporten` it keeps its own.
///
/// It is cheap to clone, and its hash is made once, when it is: build a customer's context once and insert a
/// clone of it into each request. A clone of one that names an organisation or a system user (with a reference
/// of up to 46 bytes) writes to nothing that another thread reads; scopes, resources, a consent and a bound
/// origin are shared by the clones and counted.
///
/// [`require_context`]: crate::Authorizer::require_context
/// [`optional_context`]: crate::Authorizer::optional_context
///
/// ```
/// use http::{Request, header};
/// use maskinporten::{MaskinportenClient, TokenContext};
/// # use maskinporten::FixedToken;
/// # use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MaskinportenClient::builder()
/// #     .source(FixedToken::new("fake", Duration::from_secs(600))?)
/// #     .build()?;
/// let authorizer = client.authorizer(["krr:read"], "https://api.example.no")?;
/// let customer = TokenContext::new().consumer_org("991825827")?;
///
/// // Below a layer that expects one it is enough to put it there; without one it is given by hand.
/// let mut request = Request::get("https://api.example.no/person")
///     .extension(customer.clone())
///     .body(())?;
/// let uri = request.uri().clone();
/// authorizer.authorize_with(&customer, &uri, request.headers_mut()).await?;
/// assert!(request.headers().contains_key(header::AUTHORIZATION));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenContext {
    /// Of all the rest. Prepared, since a layer looks the token up by it on each request.
    hash: u64,
    says: Says,
}

/// What a context says: all of it is compared before a token is used.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Says {
    skip: bool,
    consumer_org: Option<OrganisationNumber>,
    authorization_details: Option<Details>,
    rest: Option<Arc<Rest>>,
}

/// What few contexts say, behind one pointer: a context is small enough for a row of a layer's table to be two
/// cache lines.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Rest {
    origin: Option<Origin>,
    scopes: Option<ScopeSet>,
    resources: Option<Arc<[Box<str>]>>,
}

/// What `authorization_details` say. The usual one is inline and not as JSON, so that a clone shares no
/// reference count and a comparison follows no pointer.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Details {
    SystemUser(SystemUser),
    Consent(Arc<Value>),
}

impl TokenContext {
    /// A context that says nothing yet: as it is, it gives the layer's own token.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No token at all for this request. An `Authorization` of the caller's stays, also where the
    /// layer replaces or refuses such headers.
    ///
    /// A skip stays one, also if more is said to it.
    #[must_use]
    pub fn skip() -> Self {
        Self::default().saying(|says| says.skip = true)
    }

    /// Binds the context to one origin: a request that carries it anywhere else is refused, listed or not,
    /// with a token or without. Said again, the last one counts.
    ///
    /// For a context that must not go along where an API redirects to another one of the layer's origins.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Origin`](crate::ErrorKind::Origin) where it is no origin, or may never see a token.
    pub fn for_origin(self, origin: impl AsRef<str>) -> Result<Self> {
        let origin = origin.as_ref().parse()?;
        Ok(self.saying(|says| says.rest_mut().origin = Some(origin)))
    }

    /// Asks for these scopes instead of the layer's: for fewer of them, or for others that the layer
    /// [allows](crate::Authorizer::allow_scopes). Said again, the last ones count.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where they are none.
    pub fn scopes<I>(self, scopes: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let scopes = ScopeSet::new(scopes)?;
        Ok(self.saying(|says| says.rest_mut().scopes = Some(scopes)))
    }

    /// Asks on behalf of an organisation, as [`TokenRequest::consumer_org`] does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where it is no organisation number.
    pub fn consumer_org<O>(self, organisation: O) -> Result<Self>
    where
        O: TryInto<OrganisationNumber>,
        Error: From<O::Error>,
    {
        let organisation = organisation.try_into()?;
        Ok(self.saying(|says| says.consumer_org = Some(organisation)))
    }

    /// Asks as a customer's system user, as [`TokenRequest::system_user`] does.
    #[must_use]
    pub fn system_user(self, user: SystemUser) -> Self {
        self.saying(|says| says.authorization_details = Some(Details::SystemUser(user)))
    }

    /// Asks by a consent that was given, as [`TokenRequest::consent`] does.
    #[must_use]
    pub fn consent(self, consent: Consent) -> Self {
        let details = written(&consent.into_details());
        self.saying(|says| says.authorization_details = Some(Details::Consent(details)))
    }

    /// Restricts the token to an API, as [`TokenRequest::resource`] does, instead of those that the
    /// layer's is restricted to. Said again, to all that were said; blank text says nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Request`](crate::ErrorKind::Request) where it is no absolute URI, or has a
    /// fragment.
    pub fn resource(self, resource: impl AsRef<str>) -> Result<Self> {
        let known = self.rest().and_then(|rest| rest.resources.clone());
        let Some(resources) = with_resource(known, resource.as_ref())? else {
            return Ok(self);
        };
        Ok(self.saying(|says| says.rest_mut().resources = Some(resources)))
    }

    fn saying(mut self, say: impl FnOnce(&mut Says)) -> Self {
        say(&mut self.says);
        self.hash = HASHER.hash_one(&self.says);
        self
    }
}

impl Says {
    fn rest_mut(&mut self) -> &mut Rest {
        Arc::make_mut(self.rest.get_or_insert_default())
    }
}

/// One for the process: a context is made without a client, and used with any. Its keys are random, so that
/// a party that chooses organisations cannot choose hashes.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Default for TokenContext {
    fn default() -> Self {
        let says = Says::default();
        Self {
            hash: HASHER.hash_one(&says),
            says,
        }
    }
}

impl PartialEq for TokenContext {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.says == other.says
    }
}

impl Eq for TokenContext {}

impl Hash for TokenContext {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

// ===== what an authorizer reads =====

impl TokenContext {
    /// The context of a request with these extensions.
    #[inline]
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        // Most requests have no extensions, and pay for this look and nothing else.
        if extensions.is_empty() {
            return None;
        }
        Self::among(extensions)
    }

    fn rest(&self) -> Option<&Rest> {
        self.says.rest.as_deref()
    }

    /// Made once, when the context was.
    #[inline]
    pub(crate) fn prepared_hash(&self) -> u64 {
        self.hash
    }

    /// The same context with another hash, to make two collide.
    #[cfg(test)]
    pub(crate) fn with_hash(self, hash: u64) -> Self {
        Self { hash, ..self }
    }

    #[inline]
    pub(crate) fn is_skip(&self) -> bool {
        self.says.skip
    }

    /// Whether it says on whose behalf it asks.
    #[inline]
    pub(crate) fn names_somebody(&self) -> bool {
        self.says.consumer_org.is_some() || self.says.authorization_details.is_some()
    }

    /// The origin that it is bound to.
    #[inline]
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.rest()?.origin.as_ref()
    }

    /// The first scope that it asks for and that is neither the layer's nor allowed.
    pub(crate) fn beyond(&self, layer: &TokenRequest, allowed: Option<&ScopeSet>) -> Option<&str> {
        let asked = self.rest()?.scopes.as_ref()?;
        let known = |scope: &str| {
            let sets = [Some(&layer.scopes), allowed];
            sets.into_iter().flatten().any(|set| set.contains(scope))
        };
        asked.as_str().split(' ').find(|scope| !known(scope))
    }

    /// The request that comes of laying this one over another.
    pub(crate) fn over(&self, request: &TokenRequest) -> TokenRequest {
        let says = &self.says;
        let rest = self.rest();
        let scopes = rest.and_then(|rest| rest.scopes.as_ref());
        let resources = rest.and_then(|rest| rest.resources.as_ref());
        let resources = resources.or(request.resources.as_ref());
        let details = match &says.authorization_details {
            Some(Details::SystemUser(user)) => Some(written(&user.details())),
            Some(Details::Consent(details)) => Some(Arc::clone(details)),
            None => request.authorization_details.clone(),
        };
        TokenRequest {
            scopes: scopes.unwrap_or(&request.scopes).clone(),
            resources: resources.cloned(),
            consumer_org: says.consumer_org.or(request.consumer_org),
            authorization_details: details,
        }
    }

    // Not inlined: the look-up would stand in the path of requests that never make it.
    #[inline(never)]
    fn among(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }
}

impl fmt::Debug for TokenContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TokenContext");
        if self.says.skip {
            out.field("skip", &true);
        }
        if let Some(origin) = self.origin() {
            out.field("origin", origin);
        }
        if let Some(scopes) = self.rest().and_then(|rest| rest.scopes.as_ref()) {
            out.field("scopes", scopes);
        }
        if let Some(resources) = self.rest().and_then(|rest| rest.resources.as_ref()) {
            out.field("resources", resources);
        }
        if let Some(consumer) = &self.says.consumer_org {
            out.field("consumer_org", consumer);
        }
        if self.says.authorization_details.is_some() {
            // A consent names a person: their number stays out of logs.
            out.field("authorization_details", &format_args!("[redacted]"));
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_context_says_replaces_what_the_layer_says_of_the_same_thing() {
        let user = |organisation| SystemUser::new(organisation).unwrap();
        let scopes = || TokenRequest::scopes(["a:b", "c:d"]).unwrap();
        let layer = scopes()
            .resource("urn:one")
            .and_then(|request| request.consumer_org("991825827"))
            .unwrap()
            .system_user(user("311169963"));
        #[track_caller]
        fn check(context: &TokenContext, layer: &TokenRequest, expected: &TokenRequest) {
            assert_eq!(&context.over(layer), expected, "{context:?}");
        }
        check(&TokenContext::new(), &layer, &layer);
        check(
            &TokenContext::new().consumer_org("405003309").unwrap(),
            &layer,
            &layer.clone().consumer_org("405003309").unwrap(),
        );
        check(
            &TokenContext::new().system_user(user("405003309")),
            &layer,
            &layer.clone().system_user(user("405003309")),
        );
        check(
            &TokenContext::new()
                .resource("urn:two")
                .and_then(|context| context.resource(" "))
                .and_then(|context| context.resource("urn:three"))
                .unwrap(),
            &scopes().resource("urn:one").unwrap(),
            &scopes()
                .resource("urn:three")
                .and_then(|request| request.resource("urn:two"))
                .unwrap(),
        );
    }

    #[test]
    fn a_skip_stays_one_and_a_person_is_not_printed() {
        let id = "77ed8698-8e5e-4b32-a2f0-d2b6c2f0c0b1";
        let consent = Consent::from_person(id, "01017012345").unwrap();
        let context = TokenContext::skip().consumer_org("991825827").unwrap();
        let context = context.consent(consent);
        assert!(context.is_skip());
        assert!(!format!("{context:?}").contains("0101701"));
    }
}
