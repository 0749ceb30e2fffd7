//! Every order of events on flights: what callers, servers, clocks and an API can do to each other
//! wherever a task may stop.
//!
//! - A step is one event: a caller is polled or dropped, a request answered, time passes, a clock is
//!   set, an API reports a token. What must hold is looked at after each.
//! - Callers are polled by hand, with wakers that remember; flights run when an event lets them.
//! - Short orders are walked through one by one, long ones are drawn by chance.
//! - Threads are another subject: here there is one, and it changes hands where something is awaited.

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use maskinporten::{
    Authorizer, Clock, Error, ErrorKind, MaskinportenClient, Receipt, Result, Transport,
};
use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, advance, sleep};
use tower::service_fn;

use crate::clocks::Clocks;
use crate::wire::{self, Jws};
use crate::world::{API, Unsigned};

// ===== whose tokens there are =====

/// Three identities; Altinn's token is made of the reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Reader,
    Writer,
    Altinn,
}

impl Whose {
    const ALL: [Self; 3] = [Self::Reader, Self::Writer, Self::Altinn];

    fn scope(self) -> &'static str {
        match self {
            Self::Reader | Self::Altinn => "a:read",
            Self::Writer => "b:write",
        }
    }

    fn of(request: &Request<Bytes>) -> Self {
        match Jws::in_form(request).map(|jws| jws.claims["scope"].to_string()) {
            None => Self::Altinn,
            Some(scope) if scope.contains("a:read") => Self::Reader,
            Some(_) => Self::Writer,
        }
    }
}

// ===== servers that answer when they are told to =====

/// The requests that were sent, in order.
#[derive(Clone, Default)]
struct Desk(Arc<Mutex<Vec<Asked>>>);

struct Asked {
    whose: Whose,
    at: Duration,
    /// Of an exchange: which token it shows.
    shows: Option<usize>,
    jti: Option<String>,
    answer: Option<oneshot::Sender<Answer>>,
    given_up: bool,
}

impl Asked {
    fn is_open(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| !answer.is_closed())
    }
}

enum Answer {
    Http(Response<Full<Bytes>>),
    Panic,
}

impl Desk {
    fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.0.lock().unwrap()
    }

    fn transport(&self, clocks: Clocks) -> Transport {
        let desk = self.clone();
        Transport::new(service_fn(move |request: Request<Bytes>| {
            let (answer, answered) = oneshot::channel();
            let jti = Jws::in_form(&request).map(|jws| jws.claims["jti"].to_string());
            desk.asked().push(Asked {
                whose: Whose::of(&request),
                at: clocks.monotonic(),
                shows: request.headers().get(AUTHORIZATION).map(number_in),
                jti,
                answer: Some(answer),
                given_up: false,
            });
            async move {
                match answered.await.unwrap() {
                    Answer::Http(response) => Ok::<_, Infallible>(response),
                    // Without a word: a hook that prints would be all that is seen of these tests.
                    Answer::Panic => std::panic::resume_unwind(Box::new("planted")),
                }
            }
        }))
    }
}

/// A token that says which one it is.
fn text(number: usize, life: Duration) -> String {
    let claims = format!(
        r#"{{"n":{number},"iat":1000,"exp":{}}}"#,
        1000 + life.as_secs()
    );
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

fn number_in(bearer: &HeaderValue) -> usize {
    number(bearer.to_str().unwrap().strip_prefix("Bearer ").unwrap())
}

fn number(text: &str) -> usize {
    let number = Jws::parse(text).claims["n"].as_u64().unwrap();
    usize::try_from(number).unwrap()
}

// ===== what can happen =====

#[derive(Clone, Copy, Debug)]
enum Event {
    Call(Whose),
    /// The number is taken modulo as many as there are, here and below.
    Poll(usize),
    PollAll,
    Drop(usize),
    DropAll,
    /// Lets tasks run for so many turns.
    Run(u8),
    Answer(usize, Said),
    /// Time passes as it does: what is due in between happens when it is due.
    Pass(Duration),
    /// Time passes for nobody: the process stands still, and all that was due is due at once.
    Stall(Duration),
    Until(Mark, i64),
    Suspend,
    SetWall(i64),
    /// An API reports the token of an earlier call.
    Reject(usize),
}

#[derive(Clone, Copy, Debug)]
enum Said {
    Token(u64),
    Unavailable(Option<u64>),
    Refused,
    Garbage,
    Panic,
}

/// A moment that something depends on; the event adds milliseconds to it.
#[derive(Clone, Copy, Debug)]
enum Mark {
    Soft(Whose),
    Hard(Whose),
    RetryAt(Whose),
    AttemptTimeout,
    Deadline,
}

// ===== what is known =====

/// The numbers that callers can rely on, as the crate documents them.
const ATTEMPT: Duration = Duration::from_secs(3);
const FLIGHT: Duration = Duration::from_secs(10);
/// After this much more a flight is given up for lost.
const GRACE: Duration = Duration::from_secs(1);
const FORCED_EVERY: Duration = Duration::from_secs(30);
/// Tokio's timers fire at whole milliseconds.
const TICK: Duration = Duration::from_millis(2);

struct Token {
    whose: Whose,
    /// When the request for it left.
    asked: Duration,
    /// No earlier than this was its life counted from: an Altinn token's flight may have waited for
    /// the first token before it asked.
    counted: Duration,
    life: Duration,
    answered: Duration,
}

impl Token {
    /// The last moment before which it may be used, and one before which it certainly may.
    fn hard(&self) -> Duration {
        self.asked + self.life.saturating_sub(self.margin())
    }

    fn surely_good_until(&self) -> Duration {
        self.counted + self.life.saturating_sub(self.margin())
    }

    fn soft(&self) -> Duration {
        self.counted + self.life.mul_f64(0.7)
    }

    fn margin(&self) -> Duration {
        let share = self.life.mul_f64(0.05);
        share.clamp(Duration::from_secs(1), Duration::from_secs(30))
    }

    /// Its life passed on its way.
    fn is_dead_on_arrival(&self) -> bool {
        self.answered - self.asked >= self.life.max(Duration::from_secs(1))
    }

    /// Before its hard end; or given once, to those who waited for it, because it arrived after that.
    fn may_be_used(&self, now: Duration) -> bool {
        now < self.hard() || (self.answered >= self.hard() && now < self.asked + self.life)
    }
}

#[derive(Default)]
struct Known {
    /// The token in hand, where that is certain.
    newest: Option<usize>,
    /// How many flights have ended, for all we know.
    landings: usize,
    tokens: usize,
    /// From an error's `retry_at`.
    not_before: Duration,
    rejected: Option<Duration>,
    forced: Option<Duration>,
    panics: usize,
    /// Since when flights may be in the air that everybody has given up for lost.
    lost: Option<Instant>,
}

struct Caller {
    whose: Whose,
    call: Pin<Box<dyn Future<Output = Result<Got>>>>,
    woken: Arc<Woken>,
    waits: bool,
    landings: usize,
    tokens: usize,
    /// Whether it may have heard of a flight that was lost.
    doubtful: bool,
}

/// The number of a token, and what its call left with, where it can be reported.
type Got = (usize, Option<Receipt>);

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client, those who call it, and what must hold between them.
struct Orders {
    clocks: Clocks,
    desk: Desk,
    client: MaskinportenClient,
    doors: [Authorizer; 3],
    callers: Vec<Caller>,
    calls: usize,
    tokens: Vec<Token>,
    known: [Known; 3],
    /// Tokens that were answered and may not have landed yet.
    on_the_way: Vec<(Whose, Option<usize>)>,
    given: Vec<(Whose, usize, Receipt)>,
    /// By how much the wall clock was wrong at some time.
    offsets: Vec<i64>,
    jtis: HashSet<String>,
    seen: usize,
    /// When a caller was last polled or a token reported, and a flight may have been sent.
    stirred: Duration,
}

impl Orders {
    fn new() -> Self {
        let clocks = Clocks::starting_at(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let desk = Desk::default();
        let client = MaskinportenClient::builder()
            .signer("test", "our-client", Unsigned)
            .transport(desk.transport(clocks.clone()))
            .clock(clocks.clone())
            .build()
            .unwrap();
        let doors = Whose::ALL.map(|whose| {
            let scopes = [whose.scope()];
            match whose {
                Whose::Altinn => client.altinn_authorizer(scopes, API).unwrap(),
                _ => client.authorizer(scopes, API).unwrap(),
            }
        });
        Self {
            clocks,
            desk,
            client,
            doors,
            callers: Vec::new(),
            calls: 0,
            tokens: Vec::new(),
            known: Default::default(),
            on_the_way: Vec::new(),
            given: Vec::new(),
            offsets: vec![0],
            jtis: HashSet::new(),
            seen: 0,
            stirred: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        self.clocks.monotonic()
    }

    /// Makes an event happen, if it can; then looks whether all is as it must be.
    async fn step(&mut self, event: Event) -> bool {
        let happened = match event {
            Event::Call(whose) => self.call(whose),
            Event::Poll(index) => {
                let index = index.checked_rem(self.callers.len());
                index.map(|index| self.poll(index)).is_some()
            }
            Event::PollAll => self.poll_all(),
            Event::Drop(index) => {
                let index = index.checked_rem(self.callers.len());
                index
                    .map(|index| drop(self.callers.remove(index)))
                    .is_some()
            }
            Event::DropAll => !std::mem::take(&mut self.callers).is_empty(),
            Event::Run(turns) => {
                for _ in 0..turns {
                    yield_now().await;
                }
                true
            }
            Event::Answer(index, said) => self.answer(index, said),
            Event::Pass(time) => self.pass(time).await,
            Event::Stall(time) => {
                let flying = Whose::ALL.map(|whose| self.may_be_flying(whose));
                advance(time).await;
                self.lose_flights(flying);
                true
            }
            Event::Until(mark, by) => match self.until(mark, by) {
                Some(time) => self.pass(time).await,
                None => false,
            },
            Event::Suspend => {
                self.lose_flights(Whose::ALL.map(|whose| self.may_be_flying(whose)));
                self.clocks.suspend(Duration::from_secs(7200));
                true
            }
            Event::SetWall(by) => {
                let offset = self.clocks.set_wall(by);
                self.offsets.push(offset);
                true
            }
            Event::Reject(index) => self.reject(index),
        };
        self.look();
        happened
    }

    // ----- callers -----

    fn call(&mut self, whose: Whose) -> bool {
        if self.callers.len() == 8 {
            return false;
        }
        self.calls += 1;
        let client = self.client.clone();
        let door = self.doors[whose as usize].clone();
        let by_hand = self.calls.is_multiple_of(3);
        let call = async move {
            if by_hand {
                let scopes = [whose.scope()];
                let token = match whose {
                    Whose::Altinn => client.altinn_token(scopes).await?,
                    _ => client.access_token(scopes).await?,
                };
                return Ok((number(token.expose()), None));
            }
            let mut headers = HeaderMap::new();
            let uri = Uri::from_static(API);
            let receipt = door.authorize(&uri, &mut headers).await?;
            Ok((number_in(&headers[AUTHORIZATION]), Some(receipt)))
        };
        self.callers.push(Caller {
            whose,
            call: Box::pin(call),
            woken: Arc::new(Woken(AtomicBool::new(false))),
            waits: false,
            landings: 0,
            tokens: 0,
            doubtful: false,
        });
        true
    }

    fn poll_all(&mut self) -> bool {
        let waiting = self.callers.len();
        for index in (0..waiting).rev() {
            let _ = self.poll(index);
        }
        waiting > 0
    }

    /// Polls a caller, which leaves if it is done.
    fn poll(&mut self, index: usize) -> Poll<()> {
        let now = self.now();
        self.stirred = now;
        let caller = &mut self.callers[index];
        let whose = caller.whose;
        let known = &mut self.known[whose as usize];
        let in_hand = known
            .newest
            .filter(|newest| now < self.tokens[*newest].surely_good_until());
        caller.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&caller.woken));
        let polled = caller.call.as_mut().poll(&mut Context::from_waker(&waker));
        let came_now = !caller.waits;
        match polled {
            Poll::Pending => {
                assert!(
                    in_hand.is_none() || (!came_now && caller.tokens == known.tokens),
                    "somebody waits although there is a good token"
                );
                caller.waits = true;
                caller.doubtful |= known.lost.is_some();
                caller.landings = known.landings;
                caller.tokens = known.tokens;
                return Poll::Pending;
            }
            Poll::Ready(Ok((number, receipt))) => {
                let token = &self.tokens[number];
                assert_eq!(token.whose, whose, "a token of somebody else's");
                assert!(
                    token.may_be_used(now),
                    "a token that ended at {:?} was given at {now:?}",
                    token.hard()
                );
                if came_now && let Some(newest) = in_hand {
                    assert!(number >= newest, "a newer token was there");
                }
                if let Some(receipt) = receipt {
                    self.given.push((whose, number, receipt));
                }
            }
            Poll::Ready(Err(error)) => {
                assert!(
                    !came_now || in_hand.is_none(),
                    "a failure surfaced although there is a good token: {error:?}"
                );
                let is_older = !came_now && caller.tokens < known.tokens;
                let is_doubtful = caller.doubtful || known.lost.is_some();
                match error.retry_at() {
                    // What a lost flight failed with need not be remembered.
                    _ if is_doubtful => {}
                    Some(_) if is_older => {}
                    Some(at) => {
                        let at = self.earliest(at);
                        let known = &mut self.known[whose as usize];
                        known.not_before = known.not_before.max(at);
                    }
                    None => self.went_down(whose, &error),
                }
            }
        }
        drop(self.callers.remove(index));
        Poll::Ready(())
    }

    /// Only a flight that was lost again and again leaves nothing to remember.
    fn went_down(&self, whose: Whose, error: &Error) {
        let panics = match whose {
            Whose::Altinn => self.known[0].panics + self.known[2].panics,
            _ => self.known[whose as usize].panics,
        };
        assert_eq!(error.kind(), ErrorKind::Runtime, "{error:?}");
        assert!(panics > 0, "{error:?}");
    }

    /// A moment of the wall clock on the other one, by the reading that makes it the earliest.
    fn earliest(&self, at: SystemTime) -> Duration {
        let ahead = self.offsets.iter().max().unwrap();
        let start = self.clocks.wall_at_start();
        let since = at.duration_since(start).unwrap_or_default();
        match u64::try_from(*ahead) {
            Ok(ahead) => since.saturating_sub(Duration::from_secs(ahead)),
            Err(_) => since + Duration::from_secs(ahead.unsigned_abs()),
        }
    }

    // ----- servers -----

    fn answer(&mut self, index: usize, said: Said) -> bool {
        let now = self.now();
        let desk = self.desk.clone();
        let mut asked = desk.asked();
        let mut open: Vec<&mut Asked> = asked.iter_mut().filter(|asked| asked.is_open()).collect();
        let Some(index) = index.checked_rem(open.len()) else {
            return false;
        };
        let asked = &mut *open[index];
        let whose = asked.whose;
        let known = &mut self.known[whose as usize];
        let answer = match said {
            Said::Token(life) => {
                let life = Duration::from_secs(life);
                let text = text(self.tokens.len(), life);
                let waited = match whose {
                    Whose::Altinn => FLIGHT,
                    _ => Duration::ZERO,
                };
                self.on_the_way.push((whose, Some(self.tokens.len())));
                self.tokens.push(Token {
                    whose,
                    asked: asked.at,
                    counted: asked.at.saturating_sub(waited),
                    life,
                    answered: now,
                });
                match whose {
                    Whose::Altinn => wire::answer(200, text),
                    _ => wire::answer(
                        200,
                        format!(
                            r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":{}}}"#,
                            life.as_secs()
                        ),
                    ),
                }
            }
            Said::Unavailable(after) => {
                let mut response = wire::answer(503, "");
                if let Some(after) = after {
                    let name = HeaderName::from_static("retry-after");
                    response.headers_mut().insert(name, after.into());
                }
                response
            }
            Said::Refused if whose == Whose::Altinn => {
                // Taken for a word about the first token, which is then renewed.
                self.known[Whose::Reader as usize].rejected = Some(now);
                wire::answer(401, "")
            }
            Said::Refused => {
                self.on_the_way.push((whose, None));
                wire::answer(400, r#"{"error":"invalid_scope"}"#)
            }
            Said::Garbage => wire::answer(200, "<html>"),
            Said::Panic => {
                known.panics += 1;
                let sent = asked.answer.take().unwrap().send(Answer::Panic);
                assert!(sent.is_ok());
                return true;
            }
        };
        let sent = asked.answer.take().unwrap().send(Answer::Http(answer));
        assert!(sent.is_ok());
        true
    }

    fn reject(&mut self, index: usize) -> bool {
        let Some(index) = index.checked_rem(self.given.len()) else {
            return false;
        };
        let now = self.now();
        let (whose, number, receipt) = self.given[index];
        let known = &mut self.known[whose as usize];
        if known.newest.is_none_or(|newest| newest <= number) && now < self.tokens[number].hard() {
            known.rejected = Some(now);
        }
        self.stirred = now;
        let _ = receipt.unauthorized(None, &HeaderMap::new());
        true
    }

    // ----- time -----

    /// Time passes, and then everything that can run has run.
    async fn pass(&mut self, time: Duration) -> bool {
        sleep(time).await;
        for _ in 0..8 {
            yield_now().await;
        }
        for (whose, token) in std::mem::take(&mut self.on_the_way) {
            let lost = self.is_lost(whose);
            let known = &mut self.known[whose as usize];
            // One that is dead when it arrives is nobody's landing: who waited may be in the next flight.
            let is_dead = token.is_some_and(|number| self.tokens[number].is_dead_on_arrival());
            known.landings += usize::from(!is_dead);
            if let Some(number) = token {
                let token = &self.tokens[number];
                let is_kept = token.answered < token.surely_good_until() && !lost;
                known.newest = is_kept.then_some(number);
                known.tokens += 1;
                known.not_before = Duration::ZERO;
            }
        }
        self.look();
        self.find_flights();
        for caller in &self.callers {
            let known = &self.known[caller.whose as usize];
            let has_landed = caller.waits && caller.landings < known.landings;
            assert!(
                !has_landed || caller.woken.0.load(Ordering::Relaxed) || self.is_lost(caller.whose),
                "the flight has landed and somebody was not woken"
            );
        }
        true
    }

    fn until(&self, mark: Mark, by: i64) -> Option<Duration> {
        let newest = |whose: Whose| self.known[whose as usize].newest;
        let at = match mark {
            Mark::Soft(whose) => self.tokens[newest(whose)?].soft(),
            Mark::Hard(whose) => self.tokens[newest(whose)?].hard(),
            Mark::RetryAt(whose) => self.known[whose as usize].not_before,
            Mark::AttemptTimeout => self.first_open()? + ATTEMPT,
            Mark::Deadline => self.first_open()? + FLIGHT,
        };
        let by_ms = Duration::from_millis(by.unsigned_abs());
        let at = if by < 0 {
            at.checked_sub(by_ms)?
        } else {
            at + by_ms
        };
        at.checked_sub(self.now())
    }

    fn first_open(&self) -> Option<Duration> {
        let asked = self.desk.asked();
        let mut open = asked.iter().filter(|asked| asked.is_open());
        open.next().map(|asked| asked.at)
    }

    /// A machine that sleeps, or a process that stands still, leaves flights behind that everybody
    /// takes for lost. What is known of the order of flights ends there, where there may be one.
    fn lose_flights(&mut self, flying: [bool; 3]) {
        let now = self.now();
        for (whose, flying) in Whose::ALL.into_iter().zip(flying) {
            if flying {
                let known = &mut self.known[whose as usize];
                known.lost = Some(Instant::now());
                known.newest = None;
                known.not_before = Duration::ZERO;
                for caller in &mut self.callers {
                    caller.doubtful |= caller.whose == whose;
                }
            }
        }
        // Their answers may have come and not been read.
        for (_, token) in &self.on_the_way {
            if let Some(number) = token {
                self.tokens[*number].answered = now;
            }
        }
    }

    fn may_be_flying(&self, whose: Whose) -> bool {
        let now = self.now();
        let known = &self.known[whose as usize];
        let asked = self.desk.asked();
        let may_last = |since: Duration| now <= since + FLIGHT + GRACE;
        // A flight for Altinn's token may send one for the reader's at its own end.
        self.is_lost(whose)
            || may_last(self.stirred + FLIGHT)
            || asked.iter().any(|asked| may_last(asked.at))
            || known.rejected.is_some_and(may_last)
    }

    fn is_lost(&self, whose: Whose) -> bool {
        self.known[whose as usize].lost.is_some()
    }

    /// A lost flight ends all the same, within its deadline by tokio's clock, and so does one that
    /// took off meanwhile.
    fn find_flights(&mut self) {
        for known in &mut self.known {
            let is_over = |since: &Instant| since.elapsed() >= 2 * (FLIGHT + GRACE);
            known.lost = known.lost.filter(|since| !is_over(since));
        }
    }

    // ----- what must hold, whatever happened -----

    fn look(&mut self) {
        let now = self.now();
        let desk = self.desk.clone();
        let mut asked = desk.asked();
        for index in self.seen..asked.len() {
            let request = &asked[index];
            if let Some(jti) = &request.jti {
                assert!(self.jtis.insert(jti.clone()), "a jti was used before");
            }
            if let Some(number) = request.shows {
                let token = &self.tokens[number];
                assert_eq!(
                    token.whose,
                    Whose::Reader,
                    "exchanged a token of somebody else's"
                );
                let in_time = token.may_be_used(request.at) || self.is_lost(Whose::Altinn);
                assert!(in_time, "exchanged a spent token");
            }
            if !self.is_lost(request.whose) {
                self.is_called_for(request);
            }
        }
        self.seen = asked.len();

        for index in 0..asked.len() {
            let request = &asked[index];
            let given_up = request.answer.is_some() && !request.is_open() && !request.given_up;
            // The flight may have begun before this attempt, or with a request for the first token.
            let flight_is_old = asked[..index].iter().any(|before| {
                now + TICK >= before.at + (FLIGHT - ATTEMPT) && now <= before.at + FLIGHT + ATTEMPT
            });
            assert!(
                !given_up
                    || now + TICK >= request.at + ATTEMPT
                    || flight_is_old
                    || self.is_lost(request.whose),
                "a request was given up {:?} after it was sent",
                now - request.at
            );
            asked[index].given_up |= given_up;
        }
        for whose in Whose::ALL {
            let open = asked
                .iter()
                .filter(|asked| asked.whose == whose && asked.is_open());
            // One that is older was not given up only because nothing has run since it should be.
            let young = open.filter(|asked| now < asked.at + ATTEMPT).count();
            assert!(
                young <= 1 || self.is_lost(whose),
                "{young} requests in the air for {whose:?}"
            );
        }
    }

    /// Whether there is a reason for a request: no token, an ageing one, or one that was rejected.
    fn is_called_for(&mut self, request: &Asked) {
        let known = &mut self.known[request.whose as usize];
        let newest = known.newest.map(|newest| &self.tokens[newest]);
        let has_good = newest.is_some_and(|newest| request.at < newest.surely_good_until());
        let is_fresh = newest.is_some_and(|newest| request.at < newest.soft());
        let is_soon = |since: Duration| request.at <= since + FLIGHT + GRACE;
        assert!(
            request.at >= known.not_before || (has_good && known.rejected.is_some_and(is_soon)),
            "asked {:?} before its time",
            known.not_before - request.at
        );
        if !is_fresh {
            return;
        }
        assert!(
            known.rejected.is_some_and(is_soon),
            "{:?} was asked for although there is a fresh one",
            request.whose
        );
        match known.forced {
            // Another attempt of the same flight, whose first may have been before the token was known.
            Some(before) if is_soon(before) => {}
            Some(before) if request.at + FLIGHT + GRACE < before + FORCED_EVERY => {
                panic!("two tokens were replaced {:?} apart", request.at - before)
            }
            _ => known.forced = Some(request.at),
        }
    }

    /// From here on nobody answers, and callers are polled only when they were woken: all of them
    /// come to an end.
    async fn finish(mut self) {
        self.poll_all();
        self.look();
        let began = Instant::now();
        while !self.callers.is_empty() {
            // A flight's whole time, for each that a caller may be elected into.
            let longest = 3 * (FLIGHT + GRACE) + GRACE;
            assert!(
                began.elapsed() < longest,
                "{} callers wait for ever",
                self.callers.len()
            );
            self.pass(Duration::from_secs(1)).await;
            for index in (0..self.callers.len()).rev() {
                if self.callers[index].woken.0.load(Ordering::Relaxed) {
                    let _ = self.poll(index);
                }
            }
            self.look();
        }
    }
}

// ===== short orders, one by one =====

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// Tells the order in which something did not hold.
struct Trail<'a>(&'a [Event]);

impl Drop for Trail<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("in this order: {:#?}", self.0);
        }
    }
}

/// Walks through every order of so many of these events. An order that holds an event which cannot
/// happen there is one of the shorter ones, and is left out with all that begin like it.
fn check_all(alphabet: &[Event], length: usize) -> usize {
    let runtime = runtime();
    let mut orders = 0;
    let mut order = vec![0; length];
    loop {
        let events = order.iter().map(|at| alphabet[*at]);
        let events: Vec<Event> = events.collect();
        let trail = Trail(&events);
        let impossible = runtime.block_on(async {
            let mut world = Orders::new();
            for (at, event) in events.iter().enumerate() {
                if !world.step(*event).await {
                    return Some(at);
                }
            }
            world.finish().await;
            None
        });
        drop(trail);
        orders += usize::from(impossible.is_none());
        // The next one: counted up at its last place, or at the place that cannot be.
        let mut at = impossible.unwrap_or(length - 1);
        order[at + 1..].fill(0);
        loop {
            order[at] += 1;
            if order[at] < alphabet.len() {
                break;
            }
            order[at] = 0;
            if at == 0 {
                return orders;
            }
            at -= 1;
        }
    }
}

/// Lets what can run have run, and a little more.
const MOMENT: Event = Event::Pass(Duration::from_millis(1));

#[test]
fn every_short_order_of_one_identitys_flights_holds() {
    let alphabet = [
        Event::Call(Whose::Reader),
        Event::PollAll,
        Event::Drop(0),
        MOMENT,
        Event::Answer(0, Said::Token(120)),
        Event::Answer(0, Said::Refused),
        Event::Answer(0, Said::Panic),
        Event::Until(Mark::Soft(Whose::Reader), 12_001),
        Event::Until(Mark::Hard(Whose::Reader), 0),
        Event::Reject(0),
    ];
    let orders = check_all(&alphabet, 7);
    println!("{orders} orders");
}

#[test]
fn every_short_order_of_an_exchange_holds() {
    let alphabet = [
        Event::Call(Whose::Altinn),
        Event::Call(Whose::Reader),
        Event::PollAll,
        Event::Drop(0),
        MOMENT,
        Event::Answer(0, Said::Token(30)),
        Event::Answer(0, Said::Refused),
        Event::Pass(Duration::from_secs(3)),
    ];
    let orders = check_all(&alphabet, 5);
    println!("{orders} orders");
}

// ===== orders that have a name =====

/// A world in which these events happened, each of them possible where it stands.
async fn after<const N: usize>(events: [Event; N]) -> Orders {
    let trail = Trail(&events);
    let mut world = Orders::new();
    for event in events {
        assert!(world.step(event).await, "{event:?}");
    }
    drop(trail);
    world
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_comes_back_late_is_given_no_spent_token() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Answer(0, Said::Token(120)),
        MOMENT,
        // The flight has landed; who waited for it was busy until its token was spent.
        Event::Until(Mark::Hard(Whose::Reader), 0),
        Event::Poll(0),
        MOMENT,
        // It takes part in the next one.
        Event::Answer(0, Said::Token(120)),
        MOMENT,
        Event::Poll(0),
    ]);
    let world = world.await;
    assert!(world.callers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ended_before_its_answer_was_read_is_given_to_nobody() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Suspend,
        Event::Answer(0, Said::Token(120)),
        MOMENT,
        Event::Poll(0),
    ]);
    world.await.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_401_about_a_spent_token_asks_nobody_before_the_time() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Answer(0, Said::Token(30)),
        MOMENT,
        Event::Poll(0),
        Event::Until(Mark::Hard(Whose::Reader), 0),
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Answer(0, Said::Refused),
        MOMENT,
        // The caller has heard when the server will be asked again.
        Event::Poll(0),
        Event::Reject(0),
        MOMENT,
    ]);
    let world = world.await;
    assert_eq!(world.desk.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_was_lost_is_withdrawn_for_the_one_that_replaces_it() {
    let world = after([
        Event::Call(Whose::Reader),
        Event::Poll(0),
        MOMENT,
        Event::Suspend,
        // Overdue by the time that has passed, though nobody but the clock has noticed.
        Event::Call(Whose::Reader),
        Event::Poll(1),
        MOMENT,
    ]);
    let mut world = world.await;
    assert_eq!(world.desk.asked().len(), 2);
    let open = |asked: &&Asked| asked.is_open();
    assert_eq!(world.desk.asked().iter().filter(open).count(), 1);
    world.step(Event::Answer(0, Said::Token(120))).await;
    world.step(MOMENT).await;
    world.step(Event::PollAll).await;
    assert!(world.callers.is_empty());
    assert_eq!(world.desk.asked().len(), 2);
}

// ===== long ones, by chance =====

fn whose() -> impl Strategy<Value = Whose> {
    proptest::sample::select(&Whose::ALL[..])
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        // Spent on arrival, of half a minute, as documented, and one that outlives a suspend.
        8 => proptest::sample::select(&[1, 30, 120, 10_800][..]).prop_map(Said::Token),
        3 => proptest::option::of(proptest::sample::select(&[1, 7, 3600][..]))
            .prop_map(Said::Unavailable),
        2 => Just(Said::Refused),
        1 => Just(Said::Garbage),
        1 => Just(Said::Panic),
    ]
}

fn mark() -> impl Strategy<Value = Mark> {
    prop_oneof![
        3 => whose().prop_map(Mark::Soft),
        3 => whose().prop_map(Mark::Hard),
        3 => whose().prop_map(Mark::RetryAt),
        1 => Just(Mark::AttemptTimeout),
        1 => Just(Mark::Deadline),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let index = || 0..8_usize;
    let milliseconds = |range| proptest::strategy::Strategy::prop_map(range, Duration::from_millis);
    let steps = &[-90_000, -3_600, 3_600, 90_000][..];
    prop_oneof![
        8 => whose().prop_map(Event::Call),
        8 => index().prop_map(Event::Poll),
        4 => Just(Event::PollAll),
        2 => index().prop_map(Event::Drop),
        1 => Just(Event::DropAll),
        6 => (1..4_u8).prop_map(Event::Run),
        12 => (index(), said()).prop_map(|(index, said)| Event::Answer(index, said)),
        4 => milliseconds(1..400_u64).prop_map(Event::Pass),
        2 => milliseconds(1_000..40_000_u64).prop_map(Event::Pass),
        1 => milliseconds(1_000..40_000_u64).prop_map(Event::Stall),
        6 => (mark(), -1..=1_i64).prop_map(|(mark, by)| Event::Until(mark, by)),
        1 => Just(Event::Suspend),
        1 => proptest::sample::select(steps).prop_map(Event::SetWall),
        3 => index().prop_map(Event::Reject),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(600)
    })]

    #[test]
    fn any_order_of_events_holds(events in proptest::collection::vec(event(), 1..80)) {
        runtime().block_on(async {
            let mut world = Orders::new();
            for event in events {
                world.step(event).await;
            }
            world.finish().await;
        });
    }
}
