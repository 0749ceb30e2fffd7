//! [`Authorizer`]: a token and the origins that may see it, for whatever sends requests.

use parking_lot::Mutex;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, ready};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Uri};

use crate::advice;
use crate::cache::{self, NO_TOKEN, STRIPES, Slot, Window};
use crate::clock::{Horizon, Moment};
use crate::error::{Error, Result};
use crate::header;
use crate::origin::{IntoOrigins, Origin};
use crate::provider::TokenProvider;
use crate::request::{IntoTokenRequest, TokenKind};
use crate::signer::BoxFuture;

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

/// Which token a request left with: two numbers, cheap to carry until its response.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    slot: u64,
    generation: u64,
}

impl Receipt {
    /// For a request that left without a token of ours.
    pub const NONE: Self = Self {
        slot: 0,
        generation: NO_TOKEN,
    };

    /// Tells that the API answered 401, with these headers.
    ///
    /// Where the challenge says that the token itself was not accepted (RFC 6750 §3.1), and it is
    /// still the current one, its replacement is fetched, at most once in 30 s; everybody keeps it
    /// until then. Anything else changes nothing.
    #[cold]
    pub fn unauthorized(self, response_headers: &HeaderMap) {
        if self.generation == NO_TOKEN || !header::rejects_the_token(response_headers) {
            return;
        }
        if let Some(slot) = cache::find(self.slot) {
            slot.report_rejected(self.generation);
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
///
/// An [`Authorizer`] is for `&self`: share it, call [`authorize`](Authorizer::authorize). A
/// [`LocalAuthorizer`] is what one service value holds, which middleware calls with `&mut self`: on
/// a cached token it allocates nothing, takes no lock, and writes nothing another thread reads.
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
    origins: Box<[Origin]>,
    any_https: bool,
    pass_foreign: bool,
    assumed: bool,
    existing: ExistingHeader,
    slot: Arc<Slot>,
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
        Ok(Self::of(Gate {
            origins: origins.into(),
            any_https: false,
            pass_foreign: false,
            assumed: false,
            existing: ExistingHeader::default(),
            slot: Arc::clone(handle.slot()),
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
        self.edit(|gate| gate.any_https = true)
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
        Ok(self.edit(|gate| {
            let mut origins = gate.origins.to_vec();
            origins.push(origin);
            gate.origins = origins.into();
            gate.assumed = true;
        }))
    }

    /// Decides about an `Authorization` header that is already there.
    #[must_use]
    pub fn existing_header(self, existing: ExistingHeader) -> Self {
        self.edit(|gate| gate.existing = existing)
    }

    /// Sets the header on a request to `uri`, waiting for a token where there is none.
    ///
    /// Dropping the future leaves the headers as they were and harms nobody else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Origin`](crate::ErrorKind::Origin) for a request that may not have the token,
    /// and whatever kept it from being fetched.
    pub async fn authorize(&self, uri: &Uri, headers: &mut HeaderMap) -> Result<Receipt> {
        match self.admit(uri) {
            Admission::Listed => {}
            Admission::Bare => return Ok(Receipt::NONE),
            Admission::Refused(error) => return Err(error),
        }
        match self.try_set(headers) {
            Attempt::Set(receipt) => Ok(receipt),
            Attempt::Refused(error) => Err(error),
            Attempt::Wait => Ok(self.acquire().await?.set(headers)),
        }
    }

    /// Whether a request to this address may have the token.
    pub fn admit(&self, uri: &Uri) -> Admission {
        self.table.gate.admit(uri)
    }

    /// Sets the header if a token is at hand.
    pub fn try_set(&self, headers: &mut HeaderMap) -> Attempt {
        self.table.try_set(headers)
    }

    /// Waits for a token. What it gives is good for one request, whatever the token's life.
    pub fn acquire(&self) -> Acquire {
        self.table.gate.acquire()
    }

    /// What one service value holds, to authorise with `&mut self`.
    #[must_use]
    pub fn local(&self) -> LocalAuthorizer {
        LocalAuthorizer {
            seat: Arc::clone(self.table.seat(cache::of_this_thread())),
            table: OnceLock::from(Arc::clone(&self.table)),
            view: None,
            used: false,
        }
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
    /// The first origin, unless existing headers are to be looked at: a request to it has the token
    /// set without another question, and most requests go there.
    fn plain(&self) -> Option<Origin> {
        let replaces = self.existing == ExistingHeader::Replace;
        self.origins.first().filter(|_| replaces).cloned()
    }

    fn admit(&self, uri: &Uri) -> Admission {
        if self.origins.iter().any(|origin| origin.admits(uri)) {
            return Admission::Listed;
        }
        if uri.authority().is_none() {
            if self.assumed {
                return Admission::Listed;
            }
            let message =
                "the request's address has no host, so it cannot be told who would see the token";
            return Admission::Refused(Error::origin(message).with_advice(&advice::NO_AUTHORITY));
        }
        let origin = Origin::of(uri);
        if self.any_https && origin.is_ok() {
            return Admission::Listed;
        }
        if self.pass_foreign {
            return Admission::Bare;
        }
        let listed: Vec<String> = self.origins.iter().map(ToString::to_string).collect();
        let refused = match origin {
            Ok(origin) => Error::origin(format!("the token is not released for {origin}"))
                .with_advice(&advice::FOREIGN_ORIGIN)
                .with_detail("released for", listed.join(" ")),
            Err(error) => error,
        };
        Admission::Refused(refused)
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

    fn acquire(&self) -> Acquire {
        let slot = Arc::clone(&self.slot);
        Acquire(Box::pin(async move {
            let id = slot.id();
            let snapshot = slot.acquire().await?;
            Ok(Ticket {
                value: snapshot.token.bearer().clone(),
                receipt: Receipt {
                    slot: id,
                    generation: snapshot.generation,
                },
            })
        }))
    }
}

/// A wait for a token. Dropping it harms nobody else.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire(BoxFuture<'static, Result<Ticket>>);

impl Future for Acquire {
    type Output = Result<Ticket>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.0.as_mut().poll(cx)))
    }
}

/// A header for one request.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    value: HeaderValue,
    receipt: Receipt,
}

impl Ticket {
    /// Sets the header, in place of any that is there.
    pub fn set(self, headers: &mut HeaderMap) -> Receipt {
        header::set(headers, &self.value);
        self.receipt
    }
}

/// What one service value holds: its own view of the token. Made by [`Authorizer::local`].
///
/// A clone costs one count up, on a line that belongs to the thread that clones.
pub struct LocalAuthorizer {
    seat: Arc<Seat>,
    /// Found at the first clone: to look for it is a shared write, which a service value that is
    /// cloned once for a call and then dropped never makes.
    table: OnceLock<Arc<Table>>,
    /// The first call reads its thread's seat, and the second takes a view of its own: a service that
    /// is cloned for every call would pay for one each time.
    view: Option<Box<View>>,
    used: bool,
}

/// What a stripe of threads holds: the way to the gate, and a view of the token.
///
/// Aligned, so that neither the counts nor the locks of two seats share a line: each clone of a
/// service counts up and down here. Measured: a read through an `ArcSwap` of one shared snapshot with
/// a copy for each stripe takes three times the instructions of a lock that only one thread uses.
#[repr(align(128))]
struct Seat {
    stripe: usize,
    // What most requests need of the gate, without the way there.
    plain: Option<Origin>,
    slot: Arc<Slot>,
    // Only ever tried: nobody waits for it, and it is held while one header is set. The locks of
    // `parking_lot` know no poisoning: a view holds one whole token whatever panicked beside it.
    view: Mutex<View>,
    gate: Arc<Gate>,
    table: Weak<Table>,
}

/// The seats of one layer, made when a thread of their stripe first needs one.
struct Table {
    gate: Arc<Gate>,
    seats: [OnceLock<Arc<Seat>>; STRIPES],
}

/// The token as it was last seen. Generation, moments and header are always of one token.
struct View {
    generation: u64,
    window: Window,
    /// The soft moment, for a glance at the clock.
    fresh: Horizon,
    header: HeaderValue,
}

impl Table {
    fn new(gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self {
            gate,
            seats: Default::default(),
        })
    }

    /// The seat of a stripe of threads.
    #[inline]
    fn seat(self: &Arc<Self>, stripe: usize) -> &Arc<Seat> {
        self.seats[stripe].get_or_init(|| {
            Arc::new(Seat {
                stripe,
                plain: self.gate.plain(),
                slot: Arc::clone(&self.gate.slot),
                view: Mutex::default(),
                gate: Arc::clone(&self.gate),
                table: Arc::downgrade(self),
            })
        })
    }

    fn try_set(self: &Arc<Self>, headers: &mut HeaderMap) -> Attempt {
        let decided = self.gate.decide_existing(headers);
        decided.unwrap_or_else(|| match self.seat(cache::of_this_thread()).set(headers) {
            Some(receipt) => Attempt::Set(receipt),
            None => Attempt::Wait,
        })
    }
}

impl Seat {
    #[inline]
    fn is_plain(&self, uri: &Uri) -> bool {
        self.plain.as_ref().is_some_and(|origin| origin.is(uri))
    }

    /// Sets the header by this seat's view, where the token may be used now.
    #[inline]
    fn set(&self, headers: &mut HeaderMap) -> Option<Receipt> {
        match self.view.try_lock() {
            Some(mut view) => view.set(&self.slot, headers),
            None => self.set_past_the_view(headers),
        }
    }

    /// Sets the header without a view: another thread of this stripe is looking at it just now.
    #[cold]
    fn set_past_the_view(&self, headers: &mut HeaderMap) -> Option<Receipt> {
        View::default().set(&self.slot, headers)
    }
}

impl View {
    /// Sets the header, where the token may be used now.
    #[inline]
    fn set(&mut self, slot: &Arc<Slot>, headers: &mut HeaderMap) -> Option<Receipt> {
        // A slot's generation is 0 until there is a token, and a view's moments are past until then.
        let fresh = slot.generation() == self.generation && self.fresh.is_ahead(slot.clock());
        if !fresh && !self.look(slot) {
            return None;
        }
        header::set(headers, &self.header);
        Some(Receipt {
            slot: slot.id(),
            generation: self.generation,
        })
    }

    /// Looks at the slot and at the clock anew, and says whether there is a token that may be used.
    #[cold]
    fn look(&mut self, slot: &Arc<Slot>) -> bool {
        let now = slot.clock().now();
        if slot.generation() != self.generation {
            let Some(snapshot) = slot.current(now) else {
                return false;
            };
            *self = Self {
                generation: snapshot.generation,
                window: snapshot.window,
                fresh: Horizon::PAST,
                header: header::copy(snapshot.token.bearer()),
            };
        }
        // Without a token to go on with, whoever waits starts the flight, and nobody who only looks.
        if now >= self.window.hard {
            return false;
        }
        if now >= self.window.soft {
            slot.refresh_if_due(now);
        } else {
            // Also where the clocks have moved apart: they are trusted again from here on.
            self.fresh = Horizon::at(self.window.soft, now, slot.clock());
        }
        true
    }
}

impl Default for View {
    fn default() -> Self {
        Self {
            generation: NO_TOKEN,
            window: Window {
                soft: Moment::PAST,
                hard: Moment::PAST,
            },
            fresh: Horizon::PAST,
            header: HeaderValue::from_static(""),
        }
    }
}

impl LocalAuthorizer {
    /// Sets the header if the request goes to the first listed origin and a good token is at hand:
    /// the path of nearly every request. For all others it gives nothing and changes nothing;
    /// [`admit`](Self::admit) and [`try_set`](Self::try_set) tell what they are.
    #[inline]
    pub fn authorize_now<B>(&mut self, request: &mut Request<B>) -> Option<Receipt> {
        let seat = &*self.seat;
        if !seat.is_plain(request.uri()) {
            return None;
        }
        match &mut self.view {
            Some(view) => view.set(&seat.slot, request.headers_mut()),
            None => self.set_first(request.headers_mut()),
        }
    }

    /// As [`authorize_now`](Self::authorize_now), where the value is shared between threads: it
    /// reads a view that few of them share instead of one of its own.
    #[inline]
    pub fn authorize_now_shared<B>(&self, request: &mut Request<B>) -> Option<Receipt> {
        let seat = self.seat_here();
        if !seat.is_plain(request.uri()) {
            return None;
        }
        seat.set(request.headers_mut())
    }

    /// Whether a request to this address may have the token.
    pub fn admit(&self, uri: &Uri) -> Admission {
        self.seat.gate.admit(uri)
    }

    /// Sets the header if a token is at hand.
    pub fn try_set(&mut self, headers: &mut HeaderMap) -> Attempt {
        let decided = self.seat.gate.decide_existing(headers);
        decided.unwrap_or_else(|| {
            let slot = &self.seat.slot;
            match self.view.get_or_insert_default().set(slot, headers) {
                Some(receipt) => Attempt::Set(receipt),
                None => Attempt::Wait,
            }
        })
    }

    /// As [`try_set`](Self::try_set), where the value is shared between threads.
    pub fn try_set_shared(&self, headers: &mut HeaderMap) -> Attempt {
        let decided = self.seat.gate.decide_existing(headers);
        decided.unwrap_or_else(|| match self.seat_here().set(headers) {
            Some(receipt) => Attempt::Set(receipt),
            None => Attempt::Wait,
        })
    }

    /// Waits for a token. What it gives is good for one request, whatever the token's life.
    pub fn acquire(&self) -> Acquire {
        self.seat.gate.acquire()
    }

    fn set_first(&mut self, headers: &mut HeaderMap) -> Option<Receipt> {
        if !self.used {
            self.used = true;
            return self.seat.set(headers);
        }
        let view = self.view.get_or_insert_default();
        view.set(&self.seat.slot, headers)
    }

    /// The calling thread's seat.
    #[inline]
    fn seat_here(&self) -> &Arc<Seat> {
        let stripe = cache::of_this_thread();
        if self.seat.stripe == stripe {
            return &self.seat;
        }
        let table = self.table.get().unwrap_or_else(|| self.find_table());
        table.seat(stripe)
    }

    #[cold]
    fn find_table(&self) -> &Arc<Table> {
        // Layer and first service may be gone, as where an axum router keeps clones of its state:
        // the clones of this value, and the threads that share it, then sit at a table of its own.
        let own = || Table::new(Arc::clone(&self.seat.gate));
        let found = || self.seat.table.upgrade().unwrap_or_else(own);
        self.table.get_or_init(found)
    }
}

impl Clone for LocalAuthorizer {
    #[inline]
    fn clone(&self) -> Self {
        Self {
            seat: Arc::clone(self.seat_here()),
            table: OnceLock::new(),
            view: None,
            used: false,
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Gate");
        out.field("origins", &self.origins);
        out.field("any_https", &self.any_https);
        out.field("pass_foreign", &self.pass_foreign);
        out.field("existing", &self.existing);
        out.field("slot", &self.slot);
        out.finish_non_exhaustive()
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorizer").field(&self.table.gate).finish()
    }
}

impl fmt::Debug for LocalAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalAuthorizer")
            .field(&self.seat.gate)
            .finish()
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").finish_non_exhaustive()
    }
}
