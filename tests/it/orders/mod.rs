//! Every order of events on flights: what callers, servers, clocks and an API can do to each other
//! wherever a task may stop.
//!
//! - A step is one event: a caller is polled or dropped, a request answered, time passes, a clock is
//!   set, an API reports a token. What must hold is looked at after each.
//! - Callers are polled by hand, with wakers that remember; flights run when an event lets them.
//! - Short orders are walked through one by one, long ones are drawn by chance.
//! - Threads are another subject: here there is one, and it changes hands where something is awaited.

mod callers;
mod judge;
mod servers;
mod time;

mod chance;
mod named;
mod short;

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::{Duration, UNIX_EPOCH};

use maskinporten::{Authorizer, Clock, MaskinportenClient, Result, SentToken};
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use crate::clocks::Clocks;
use crate::world::{API, Unsigned};
use servers::{Desk, Whose};

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
    /// Whether that was about the server: then it is forgotten when a circuit closes.
    ends_with_recovery: bool,
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
    /// How many flights of all had ended.
    answers: usize,
    /// Whether it may have heard of a flight that was lost.
    doubtful: bool,
}

/// The number of a token, and what its call left with, where it can be reported.
type Got = (usize, Option<SentToken>);

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
    /// Whether an answer has come since time last passed: it may have closed the circuit.
    has_recovered: bool,
    given: Vec<(Whose, usize, SentToken)>,
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
            let scopes = [Whose::Reader.scope()];
            let door = match whose {
                Whose::Altinn => client.altinn_authorizer(scopes, API).unwrap(),
                _ => client.authorizer(scopes, API).unwrap(),
            };
            let door = door.allow_scopes([Whose::Writer.scope()]).unwrap();
            door.optional_context()
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
            has_recovered: false,
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
}

// ===== how orders are run =====

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

/// Lets what can run have run, and a little more.
const MOMENT: Event = Event::Pass(Duration::from_millis(1));
